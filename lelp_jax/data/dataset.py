"""What every data source is turned into: checked rows, three splits, one preprocessing."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.columns import write_facts
from lelp_jax.data.preprocessing import Preprocessing

_LOG = logging.getLogger(__name__)
_SHOWN = 12
UNLABELLED = -1


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows as a source reads them, before any split or preprocessing.

    Attributes:
        inputs: Raw features, [rows, features...], of any real type; the rows of a table, a
            structured array [rows] with a field per column; texts, [rows] objects; or images,
            [rows, height, width, channels] uint8.
        labels: Class of each row, [rows] integers; -1 where it is not known.
        fine_labels: Finer class of each row, [rows] integers, -1 where unknown, or None.
        place: Names a row for a message ("train.csv line 7").
        ids: Name of each row, [rows] texts, each once, or None where rows have no names.
    """

    inputs: np.ndarray
    labels: np.ndarray
    fine_labels: np.ndarray | None
    place: Callable[[int], str]
    ids: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a source gives: training rows and, where it has them, the other splits.

    Attributes:
        train: Rows that may be split further.
        validation: The source's own validation rows, or None to split them off `train`.
        test: The source's own test rows, or None to split them off `train`.
        class_names: One name per class, in label order.
        fine_names: One name per fine label, empty where there are none.
        preprocess: Makes the preprocessing from the raw inputs of the training rows; None for
            texts and images.
        image_shape: Height, width and, for colours, channels of the image that a row's features
            are, read row by row; () where they are none.
        max_length: How many tokens of a text are seen at most; 0 where rows are numbers.
    """

    train: Rows
    validation: Rows | None
    test: Rows | None
    class_names: tuple[str, ...]
    fine_names: tuple[str, ...]
    preprocess: Callable[[np.ndarray], Preprocessing] | None
    image_shape: tuple[int, ...] = ()
    max_length: int = 0

    @classmethod
    def from_splits(cls, rows: Mapping[str, Rows], **fields: Any) -> Parts:
        """Builds parts of rows by split.

        Args:
            rows: "train" and, where the source has them, "validation" and "test".
            fields: The other attributes.
        """
        return cls(rows["train"], rows.get("validation"), rows.get("test"), **fields)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Rows of all splits in one table; a row's position is its index everywhere.

    Attributes:
        inputs: Preprocessed features, [rows, features...] float32; texts, [rows] objects; or
            images as they were read, [rows, height, width, channels] uint8, with 1 or 3 channels.
        labels: Class of each row, [rows] int32; -1 where unknown (training rows only).
        fine_labels: Finer class of each row, [rows] int32, or None.
        train: Indices of the training rows, sorted.
        validation: Indices of the validation rows, sorted.
        test: Indices of the test rows, sorted.
        class_names: One name per class.
        fine_names: One name per fine label.
        preprocessing: How raw features became `inputs`; None for texts and images.
        ids: Name of each row, [rows] texts, each once, or None where rows have no names.
        image_shape: Height, width and, for colours, channels of the image that a row's features
            are; () where they are none.
        max_length: How many tokens of a text networks see at most; 0 where rows are numbers.
        digest: Hash of all but what changes nothing in the rows: their names, the image shape, and
            how much of a text is seen.
    """

    inputs: np.ndarray
    labels: np.ndarray
    fine_labels: np.ndarray | None
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    class_names: tuple[str, ...]
    fine_names: tuple[str, ...]
    preprocessing: Preprocessing | None
    ids: np.ndarray | None = None
    image_shape: tuple[int, ...] = ()
    max_length: int = 0
    digest: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        digest = self._hash_of_inputs.copy()
        scaling: tuple[np.ndarray, ...] = ()
        columns: tuple[str, ...] = ()
        if self.preprocessing is not None:
            # The preprocessing too: in other units the model inputs may be the same to the last
            # bit, but a student is handed over with the map from the units it was trained in.
            columns = self.preprocessing.columns
            scaling = (self.preprocessing.shift, self.preprocessing.scale)
        for array in (self.labels, self.fine_labels, *scaling):
            if array is not None:
                _hash_array(digest, array)
        for split in (self.train, self.validation, self.test):
            digest.update(f"{len(split)}".encode())
            digest.update(split.astype(np.int64).tobytes())
        names = (self.class_names, self.fine_names, columns)
        digest.update(json.dumps(names).encode())
        object.__setattr__(self, "digest", digest.hexdigest()[:16])

    @functools.cached_property
    def _hash_of_inputs(self) -> hashlib._Hash:
        """The hash so far, after the inputs; `hide_labels` goes on from it."""
        digest = hashlib.sha256()
        if self.preprocessing is not None and self.preprocessing.table:
            digest.update(json.dumps(write_facts(self.preprocessing.table)).encode())
        _hash_array(digest, _bytes_of(self.inputs) if self.of_texts else self.inputs)
        return digest

    def hide_labels(self, kept: np.ndarray) -> Dataset:
        """Hides the labels and fine labels of all training rows but some.

        The result, its digest included, is that of data in which the other training rows never had
        a label. The inputs are shared and not hashed again.

        Args:
            kept: Indices of the training rows that keep their labels.
        """
        hidden = np.setdiff1d(self.train, kept)
        # Keeps the hash of the inputs, which `dataclasses.replace` would not.
        result = copy.copy(self)
        for name in ("labels", "fine_labels"):
            values = getattr(self, name)
            if values is not None:
                values = values.copy()
                values[hidden] = UNLABELLED
                object.__setattr__(result, name, values)
        result.__post_init__()
        return result

    @property
    def of_texts(self) -> bool:
        """Whether rows are texts."""
        return self.inputs.dtype == object

    @property
    def of_images(self) -> bool:
        """Whether rows are images."""
        return self.inputs.dtype == np.uint8

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return len(self.class_names)

    @property
    def labelled_train(self) -> np.ndarray:
        """Indices of the training rows whose class is known."""
        return self.select_labelled(self.train)

    def select_labelled(self, index: np.ndarray) -> np.ndarray:
        """Selects the rows whose class is known.

        Args:
            index: Indices of rows.
        """
        return index[self.labels[index] != UNLABELLED]


