"""Your own table of data: named columns from CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np

from lelp_jax.core.constraints import DISTINCT, NUM_CLASSES, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data import identity, labels
from lelp_jax.data.columns import Kind, shorten
from lelp_jax.data.dataset import Parts, Rows
from lelp_jax.data.preprocessing import table_preprocessing

if TYPE_CHECKING:
    from lelp_jax.data.reading.table_file import TableFile

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Table:
    """Files whose columns have names; the format follows from the file's ending.

    Labels are whole numbers or names ("spam"), which are numbered in sorted order. They and the
    names of rows are read as they stand, so that "007" is not 7. Rows without a label leave it
    empty or hold -1. Features are columns of numbers, dates, texts that stand for categories, and
    lists of numbers. How they become numbers is learnt from the training rows, see `data.columns`.

    Attributes:
        train: Path of the training rows.
        validation: Path of the validation rows; "" splits them off the training rows.
        test: Path of the test rows; "" splits them off the training rows.
        columns: Names of the feature columns; empty takes every column that can be one but the
            labels, a data frame's index, and texts that hardly repeat.
        label: Name of the label column.
        fine_label: Name of the fine-label column; "" when there is none.
        id: Name of the column that names the rows; "" when there is none.
        num_classes: Number of classes of whole-number labels; 0 takes the largest + 1.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
    """

    train: Annotated[str, NonEmpty("a .csv, .tsv, .jsonl or .parquet file")]
    validation: str = ""
    test: str = ""
    columns: Annotated[tuple[str, ...], DISTINCT] = ()
    label: Annotated[str, NonEmpty("the name of the label column")] = "label"
    fine_label: str = ""
    id: str = ""
    num_classes: Annotated[int, NUM_CLASSES] = 0
    unlabelled: str = labels.AUTO

    def __post_init__(self) -> None:
        if self.fine_label == self.label:
            raise UserError(f"label and fine_label are both {self.label!r}; name two columns")
        if self.id and self.id in (self.label, self.fine_label):
            raise UserError(f"id is {self.id!r}, which is the label; name another column")
        for name in self.columns:
            if name in (self.label, self.fine_label, self.id):
                raise UserError(f"columns holds {name!r}, which is not a feature; leave it out")

    def parts(self) -> Parts:
        """Reads the files.

        Raises:
            UserError: A file, column or value is missing or cannot be used.
        """
        # Imported here, so that Arrow is loaded only for the sources that read with it.
        from lelp_jax.data.reading.table_file import TableFile

        as_text = [name for name in (self.label, self.fine_label, self.id) if name]
        train = TableFile(self.train, "train", as_text)
        train.refuse_joined_rows(self.label)
        coding = labels.fit_coding(self._labels(train, self.label), self.num_classes)
        fine = None
        if self.fine_label:
            fine = labels.fit_coding(self._labels(train, self.fine_label), fine=True)
        kinds = self._choose_columns(train)
        # Of categories that all look like numbers in another file, too.
        as_text += [name for name, kind in kinds.items() if kind == "texts"]
        files = {"train": train}
        for split, path in (("validation", self.validation), ("test", self.test)):
            if path:
                files[split] = TableFile(path, split, as_text)
                files[split].refuse_joined_rows(self.label)
        inputs = {split: _read_columns(file, kinds) for split, file in files.items()}
        for split, file in files.items():
            _check_widths(inputs[split], file, inputs["train"])
        _warn_of_ids(inputs["train"], train)
        rows = {
            split: Rows(
                inputs=inputs[split],
                labels=coding.classes(self._labels(file, self.label)),
                fine_labels=fine.classes(self._labels(file, self.fine_label)) if fine else None,
                place=file.place,
                ids=_ids(file, self.id) if self.id else None,
            )
            for split, file in files.items()
        }
        return Parts.from_splits(
            rows,
            class_names=coding.names,
            fine_names=fine.names if fine else (),
            preprocess=functools.partial(table_preprocessing, kinds=kinds),
        )

    def _labels(self, file: TableFile, column: str) -> labels.LabelColumn:
        return labels.read(file.label_values(column), column, file.place, self.unlabelled)

    def _choose_columns(self, train: TableFile) -> Mapping[str, Kind]:
        """Chooses the feature columns and finds out what each of them holds."""
        from lelp_jax.data.reading import columns

        if self.columns:
            return {name: self._find_kind(train, name) for name in self.columns}
        index = columns.find_index(train.table.schema)
        kinds, unused = {}, []
        for name in train.table.column_names:
            if name in (self.label, self.fine_label, self.id) or name in index:
                continue
            values = train.column(name)
            kind = columns.find_kind(values)
            if kind is None or (kind == "texts" and not columns.repeats(values)):
                unused.append(name)
            else:
                kinds[name] = kind
        if index:
            names = shorten([repr(name) for name in sorted(index)])
            _LOG.info("%s: the index of a data frame is not a feature: %s", train.path, names)
        if not kinds:
            others = f" ({shorten(unused)} hold none)" if unused else ""
            raise UserError(
                f"{train.path}: no feature column besides {self.label!r}{others}; add columns of "
                "numbers, dates, lists of numbers, or texts that repeat"
            )
        if unused:
            _LOG.info(
                "%s: columns without numbers, or with texts that hardly repeat, are not used: %s",
                train.path,
                shorten(unused),
            )
        return kinds

    def _find_kind(self, train: TableFile, name: str) -> Kind:
        from lelp_jax.data.reading import columns

        values = train.column(name)
        kind = columns.find_kind(values)
        if kind is None:
            raise UserError(
                f"{train.path}, column {name}: it holds {values.type}, which cannot be a feature; "
                "leave it out of config.data.columns"
            )
        return kind


def _read_columns(file: TableFile, kinds: Mapping[str, Kind]) -> np.ndarray:
    from lelp_jax.data.reading import columns

    return columns.read_table({name: file.column(name) for name in kinds}, kinds, file.place)


def _check_widths(rows: np.ndarray, file: TableFile, train: np.ndarray) -> None:
    for name in rows.dtype.names or ():
        wide, usual = rows[name].shape[1:], train[name].shape[1:]
        if wide != usual:
            raise UserError(
                f"{file.path}, column {name}: the lists hold {wide[0]} numbers, those of the "
                f"training rows {usual[0]}; make all lists equally long"
            )


def _warn_of_ids(rows: np.ndarray, file: TableFile) -> None:
    """Warns of columns of whole numbers that all differ: they may name the rows."""
    names = [name for name in rows.dtype.names or () if _looks_like_id(rows[name])]
    if names:
        _LOG.warning(
            "%s: whole numbers that differ in every row are used as features: %s; if they number "
            "or name the rows, leave them out: --config.data.id=%s, or name the feature columns in "
            "config.data.columns",
            file.path,
            shorten(names),
            names[0],
        )


def _looks_like_id(values: np.ndarray) -> bool:
    if values.ndim > 1 or values.dtype.kind not in "iuf":
        return False
    # Fewer numbers than rows: found without sorting, as for most columns of whole numbers.
    if values.dtype.kind != "f" and int(values.max()) - int(values.min()) < len(values) - 1:
        return False
    # NaN compares as false.
    whole = bool((values == np.round(values)).all())
    return whole and len(np.unique(values)) == len(values)


def _ids(file: TableFile, column: str) -> np.ndarray:
    return identity.read(file.label_values(column), column, file.place)
