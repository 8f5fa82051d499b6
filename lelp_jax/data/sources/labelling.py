"""From inputs and columns of labels to rows in classes: what sources of texts and images share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data import class_map as class_maps
from lelp_jax.data import identity, labels
from lelp_jax.data.dataset import Parts, Rows
from lelp_jax.data.labels import LabelColumn, fit_coding
from lelp_jax.data.reading import class_names

if TYPE_CHECKING:
    import pyarrow as pa

    from lelp_jax.data.reading.parquet_rows import ParquetRows

_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class LabelledInputs:
    """The inputs of one split and the columns of labels beside them.

    Attributes:
        inputs: [rows] objects, texts; or images, [rows, height, width, channels] uint8.
        labels: Label of each row.
        fine_labels: Finer label of each row, or None.
        place: Names a row for a message ("train.csv line 7").
        ids: Name of each row, [rows] texts, or None.
    """

    inputs: np.ndarray
    labels: LabelColumn
    fine_labels: LabelColumn | None
    place: Callable[[int], str]
    ids: np.ndarray | None = None


def make_parts(
    splits: Mapping[str, LabelledInputs],
    *,
    max_length: int = 0,
    num_classes: int = 0,
    label_names: Sequence[str] = (),
    fine_names: Sequence[str] = (),
    class_map: Sequence[object] = (),
) -> Parts:
    """Makes the rows of all splits, with the classes that the training rows determine.

    Args:
        splits: "train" and, where the source has them, "validation" and "test".
        max_length: How many tokens of a text are seen at most; 0 for images.
        num_classes: Number of labels, before they are merged; 0 takes what the training rows show.
        label_names: One name per label, before they are merged; empty takes the names or numbers
            themselves.
        fine_names: One name per fine label; empty takes the names or numbers themselves.
        class_map: How labels are merged into classes, or empty. The label from before is the fine
            label where there is no other.

    Raises:
        UserError: Labels cannot be used.
    """
    train = splits["train"]
    named = fit_coding(train.labels, num_classes, label_names)
    fine = None
    if train.fine_labels is not None:
        fine = fit_coding(train.fine_labels, names=fine_names, fine=True)
    merged = class_maps.read(class_map, named.names) if class_map else None
    rows = {}
    for split, columns in splits.items():
        classes = named.classes(columns.labels)
        fine_labels = None
        if fine is not None and columns.fine_labels is not None:
            fine_labels = fine.classes(columns.fine_labels)
        if merged is not None:
            fine_labels = classes if fine is None else fine_labels
            classes = merged.apply(classes)
        rows[split] = Rows(
            inputs=columns.inputs,
            labels=classes,
            fine_labels=fine_labels,
            place=columns.place,
            ids=columns.ids,
        )
    if merged is not None and fine is None:
        fine = named
    return Parts.from_splits(
        rows,
        class_names=merged.names if merged is not None else named.names,
        fine_names=fine.names if fine is not None else (),
        preprocess=None,
        max_length=max_length,
    )


def read_columns(
    rows: ParquetRows, inputs: np.ndarray, columns: Mapping[str, str], mark: str
) -> LabelledInputs:
    """Reads what stands beside the inputs in the rows of Parquet files.

    Args:
        rows: The rows.
        inputs: [rows] inputs.
        columns: Names of the columns of "label" and, optionally, "fine_label" and "id"; "" for
            none.
        mark: The label of rows that have none.

    Raises:
        UserError: They hold no labels or ids.
    """

    def read_labels(column: str) -> LabelColumn:
        return labels.read(rows.read_values(column), column, rows.place, mark)

    fine, name = columns.get("fine_label"), columns.get("id")
    return LabelledInputs(
        inputs=inputs,
        labels=read_labels(columns["label"]),
        fine_labels=read_labels(fine) if fine else None,
        place=rows.place,
        ids=identity.read(rows.read_values(name), name, rows.place) if name else None,
    )


def read_label_names(
    schemas: Mapping[str, pa.Schema], train: LabelledInputs
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reads the names that the metadata of files give to numbers: of labels, and of fine labels.

    Args:
        schemas: Schema of each file by the file's name, that of the training rows first.
        train: The training rows.

    Raises:
        UserError: Files give the numbers different names.
    """
    names, fine_names = (
        () if column is None else class_names.read_common_names(schemas, column)
        for column in (train.labels, train.fine_labels)
    )
    return names, fine_names


def refuse_same_columns(columns: Mapping[str, str]) -> None:
    """Checks that no column serves as two.

    Args:
        columns: The column that each key of the section names; "" for none.

    Raises:
        UserError: Two of them are the same.
    """
    taken: dict[str, str] = {}
    for key, column in columns.items():
        if column and taken.setdefault(column, key) != key:
            raise UserError(f"{taken[column]} and {key} are both {column!r}; name two columns")


def refuse_same(names: Mapping[str, str]) -> None:
    """Checks that no split of a source serves as two.

    Args:
        names: The source's split for each of "train", "validation" and "test"; "" for none.

    Raises:
        UserError: Two of them are the same.
    """
    for first in _SPLITS:
        for second in _SPLITS[_SPLITS.index(first) + 1 :]:
            if names[first] and names[first] == names[second]:
                raise UserError(
                    f"{first} and {second} are both {names[first]!r}; name two different splits"
                )
