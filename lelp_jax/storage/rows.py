"""Arrays whose rows are read when they are asked for."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class RowArray(Protocol):
    """An array of rows, in memory or in a file; NumPy arrays are such arrays as they are.

    Indexing takes a slice without a step, or positions, [n] integers.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the rows that are read."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> np.ndarray: ...


class StoredRows(abc.ABC):
    """An array of rows in a file.

    Indexing reads rows and raises UserError where the file is damaged, IndexError where there are
    no such rows.

    Attributes:
        shape: Rows first.
        dtype: Type of the rows that are read: float32 for bfloat16, text for bytes.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype = shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._read(normalize_rows(rows, len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.asarray(self[:], dtype)

    @abc.abstractmethod
    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Reads rows, given as by `normalize_rows`."""


class LoadedRows(StoredRows):
    """An array that is read whole when its first rows are asked for, and then kept in memory."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, load: Callable[[], np.ndarray]):
        super().__init__(shape, dtype)
        self._load = functools.cache(load)

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        values = self._load()[rows]
        # A view would let the caller change what the next one reads.
        return values.copy() if isinstance(rows, slice) else values


@dataclasses.dataclass(frozen=True)
class Selection:
    """Some rows of an array, in an order of their own.

    Attributes:
        array: The array.
        positions: Which of its rows, [rows] integers.
    """

    array: RowArray
    positions: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        return (len(self.positions), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Type of the rows that are read."""
        return self.array.dtype

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: Any) -> np.ndarray:
        wanted = self.positions[rows]
        # Neighbouring rows are read as one range, which every format does faster.
        if (
            len(wanted)
            and wanted[-1] - wanted[0] == len(wanted) - 1
            and (np.diff(wanted) == 1).all()
        ):
            return self.array[int(wanted[0]) : int(wanted[-1]) + 1]
        return self.array[wanted]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.asarray(self[:], dtype)


def normalize_rows(rows: Any, count: int) -> slice | np.ndarray:
    """Checks which rows are asked for and counts them from 0.

    Args:
        rows: A slice without a step, or positions, [n] integers; negative ones count from the end.
        count: Rows of the array.

    Returns:
        A slice with 0 <= start <= stop <= count, or positions, [n] int64 in 0..count-1.

    Raises:
        IndexError: A position is out of range, or these are neither a slice nor positions.
    """
    if isinstance(rows, slice):
        start, stop, step = rows.indices(count)
        if step != 1:
            raise IndexError(f"rows are read with step 1, got a slice with step {step}")
        return slice(start, max(start, stop))
    positions = np.asarray(rows)
    if positions.size == 0:
        positions = positions.astype(np.int64)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise IndexError(
            f"rows are given by a slice or by integers of shape [n], got {positions.dtype} of "
            f"shape {positions.shape}"
        )
    positions = positions.astype(np.int64)
    outside = (positions < -count) | (positions >= count)
    if outside.any():
        raise IndexError(f"row {positions[outside][0]} of an array with {count} rows")
    return np.where(positions < 0, positions + count, positions)
