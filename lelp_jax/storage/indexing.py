"""Which rows of an array are wanted, and how they are read in few pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def normalised(rows: Any, count: int) -> slice | np.ndarray:
    """Returns the rows wanted of an array, in a form that is easy to read by.

    Args:
        rows: A slice without a step, or positions, [n] integers; negative ones count from the end.
        count: Rows of the array.

    Returns:
        A slice with 0 <= start <= stop <= count, or positions, [n] int64 in 0..count-1.

    Raises:
        IndexError: A position lies outside, or these are no rows.
    """
    if isinstance(rows, slice):
        start, stop, step = rows.indices(count)
        if step != 1:
            raise IndexError(f"a slice of rows with step {step}; it has to be 1")
        return slice(start, max(start, stop))
    positions = np.asarray(rows)
    if positions.size == 0:
        positions = positions.astype(np.int64)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise IndexError(f"{positions.dtype} of shape {positions.shape} are no positions of rows")
    positions = positions.astype(np.int64)
    outside = (positions < -count) | (positions >= count)
    if outside.any():
        raise IndexError(f"row {positions[outside][0]} of an array with {count} rows")
    return np.where(positions < 0, positions + count, positions)


def gathered(
    positions: np.ndarray,
    shape: tuple[int, ...],
    dtype: np.dtype,
    piece: Callable[[int], tuple[int, np.ndarray]],
) -> np.ndarray:
    """Returns rows in any order from an array that is read piece by piece.

    Args:
        positions: The rows wanted, [n].
        shape: Shape of the array.
        dtype: Type of its pieces.
        piece: Gives the piece that holds a row: the row at which it begins, and its rows. It is
            asked for growing rows.
    """
    values = np.empty((len(positions), *shape[1:]), dtype)
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    begin = 0
    while begin < len(ordered):
        first, rows = piece(int(ordered[begin]))
        end = int(np.searchsorted(ordered, first + len(rows)))
        values[order[begin:end]] = rows[ordered[begin:end] - first]
        begin = end
    return values


def runs(positions: np.ndarray, gap: int, longest: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yields stretches of neighbouring rows that cover the positions.

    Args:
        positions: The rows wanted, [n].
        gap: Rows that are not wanted but may lie within a stretch, between two that are.
        longest: No stretch has more rows.

    Yields:
        Where in `positions` the rows of the stretch are, its first row and the row after its last.
    """
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    apart = (np.diff(ordered) > gap + 1) | (np.diff(ordered // longest) > 0)
    for places in np.split(order, np.flatnonzero(apart) + 1):
        if len(places):
            yield places, int(positions[places[0]]), int(positions[places[-1]]) + 1
