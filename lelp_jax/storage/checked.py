"""Arrays whose every chunk is compared with a checksum that was noted when it was written.

The format's own checksums tell a damaged chunk; these also tell a sound one that is not the chunk
which was written there.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lelp_jax.core.errors import Damaged, Unavailable, UserError
from lelp_jax.storage import indexing, objects
from lelp_jax.storage.zarr import ZarrArray


def checksum(values: np.ndarray) -> int:
    """Returns the CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).data)


class CheckedArray:
    """An array of rows that refuses chunks other than those written.

    Attributes:
        shape: Rows first.
        dtype: Type of what is read.
    """

    def __init__(self, array: ZarrArray, checksums: Sequence[int], owner: str):
        """Takes an array that is open.

        Args:
            array: The array.
            checksums: Of each chunk, as it is read.
            owner: Folder or address of what the array is a part of, which is built again when a
                chunk is refused.
        """
        self._array, self._checksums, self._owner = array, checksums, owner
        self.shape, self.dtype = array.shape, array.dtype
        # Readers go through the rows in order, in steps that need not be chunks.
        self._last: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Returns rows; the chunks that hold them are read whole.

        Args:
            rows: A slice without a step, or positions, [n] integers.

        Raises:
            Damaged: A chunk is damaged, lost, or another one.
            Unavailable: The address cannot be reached.
        """
        rows = indexing.normalised(rows, len(self))
        if isinstance(rows, slice):
            positions = np.arange(rows.start, rows.stop)
        else:
            positions = np.asarray(rows)
        size = self._array.chunk_rows
        result = np.empty((len(positions), *self.shape[1:]), self.dtype)
        chunks = positions // size
        order = np.argsort(chunks, kind="stable")
        first = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        for own in np.split(order, first[1:]):
            if len(own):
                number = int(chunks[own[0]])
                result[own] = self._chunk(number)[positions[own] - number * size]
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns all rows in memory."""
        del copy
        return np.asarray(self[:], dtype)

    def _chunk(self, number: int) -> np.ndarray:
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        size = self._array.chunk_rows
        start, stop = number * size, min((number + 1) * size, len(self))
        place = f"{self._array.location}: chunk {number} (rows {start} to {stop - 1})"
        try:
            values = self._array[start:stop]
        except Unavailable:
            raise
        except UserError as error:
            # The cause names the file; what the error says of fixing it is not for these arrays.
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            problem = f"{place} cannot be read: {objects.reason(cause)}"
            raise Damaged(problem, self._owner) from error
        if checksum(values) != self._checksums[number]:
            raise Damaged(f"{place} is not the one that was written there", self._owner)
        self._last = (number, values)
        return values
