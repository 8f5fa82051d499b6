"""Features and labels from .npz files, whatever made them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from lelp_jax.core.constraints import NUM_CLASSES, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data import identity, labels
from lelp_jax.data.dataset import Parts, Rows
from lelp_jax.data.preprocessing import standardization
from lelp_jax.data.reading import npz_file
from lelp_jax.data.reading.paths import find_file

_KEYS = ("inputs", "labels", "fine_labels", "ids")


@dataclasses.dataclass(frozen=True)
class Arrays:
    """One .npz file per split with keys `inputs`, `labels` and, optionally, `fine_labels`, `ids`.

    Labels are whole numbers or texts; rows without one hold NaN, "" or -1. Features are
    standardised with the training rows' mean and deviation.

    Attributes:
        train: Path of the training rows.
        validation: Path of the validation rows; "" splits them off the training rows.
        test: Path of the test rows; "" splits them off the training rows.
        num_classes: Number of classes; 0 takes the largest training label + 1.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
    """

    train: Annotated[str, NonEmpty("an .npz file")]
    validation: str = ""
    test: str = ""
    num_classes: Annotated[int, NUM_CLASSES] = 0
    unlabelled: str = labels.AUTO

    def parts(self) -> Parts:
        """Reads the files.

        Raises:
            UserError: A file or key is missing, or its shape or type cannot be used.
        """
        paths = {"train": self.train, "validation": self.validation, "test": self.test}
        files = {split: _File(path, split) for split, path in paths.items() if path}
        train = files["train"]
        for file in files.values():
            if file.inputs.shape[1:] != train.inputs.shape[1:]:
                raise UserError(
                    f"{file.path}: inputs have shape {file.inputs.shape[1:]} per row, those of "
                    f"{train.path} {train.inputs.shape[1:]}; both files need the same features"
                )
        mark = self.unlabelled
        coding = labels.fit_coding(train.labels("labels", mark), self.num_classes)
        fine = None
        if train.has("fine_labels"):
            fine = labels.fit_coding(train.labels("fine_labels", mark), fine=True)
        rows = {
            split: Rows(
                inputs=file.inputs,
                labels=coding.classes(file.labels("labels", mark)),
                fine_labels=fine.classes(file.labels("fine_labels", mark))
                if fine and file.has("fine_labels")
                else None,
                place=file.place,
                ids=file.ids() if file.has("ids") else None,
            )
            for split, file in files.items()
        }
        return Parts.from_splits(
            rows,
            class_names=coding.names,
            fine_names=fine.names if fine else (),
            preprocess=functools.partial(standardization, same_unit=True),
        )


class _File:
    """An .npz file whose errors name the key and the row."""

    def __init__(self, path: str, split: str):
        self.path = find_file(path, split)
        self._arrays = npz_file.read_arrays(self.path, functools.partial(_choose, self.path))
        self.inputs = self._arrays["inputs"]
        if self.inputs.ndim < 2 or self.inputs.dtype.kind not in "fiub":
            raise UserError(
                f"{self.path}: inputs have shape {self.inputs.shape} and type {self.inputs.dtype}; "
                "numbers of shape [rows, features...] are needed"
            )
        if not self.inputs[:1].size:
            what = "features" if len(self.inputs) else "rows"
            raise UserError(f"{self.path}: inputs of shape {self.inputs.shape} have no {what}")

    def has(self, key: str) -> bool:
        """Checks whether the file has a key."""
        return key in self._arrays

    def place(self, row: int) -> str:
        """Names a row, counted from 0 as NumPy does."""
        return f"{self.path} row {row}"

    def labels(self, key: str, mark: str) -> labels.LabelColumn:
        """Reads one label per row.

        Args:
            key: The array.
            mark: The label of rows that have none.

        Raises:
            UserError: There are more or fewer labels than rows, or they are not labels.
        """
        values = self._per_row(key)
        if values.dtype.kind not in "fiubUS":
            raise UserError(
                f"{self.path}: {key} are of type {values.dtype}; whole numbers or texts are needed"
            )
        return labels.read(values, key, self.place, mark)

    def ids(self) -> np.ndarray:
        """Reads the name of each row.

        Raises:
            UserError: There are more or fewer names than rows, or they are not names.
        """
        return identity.read(self._per_row("ids"), "id", self.place)

    def _per_row(self, key: str) -> np.ndarray:
        values = self._arrays[key]
        if values.shape != self.inputs.shape[:1]:
            raise UserError(
                f"{self.path}: {key} have shape {values.shape}, but inputs have "
                f"{len(self.inputs)} rows; one per row is needed"
            )
        return values


def _choose(path: Path, held: Sequence[str]) -> list[str]:
    for key in _KEYS[:2]:
        if key not in held:
            raise UserError(
                f"{path}: key {key!r} is missing; it holds {', '.join(map(repr, held))}"
            )
    return [key for key in held if key in _KEYS]
