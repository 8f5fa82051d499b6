"""Handwritten digits bundled with scikit-learn, in a few classes, with the digit as fine label."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Annotated

import numpy as np

from lelp_jax.core.constraints import Range
from lelp_jax.core.errors import UserError
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
        """Reads all rows as training rows, [1797, 64], to be split by the caller."""
        values = np.loadtxt(_find_file(), np.float32, delimiter=",")
        images, digits = values[:, :-1], values[:, -1].astype(np.int32)
        rows = Rows(
            inputs=images,
            labels=digits % self.classes,
            fine_labels=digits,
            place=lambda row: f"digits row {row}",
        )
        # Grey levels 0..16 to about zero mean: raw / 16 - 0.3.
        scaling = Preprocessing(
            np.array(4.8, np.float32), np.array(1 / 16, np.float32), shape=images.shape[1:]
        )
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


def _find_file() -> Path:
    """Finds the file that scikit-learn ships, [1797, 65] numbers of which the last is the digit.

    `sklearn.datasets.load_digits` reads the same one, but importing scikit-learn takes longer than
    all else that a finished run does.

    Raises:
        UserError: This scikit-learn ships no such file.
    """
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return path
    raise UserError(
        "config.data.source=digits needs digits.csv.gz, which is not in the installed scikit-learn;"
        " run: pip install --force-reinstall scikit-learn"
    )
