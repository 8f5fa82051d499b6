"""Writes arrays to .npy files some rows at a time, so that they need not fit into memory."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np


class RowWriter:
    """An .npy file whose rows are written in parts; rows that are left out are zeros."""

    def __init__(self, file: IO[bytes], shape: tuple[int, ...], dtype: Any):
        """Writes the header and makes the file as large as it will be.

        Args:
            file: An empty file, open for writing.
            shape: Rows first.
            dtype: Numbers, or texts of a fixed width.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        self._file, self._shape, self._dtype = file, shape, np.dtype(dtype)
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        self._start = file.tell()
        self._row_bytes = self._dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        file.truncate(self._start + self._row_bytes * shape[0])

    def write(self, start: int, values: np.ndarray) -> None:
        """Writes rows.

        Args:
            start: The first row.
            values: [rows, ...].

        Raises:
            OSError: The disk is full or cannot be written.
            ValueError: The rows do not fit into the array.
        """
        stop = start + len(values)
        if values.shape[1:] != self._shape[1:] or not 0 <= start <= stop <= self._shape[0]:
            raise ValueError(
                f"rows {start} to {stop} of shape {values.shape[1:]} into an array of {self._shape}"
            )
        self._file.seek(self._start + start * self._row_bytes)
        self._file.write(np.ascontiguousarray(values, self._dtype).tobytes())


@contextlib.contextmanager
def open_row_writers(
    folder: Path, arrays: Mapping[str, tuple[tuple[int, ...], Any]]
) -> Iterator[Mapping[str, RowWriter]]:
    """Makes an .npy file for each array; they are complete when the block ends.

    Args:
        folder: An empty folder.
        arrays: Shape and dtype of each array.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    with contextlib.ExitStack() as stack:
        yield {
            name: RowWriter(stack.enter_context(open(folder / f"{name}.npy", "wb")), *spec)
            for name, spec in arrays.items()
        }


def pack_npz(folder: Path, file: IO[bytes]) -> None:
    """Writes the .npy files of a folder as one .npz file, as `numpy.savez` does.

    Args:
        folder: The folder.
        file: Open for writing.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            # Without it, an array of 4 GiB would not fit.
            with (
                open(path, "rb") as source,
                archive.open(path.name, "w", force_zip64=True) as member,
            ):
                shutil.copyfileobj(source, member)
