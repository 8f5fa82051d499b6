"""Handwritten digits bundled with scikit-learn: even or odd, with the digit as fine label."""

from __future__ import annotations

import dataclasses

import numpy as np

from lelp_jax.data.dataset import Parts, Preprocessing, Rows


@dataclasses.dataclass(frozen=True)
class Digits:
    """1,797 real 8x8 grey images (Alpaydin and Kaynak, UCI 1998); the class is the parity."""

    def parts(self) -> Parts:
        """Returns all rows as training rows, [1797, 64], to be split by the caller."""
        # Imported here: a finished run prints its table without paying for scikit-learn's imports
        # where another source is used.
        from sklearn.datasets import load_digits

        images, digits = load_digits(return_X_y=True)
        rows = Rows(
            inputs=images.astype(np.float32),
            labels=(digits % 2).astype(np.int32),
            fine_labels=digits.astype(np.int32),
            place=lambda row: f"digits row {row}",
        )
        # Grey levels 0..16 to about zero mean: raw / 16 - 0.3.
        scaling = Preprocessing(np.array(4.8, np.float32), np.array(1 / 16, np.float32))
        return Parts(
            train=rows,
            validation=None,
            test=None,
            class_names=("even", "odd"),
            fine_names=tuple(str(digit) for digit in range(10)),
            preprocess=lambda _: scaling,
        )
