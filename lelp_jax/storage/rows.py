"""What every array of rows offers, wherever it lies."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np


class RowArray(Protocol):
    """An array whose rows are read when they are asked for.

    NumPy arrays and memory maps are such arrays as they are.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of what is read."""
        ...

    def __len__(self) -> int:
        """Returns the number of rows."""
        ...

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Returns rows.

        Args:
            rows: A slice without a step, or positions, [n] integers.
        """
        ...


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
        """Type of what is read."""
        return self.array.dtype

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.positions)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Returns rows, given by a slice without a step or by positions."""
        wanted = self.positions[rows]
        if (
            len(wanted)
            and wanted[-1] - wanted[0] == len(wanted) - 1
            and (np.diff(wanted) == 1).all()
        ):
            return self.array[int(wanted[0]) : int(wanted[-1]) + 1]
        return self.array[wanted]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns all rows in memory."""
        del copy
        return np.asarray(self[:], dtype)
