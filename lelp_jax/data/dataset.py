"""What every data source is turned into: checked rows, three splits, one preprocessing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

from lelp_jax.errors import UserError

UNLABELLED = -1
# Below this share of the largest standard deviation a dimension is rounding noise, not a feature.
_RELATIVE_FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The affine map from raw features to model inputs, `(raw - shift) * scale`.

    Attributes:
        shift: Value subtracted, [] or [features...] float32.
        scale: Factor applied after, of the same shape; 0 drops a constant feature.
        columns: Names of the features in order, empty where they have none.
    """

    shift: np.ndarray
    scale: np.ndarray
    columns: tuple[str, ...] = ()

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Returns model inputs, float32, of the raw features' shape."""
        return ((raw - self.shift) * self.scale).astype(np.float32)


def standardization(raw: np.ndarray, columns: tuple[str, ...] = ()) -> Preprocessing:
    """Returns the map to zero mean and unit variance over the rows given.

    A feature whose standard deviation is below 1e-6 of the largest one, or below the rounding of
    its own mean, is constant up to rounding: it is set to 0 rather than blown up to unit variance.

    Args:
        raw: Features of the training rows, [rows, features...].
        columns: The features' names.
    """
    wide = raw.astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    floor = np.maximum(
        _RELATIVE_FLOOR * deviation.max(initial=0.0), np.finfo(np.float32).eps * np.abs(mean)
    )
    scale = np.where(deviation > floor, 1.0 / np.where(deviation > floor, deviation, 1.0), 0.0)
    return Preprocessing(mean.astype(np.float32), scale.astype(np.float32), columns)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows as a source reads them, before any split or preprocessing.

    Attributes:
        inputs: Raw features, [rows, features...] float32.
        labels: Class of each row, [rows] int32; -1 where it is not known.
        fine_labels: Finer class of each row, [rows] int32, -1 where unknown, or None.
        place: Names a row for a message ("train.csv line 7").
    """

    inputs: np.ndarray
    labels: np.ndarray
    fine_labels: np.ndarray | None
    place: Callable[[int], str]


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a source gives: training rows and, where it has them, the other splits.

    Attributes:
        train: Rows that may be split further.
        validation: The source's own validation rows, or None to split them off `train`.
        test: The source's own test rows, or None to split them off `train`.
        class_names: One name per class, in label order.
        fine_names: One name per fine label, empty where there are none.
        preprocess: Makes the preprocessing from the raw inputs of the training rows.
    """

    train: Rows
    validation: Rows | None
    test: Rows | None
    class_names: tuple[str, ...]
    fine_names: tuple[str, ...]
    preprocess: Callable[[np.ndarray], Preprocessing]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Preprocessed rows of all splits in one table; a row's position is its index everywhere.

    Attributes:
        inputs: Model inputs, [rows, features...] float32.
        labels: Class of each row, [rows] int32; -1 where unknown (training rows only).
        fine_labels: Finer class of each row, [rows] int32, or None.
        train: Indices of the training rows, sorted.
        validation: Indices of the validation rows, sorted.
        test: Indices of the test rows, sorted.
        class_names: One name per class.
        fine_names: One name per fine label.
        preprocessing: How raw features became `inputs`.
        digest: Hash of all of the above.
    """

    inputs: np.ndarray
    labels: np.ndarray
    fine_labels: np.ndarray | None
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    class_names: tuple[str, ...]
    fine_names: tuple[str, ...]
    preprocessing: Preprocessing
    digest: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for array in (self.inputs, self.labels, self.fine_labels):
            if array is not None:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(array.tobytes())
        for split in (self.train, self.validation, self.test):
            digest.update(split.astype(np.int64).tobytes())
        digest.update("\0".join((*self.class_names, "", *self.fine_names)).encode())
        object.__setattr__(self, "digest", digest.hexdigest()[:16])

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return len(self.class_names)

    @property
    def labelled_train(self) -> np.ndarray:
        """Indices of the training rows whose class is known."""
        return self.train[self.labels[self.train] != UNLABELLED]


def check_rows(rows: Rows, split: str, num_classes: int, num_fine: int) -> None:
    """Refuses rows that would train silently wrong models.

    Args:
        rows: The rows of one split.
        split: Its name; only "train" may hold unlabelled rows.
        num_classes: Labels lie in 0..num_classes-1.
        num_fine: Fine labels lie in 0..num_fine-1.

    Raises:
        UserError: A value is not finite, a label is out of range or missing, or there are no rows.
    """
    if not len(rows.inputs):
        raise UserError(f"the {split} data has no rows")
    finite = np.isfinite(rows.inputs.reshape(len(rows.inputs), -1))
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        value = rows.inputs.reshape(len(rows.inputs), -1)[row, column]
        raise UserError(
            f"{rows.place(row)}, feature {column}: {value} is not a finite number; "
            "remove the row or fill the value in"
        )
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
                f"{rows.place(row)}: {kind} {values[row]} is outside 0..{bound - 1} "
                f"({UNLABELLED} marks a row without one)"
            )
    if split != "train" and (rows.labels == UNLABELLED).any():
        row = int(np.argmax(rows.labels == UNLABELLED))
        raise UserError(
            f"{rows.place(row)}: a {split} row has no label; only training rows may lack one"
        )


def check_classes(dataset: Dataset) -> None:
    """Refuses a data set in which a class has no training row, or there is only one class."""
    if dataset.num_classes < 2:
        raise UserError(
            f"the training data has {dataset.num_classes} class(es): {dataset.class_names}; "
            "a classifier needs at least 2"
        )
    counts = np.bincount(dataset.labels[dataset.labelled_train], minlength=dataset.num_classes)
    if (counts == 0).any():
        empty = int(np.argmax(counts == 0))
        raise UserError(
            f"class {empty} ({dataset.class_names[empty]!r}) has no labelled training row; "
            f"rows per class: {counts.tolist()}"
        )
