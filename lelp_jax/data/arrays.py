"""Features and labels from .npz files, whatever made them."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np

from lelp_jax.data.dataset import Parts, Rows, standardization
from lelp_jax.data.labels import class_names, to_int_labels
from lelp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Arrays:
    """One .npz file per split with keys `inputs`, `labels` and, optionally, `fine_labels`.

    Attributes:
        train: Path of the training rows.
        validation: Path of the validation rows; "" splits them off the training rows.
        test: Path of the test rows; "" splits them off the training rows.
        num_classes: Number of classes; 0 takes the largest training label + 1.
    """

    train: str
    validation: str = ""
    test: str = ""
    num_classes: int = 0

    def parts(self) -> Parts:
        """Reads the files.

        Raises:
            UserError: A file or key is missing, or its shape or type cannot be used.
        """
        if not self.train:
            raise UserError("config.data.train is empty; give the path of an .npz file")
        train = _read(Path(self.train))
        others = [_read(Path(path)) if path else None for path in (self.validation, self.test)]
        for other, path in zip(others, (self.validation, self.test), strict=True):
            if other is not None and other.inputs.shape[1:] != train.inputs.shape[1:]:
                raise UserError(
                    f"{path}: inputs have shape {other.inputs.shape[1:]} per row, those of "
                    f"{self.train} {train.inputs.shape[1:]}"
                )
        fine = train.fine_labels
        return Parts(
            train=train,
            validation=others[0],
            test=others[1],
            class_names=class_names(train.labels, self.num_classes),
            fine_names=() if fine is None else class_names(fine, 0),
            preprocess=standardization,
        )


def _read(path: Path) -> Rows:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check config.data") from None
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError) as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from error
    for key in ("inputs", "labels"):
        if key not in arrays:
            raise UserError(f"{path}: key {key!r} is missing; it holds {sorted(arrays)}")
    inputs = arrays["inputs"]
    if inputs.ndim < 2 or not np.issubdtype(inputs.dtype, np.number):
        raise UserError(
            f"{path}: inputs have shape {inputs.shape} and type {inputs.dtype}; "
            "numbers of shape [rows, features...] are needed"
        )

    def place(row: int) -> str:
        return f"{path} row {row}"

    labels = {
        key: to_int_labels(arrays[key], len(inputs), key, place)
        for key in ("labels", "fine_labels")
        if key in arrays
    }
    return Rows(inputs.astype(np.float32), labels["labels"], labels.get("fine_labels"), place)