def _hash_array(digest: hashlib._Hash, array: np.ndarray) -> None:
    digest.update(f"{array.dtype}{array.shape}".encode())
    # Not `tobytes`, which would copy the images once more.
    digest.update(np.ascontiguousarray(array).data)


def _bytes_of(texts: np.ndarray) -> np.ndarray:
    """Encodes texts as bytes, each after its length, so that no two lists of texts collide."""
    pieces = [text.encode("utf-8", "surrogatepass") for text in texts]
    sizes = np.array([len(piece) for piece in pieces], np.int64).tobytes()
    return np.frombuffer(sizes + b"".join(pieces), np.uint8)


def check_rows(rows: Rows, split: str, num_classes: int, num_fine: int) -> None:
    """Checks rows that would silently train wrong models.

    Args:
        rows: The rows of one split.
        split: Its name; only "train" may hold unlabelled rows.
        num_classes: Labels are in 0..num_classes-1.
        num_fine: Fine labels are in 0..num_fine-1.

    Raises:
        UserError: A value is not finite, a label is out of range or missing, or there are no rows.
    """
    if not len(rows.inputs):
        raise UserError(f"the {split} data have no rows")
    _check_inputs(rows)
    for kind, values, bound in (
        ("label", rows.labels, num_classes),
        ("fine label", rows.fine_labels, num_fine),
    ):
        if values is None:
            continue
        wrong = (values < UNLABELLED) | (values >= bound)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UserError(
                f"{rows.place(row)}: {kind} {values[row]} is outside 0..{bound - 1}; correct it"
            )
    if split != "train" and (rows.labels == UNLABELLED).any():
        row = int(np.argmax(rows.labels == UNLABELLED))
        raise UserError(
            f"{rows.place(row)}: a {split} row has no label; only training rows may lack one, "
            "so label it or remove it (config.data.unlabelled names the mark of such rows)"
        )


