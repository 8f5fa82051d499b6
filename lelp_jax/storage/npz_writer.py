"""Writes an .npz file whose largest array goes straight into it."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from lelp_jax.storage import npy_writer, writer


class NpzWriter(writer.Writer):
    """Writes an archive, not compressed.

    An archive takes one array after the other: the one that takes most space is written into it,
    the others wait in files beside it.
    """

    def __init__(self, path: Path, arrays: Mapping[str, writer.Spec], chunk_rows: int):
        super().__init__(str(path), arrays, chunk_rows)
        self._path = path
        self._file = writer.temporary(path)
        self._direct = max(
            arrays, key=lambda name: math.prod(arrays[name].shape) * arrays[name].dtype.itemsize
        )
        self._streams: dict[str, IO[bytes]] = {}
        self._archive: zipfile.ZipFile | None = None

    def _begin(self) -> None:
        self._archive = zipfile.ZipFile(self._file, "w", allowZip64=True)
        for name, spec in self.arrays.items():
            if name == self._direct:
                self._streams[name] = self._member(self._archive, name)
            else:
                self._streams[name] = open(self._beside(name), "w+b")  # noqa: SIM115
            npy_writer.write_header(self._streams[name], spec)

    def _put(self, start: int, rows: writer.Rows) -> None:
        del start
        for name, values in rows.items():
            npy_writer.write_values(self._streams[name], values)

    def _finish(self) -> None:
        assert self._archive is not None
        self._streams.pop(self._direct).close()
        for name, stream in self._streams.items():
            stream.seek(0)
            with self._member(self._archive, name) as member:
                shutil.copyfileobj(stream, member, 1 << 20)
        self._archive.close()
        with open(self._file, "rb+") as file:
            npy_writer.sync(file)
        os.replace(self._file, self._path)
        self._discard()

    def _discard(self) -> None:
        npy_writer.close(self._streams.values())
        if self._archive is not None:
            # Closing writes the archive's list, for which a full disk has no space.
            with contextlib.suppress(OSError, ValueError):
                self._archive.close()
        self._file.unlink(missing_ok=True)
        for name in self.arrays:
            self._beside(name).unlink(missing_ok=True)

    def _member(self, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
        return archive.open(f"{name}.npy", "w", force_zip64=True)

    def _beside(self, name: str) -> Path:
        return self._file.with_name(f".{self._path.name}.{name}.tmp")
