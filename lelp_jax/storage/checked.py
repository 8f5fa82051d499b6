"""Arrays whose chunks are compared with the checksums recorded when they were written.

Zarr's own checksums find a damaged chunk; these also find an intact chunk of another array.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from lelp_jax.core.errors import Damaged, Unavailable, UserError
from lelp_jax.storage import objects
from lelp_jax.storage.rows import StoredRows
from lelp_jax.storage.zarr import ZarrArray


def checksum(values: np.ndarray) -> int:
    """Computes the CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).data)


class CheckedArray(StoredRows):
    """An array of rows that refuses chunks other than those written.

    Indexing raises Damaged where a chunk is damaged, lost, or another one, and Unavailable where
    the address cannot be reached.
    """

    def __init__(self, array: ZarrArray, checksums: Sequence[int], owner: str):
        """Wraps an open array.

        Args:
            array: The array.
            checksums: Of each chunk, as it is read.
            owner: Folder or address of what the array is a part of, which is built again when a
                chunk is refused.
        """
        super().__init__(array.shape, array.dtype)
        self._array, self._checksums, self._owner = array, checksums, owner
        # Readers go through the rows in order, in steps that need not be chunks.
        self._last: tuple[int, np.ndarray] | None = None

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        positions = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        size = self._array.chunk_rows
        result = np.empty((len(positions), *self.shape[1:]), self.dtype)
        chunks = positions // size
        order = np.argsort(chunks, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(chunks[order])) + 1):
            if len(places):
                number = int(chunks[places[0]])
                result[places] = self._read_chunk(number)[positions[places] - number * size]
        return result

    def _read_chunk(self, number: int) -> np.ndarray:
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        size = self._array.chunk_rows
        start, stop = number * size, min((number + 1) * size, len(self))
        where = f"{self._array.location}: chunk {number} (rows {start} to {stop - 1})"
        try:
            values = self._array[start:stop]
        except Unavailable:
            raise
        except UserError as error:
            # The cause names the file; its hint is not for these arrays.
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            problem = f"{where} cannot be read: {objects.shorten_error(cause)}"
            raise Damaged(problem, self._owner) from error
        if checksum(values) != self._checksums[number]:
            raise Damaged(f"{where} is not the one that was written there", self._owner)
        self._last = (number, values)
        return values
