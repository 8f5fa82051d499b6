"""Labels as sources give them: integers, or names that become integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.errors import UserError


def class_names(labels: np.ndarray, num_classes: int) -> tuple[str, ...]:
    """Names classes by their numbers.

    Args:
        labels: Training labels, [rows] int32.
        num_classes: How many classes there are; 0 takes the largest label + 1.
    """
    count = num_classes or (int(labels.max()) + 1 if len(labels) else 0)
    return tuple(str(label) for label in range(count))


def to_int_labels(
    values: np.ndarray, rows: int, name: str, place: Callable[[int], str]
) -> np.ndarray:
    """Returns integer labels, [rows] int32.

    Args:
        values: Labels as read; whole numbers of any type, NaN where there is none.
        rows: How many there must be.
        name: The column's or key's name.
        place: Names a row for a message.

    Raises:
        UserError: The number of labels is wrong or a label is not a whole number.
    """
    if values.shape != (rows,):
        raise UserError(
            f"{place(0)}: {name} has shape {values.shape}, but there are {rows} rows of inputs"
        )
    if not np.issubdtype(values.dtype, np.number) and values.dtype != bool:
        raise UserError(f"{place(0)}: {name} has type {values.dtype}; whole numbers are needed")
    wide = values.astype(np.float64)
    wide = np.where(np.isnan(wide), UNLABELLED, wide)
    wrong = (wide != np.round(wide)) | (np.abs(wide) > 2**31 - 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(f"{place(row)}: {name} {values[row]} is not a whole number")
    return wide.astype(np.int32)


def names_of(values: Sequence[str | None]) -> tuple[str, ...]:
    """Returns the distinct label names in sorted order; None and "" mark no label."""
    return tuple(sorted({value for value in values if value}))


def from_names(
    values: Sequence[str | None], names: tuple[str, ...], name: str, place: Callable[[int], str]
) -> np.ndarray:
    """Returns the position of each name, [rows] int32, -1 for None and "".

    Raises:
        UserError: A name is not among those of the training rows.
    """
    position = {label: index for index, label in enumerate(names)}
    result = np.full(len(values), UNLABELLED, np.int32)
    for row, value in enumerate(values):
        if value:
            if value not in position:
                raise UserError(
                    f"{place(row)}: {name} {value!r} does not occur in the training rows; "
                    f"known: {', '.join(names)}"
                )
            result[row] = position[value]
    return result
