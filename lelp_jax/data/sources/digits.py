"""Handwritten digits bundled with scikit-learn, in a few classes, with the digit as fine label."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np

from lelp_jax.core.constraints import Range
from lelp_jax.data.dataset import Parts, Preprocessing, Rows

_DIGITS = 10


@dataclasses.dataclass(frozen=True)
class Digits:
    """1,797 real 8x8 grey images (Alpaydin and Kaynak, UCI 1998); the digit is the fine label.

    Attributes:
        classes: Number of classes; that of an image is its digit modulo this number. Two are even
            and odd; with ten every class is one digit.
    """

    classes: Annotated[int, Range(2, _DIGITS, "[]")] = 2

    def parts(self) -> Parts:
        """Returns all rows as training rows, [1797, 64], to be split by the caller."""
        # Imported here: a finished run prints its table without paying for scikit-learn's imports
        # where another source is used.
        from sklearn.datasets import load_digits

        images, digits = load_digits(return_X_y=True)
        rows = Rows(
            inputs=images.astype(np.float32),
            labels=(digits % self.classes).astype(np.int32),
            fine_labels=digits.astype(np.int32),
            place=lambda row: f"digits row {row}",
        )
        # Grey levels 0..16 to about zero mean: raw / 16 - 0.3.
        scaling = Preprocessing(np.array(4.8, np.float32), np.array(1 / 16, np.float32))
        return Parts(
            train=rows,
            validation=None,
            test=None,
            class_names=self._class_names(),
            fine_names=tuple(map(str, range(_DIGITS))),
            preprocess=lambda _: scaling,
            image_shape=(8, 8),
        )

    def _class_names(self) -> tuple[str, ...]:
        if self.classes == 2:
            return "even", "odd"
        return tuple(
            "/".join(map(str, range(label, _DIGITS, self.classes))) for label in range(self.classes)
        )
