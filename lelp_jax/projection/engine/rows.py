"""A teacher's embedding of some rows, with what tells the rows apart."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from lelp_jax.storage.rows import RowArray

# What the last bits of a row, and of a product with it, may change in a projection of the row,
# relative to the row's length.
ROUNDING = 4 * float(np.finfo(np.float32).eps)
# With values in this range float32 holds sums of squares and of cubes.
_SAFE = (2.0**-30, 2.0**30)
# Rows that tell how large values are.
_ROWS_OF_SCALE = 16


@dataclasses.dataclass(frozen=True)
class EmbeddedRows:
    """Examples as a projection sees them.

    Attributes:
        embedding: Teacher embedding, [rows, dims]; it need not fit into memory.
        index: Position of each row in the data set, [rows].
        label: Class of each row, [rows] int32; when fitting, the class it is fitted in, or -1 for
            rows that are not fitted.
        fine_label: Finer class, [rows] int32 with -1 for none, or None.
        name: Names all of this, so that what was computed of it can be found again; "" where
            nothing shall be kept.
    """

    embedding: RowArray
    index: np.ndarray
    label: np.ndarray
    fine_label: np.ndarray | None = None
    name: str = ""

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.index)

    def part(self, rows: Any) -> EmbeddedRows:
        """Returns some rows, with their embedding in memory as float32.

        Args:
            rows: A slice without a step, or positions, [n] integers.
        """
        return EmbeddedRows(
            np.asarray(self.embedding[rows], np.float32),
            self.index[rows],
            self.label[rows],
            None if self.fine_label is None else self.fine_label[rows],
        )


@dataclasses.dataclass(frozen=True)
class _Scaled:
    """Rows of an array divided by a power of two, which rounds nothing.

    Attributes:
        array: The array.
        exponent: The power.
    """

    array: RowArray
    exponent: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> np.ndarray:
        values = np.asarray(self.array[rows], np.float32)
        most = np.finfo(np.float32).max
        with np.errstate(over="ignore"):
            scaled = np.ldexp(values, -self.exponent)
        # A finite row stays finite, however large beside those sampled: it is refused as too large.
        return np.clip(scaled, -most, most, out=scaled, where=np.isfinite(values))


def rescale(rows: EmbeddedRows) -> tuple[EmbeddedRows, float]:
    """Divides rows by a power of two where their squares would leave the range of float32.

    Args:
        rows: The rows; those without a class do not count.

    Returns:
        The rows, as they are where their values are of ordinary size, and the power of two.
    """
    own = np.flatnonzero(rows.label >= 0)
    some = own[:: len(own) // _ROWS_OF_SCALE + 1]
    values = np.abs(np.asarray(rows.embedding[some], np.float64))
    largest = float(np.max(values, where=np.isfinite(values), initial=0.0))
    if not largest or _SAFE[0] <= largest <= _SAFE[1]:
        return rows, 1.0
    exponent = math.frexp(largest)[1] - 1
    return dataclasses.replace(rows, embedding=_Scaled(rows.embedding, exponent)), 2.0**exponent