def _check_inputs(rows: Rows) -> None:
    """Checks that float32 can hold the features; a number of a table may be missing, NaN."""
    inputs = rows.inputs
    for name in inputs.dtype.names or (None,):
        values = inputs if name is None else inputs[name]
        if values.dtype.kind != "f":
            continue
        # NaN compares as false.
        usable = np.abs(values) <= np.finfo(np.float32).max
        if name is not None and values.ndim == 1:
            usable |= np.isnan(values)
        if not usable.all():
            row, feature = _find_first_bad(usable)
            value = values.reshape(len(values), -1)[row, feature]
            place = f"feature {feature}" if name is None else f"column {name}"
            problem = "is beyond the range of float32" if np.isfinite(value) else "is not finite"
            raise UserError(
                f"{rows.place(row)}, {place}: {value:g} {problem}; remove the row or put a number "
                "there"
            )


def check_scaled(inputs: np.ndarray, rows: Rows, split: str, preprocessing: Preprocessing) -> None:
    """Checks that no row is so far from the training rows that a scaled feature is infinite.

    Args:
        inputs: Model inputs, [rows, features...].
        rows: The rows that they were made of.
        split: The rows' split.
        preprocessing: How they were made.

    Raises:
        UserError: There is such a row.
    """
    finite = np.isfinite(inputs)
    if not finite.all():
        row, feature = _find_first_bad(finite)
        columns = preprocessing.columns
        place = f"column {columns[feature]}" if columns else f"feature {feature}"
        value = preprocessing.encode(rows.inputs[row : row + 1]).ravel()[feature]
        raise UserError(
            f"{rows.place(row)}, {place}: {value:g} in a {split} row is beyond float32 when "
            "divided by the deviation over the training rows; check the value"
        )


def _find_first_bad(good: np.ndarray) -> tuple[int, int]:
    """Finds row and number of the first feature that is not good."""
    row, feature = np.argwhere(~good.reshape(len(good), -1))[0].tolist()
    return row, feature


def check_classes(dataset: Dataset) -> None:
    """Checks that every class has a training row and that there are two classes or more.

    Raises:
        UserError: Training cannot work on it.
    """
    if dataset.num_classes < 2:
        raise UserError(
            f"the training rows have the label {dataset.class_names[0]!r} alone; "
            f"a classifier needs rows of at least 2 classes{_hint_at_mark(dataset)}"
        )
    counts = np.bincount(dataset.labels[dataset.labelled_train], minlength=dataset.num_classes)
    if (counts == 0).any():
        empty = int(np.argmax(counts == 0))
        raise UserError(
            f"class {dataset.class_names[empty]!r} has no labelled training row (rows per class: "
            f"{counts.tolist()}); add some, or number the classes 0, 1, 2, ... without a gap"
            + _hint_at_mark(dataset)
        )


def warn_of_missing_classes(dataset: Dataset) -> None:
    """Warns of a split without rows of a class: its metrics say nothing of that class."""
    for name, rows in (("validation", dataset.validation), ("test", dataset.test)):
        counts = np.bincount(dataset.labels[rows], minlength=dataset.num_classes)
        missing = [dataset.class_names[label] for label in np.flatnonzero(counts == 0)]
        if missing:
            _LOG.warning(
                "the %s rows hold no row of class %s, so %s metrics say nothing of it%s",
                name,
                ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else ""),
                name,
                "; roc_auc stays empty, and so may pr_auc" if dataset.num_classes == 2 else "",
            )


def _hint_at_mark(dataset: Dataset) -> str:
    """Says in an error about classes which rows may have lost theirs."""
    unlabelled = len(dataset.train) - len(dataset.labelled_train)
    if not unlabelled:
        return ""
    return (
        f"; {unlabelled} training rows have no label: if their mark, -1 by default, is a class, "
        "set --config.data.unlabelled="
    )
