"""Writes a folder of .npy files, and the streams of rows that .npz files are made from."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from lelp_jax.storage import destinations, dtypes, writer


def write_header(file: IO[bytes], spec: writer.Spec) -> None:
    """Writes what precedes the values of an array in NumPy's format."""
    # The format has no bfloat16; numpy.save writes it in this way as well.
    descr = "<V2" if dtypes.is_bfloat16(spec.dtype) else np.lib.format.dtype_to_descr(spec.dtype)
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": tuple(spec.shape)}
    )


def write_values(file: IO[bytes], values: np.ndarray) -> None:
    """Writes rows as they lie in memory."""
    if values.nbytes:
        file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def sync(file: IO[bytes]) -> None:
    """Waits until a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def close(files: Iterable[IO[bytes]]) -> None:
    """Closes files that are given up; what they still hold may not fit on the disk."""
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            file.close()


class NpyWriter(writer.Writer):
    """Writes each array into a file of its own."""

    def __init__(self, path: Path, arrays: Mapping[str, writer.Spec], chunk_rows: int):
        super().__init__(str(path), arrays, chunk_rows)
        self._path = path
        self._folder = writer.temporary(path)
        self._files: dict[str, IO[bytes]] = {}

    def _begin(self) -> None:
        destinations.restore_folder(self._path)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        for name, spec in self.arrays.items():
            self._files[name] = open(self._folder / f"{name}.npy", "wb")  # noqa: SIM115
            write_header(self._files[name], spec)

    def _put(self, start: int, rows: writer.Rows) -> None:
        del start
        for name, values in rows.items():
            write_values(self._files[name], values)

    def _finish(self) -> None:
        for file in self._files.values():
            sync(file)
            file.close()
        destinations.replace_folder(self._folder, self._path)

    def _discard(self) -> None:
        close(self._files.values())
        shutil.rmtree(self._folder, ignore_errors=True)
