"""Arrays of rows in NumPy's file format, read from the disk row by row."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.storage import dtypes, indexing

# Rows this near to one another are read together rather than with a seek between them.
_GAP_BYTES = 1 << 15
_RUN_BYTES = 1 << 23


@dataclasses.dataclass(frozen=True)
class Header:
    """What an array's header says.

    Attributes:
        shape: Rows first.
        dtype: Type in which it is stored.
        fortran: Its first axis runs fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: Any, where: str) -> Header:
    """Reads the header of an array, up to its values.

    Args:
        file: Stands at the beginning of the array.
        where: The array, for messages.

    Raises:
        UserError: This is no array.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format version {version} holds structured values")
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        if any(size < 0 for size in shape):
            raise ValueError(f"shape {shape}")
    except Exception as error:  # a damaged header fails in as many ways as Python source does
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{where} is no NumPy array or is damaged ({reason}); save it again with numpy.save"
        ) from error
    return Header(shape, dtype, fortran and len(shape) > 1)


def open_file(path: Path, where: str) -> NpyArray:
    """Opens the array of a .npy file.

    Raises:
        OSError: The file cannot be read.
        UserError: It holds no array that can be read.
    """
    with open(path, "rb") as file:
        header = read_header(file, where)
        return NpyArray(path, where, header, file.tell())


class NpyArray:
    """An array whose values lie in one piece of a file.

    The file is read, not mapped into memory: pages of a map would count as this process's memory,
    and a file that is cut off meanwhile would end the process instead of raising an error.

    Attributes:
        shape: Rows first.
        dtype: Type of what is read: float32 for bfloat16, text for bytes.
    """

    def __init__(self, path: Path, where: str, header: Header, offset: int):
        """Takes the place of an array.

        Args:
            path: The file.
            where: The array, for messages.
            header: Its shape and type.
            offset: Where in the file its values begin.

        Raises:
            UserError: The type cannot be read, or the file is too short.
        """
        self.shape = header.shape
        self.dtype = dtypes.given(header.dtype, where)
        self._path = path
        self._where = where
        self._header = header
        self._offset = offset
        there = os.path.getsize(path) - offset
        if there < header.size:
            raise UserError(
                f"{where} is cut off: {header.dtype} of shape {list(header.shape)} takes "
                f"{header.size} bytes, {max(0, there)} are there; copy or write the file again"
            )

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Returns rows.

        Args:
            rows: A slice without a step, or positions, [n] integers.

        Raises:
            UserError: The file is gone or has changed.
        """
        rows = indexing.normalised(rows, len(self))
        try:
            with open(self._path, "rb", buffering=0) as file:
                if isinstance(rows, slice):
                    values = self._stretch(file, rows.start, rows.stop)
                else:
                    values = self._positions(file, rows)
        except FileNotFoundError as error:
            raise UserError(f"{self._where} is gone; put the file back") from error
        return dtypes.converted(values, self._where)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns all rows in memory."""
        del copy
        return np.asarray(self[:], dtype)

    def _positions(self, file: BinaryIO, positions: np.ndarray) -> np.ndarray:
        width = max(1, self._header.size // max(1, len(self)))
        values = np.empty((len(positions), *self.shape[1:]), self._header.dtype)
        longest = max(1, _RUN_BYTES // width)
        for places, start, stop in indexing.runs(positions, _GAP_BYTES // width, longest):
            values[places] = self._stretch(file, start, stop)[positions[places] - start]
        return values

    def _stretch(self, file: BinaryIO, start: int, stop: int) -> np.ndarray:
        """Returns neighbouring rows as they are stored."""
        dtype, inner = self._header.dtype, self.shape[1:]
        if not self._header.fortran:
            values = np.empty((stop - start, *inner), dtype)
            self._fill(file, start * math.prod(inner), values)
            return values
        columns = np.empty((math.prod(inner), stop - start), dtype)
        for number, column in enumerate(columns):
            self._fill(file, number * len(self) + start, column)
        return columns.reshape(*reversed(inner), stop - start).transpose()

    def _fill(self, file: BinaryIO, first: int, values: np.ndarray) -> None:
        """Fills an array with what the file holds from a value on."""
        if not values.nbytes:
            return
        rest = values.reshape(-1).view(np.uint8).data
        file.seek(self._offset + first * values.itemsize)
        while rest:
            # An unbuffered file may give less than asked for, 2 GiB at most.
            count = file.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise UserError(
                    f"{self._where} was cut off while it was read; copy or write the file again"
                )
            rest = rest[count:]
