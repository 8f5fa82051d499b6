"""Arrays of rows in an .npz file: read in place where they are not compressed."""

from __future__ import annotations

import contextlib
import functools
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.storage import dtypes, indexing, npy
from lelp_jax.storage.bundle import Openers
from lelp_jax.storage.rows import RowArray

_ENDING = ".npy"
# The fixed part of what lies before a member, and where the lengths of its names stand in it.
_LOCAL_HEADER_BYTES = 30
_LENGTHS = slice(26, 30)


def openers(path: Path) -> Openers:
    """Returns what opens each array of a file.

    Raises:
        UserError: This is no .npz file, or it is cut off.
    """
    with _reading(str(path)), zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(_ENDING)]
    return {
        info.filename.removesuffix(_ENDING): functools.partial(_open, path, info)
        for info in members
    }


def _open(path: Path, info: zipfile.ZipInfo, where: str) -> RowArray:
    with _reading(where), zipfile.ZipFile(path) as archive, archive.open(info) as member:
        header = npy.read_header(member, where)
        before = member.tell()
    if info.file_size < before + header.size:
        raise UserError(
            f"{where} is damaged: {header.dtype} of shape {list(header.shape)} takes "
            f"{header.size} bytes, {info.file_size - before} are there; write the file again"
        )
    if info.compress_type != zipfile.ZIP_STORED:
        return CompressedArray(path, info, where, header)
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        lengths = struct.unpack("<HH", file.read(_LOCAL_HEADER_BYTES)[_LENGTHS])
    start = info.header_offset + _LOCAL_HEADER_BYTES + sum(lengths)
    return npy.NpyArray(path, where, header, start + before)


class CompressedArray:
    """A compressed array; it is loaded as a whole when rows are first asked for.

    Attributes:
        shape: Rows first.
        dtype: Type of what is read: float32 for bfloat16, text for bytes.
    """

    def __init__(self, path: Path, info: zipfile.ZipInfo, where: str, header: npy.Header):
        """Takes the place of an array.

        Args:
            path: The file.
            info: The member of it.
            where: The array, for messages.
            header: Its shape and type.

        Raises:
            UserError: The type cannot be read.
        """
        self.shape = header.shape
        self.dtype = dtypes.given(header.dtype, where)
        self._path = path
        self._info = info
        self._where = where
        self._lock = threading.Lock()
        self._values: np.ndarray | None = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Returns rows, given by a slice without a step or by positions.

        Raises:
            UserError: The file is damaged.
        """
        rows = indexing.normalised(rows, len(self))
        with self._lock:
            if self._values is None:
                self._values = self._load()
        return self._values[rows].copy() if isinstance(rows, slice) else self._values[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns all rows in memory."""
        del copy
        return np.asarray(self[:], dtype)

    def _load(self) -> np.ndarray:
        with (
            _reading(self._where),
            zipfile.ZipFile(self._path) as archive,
            archive.open(self._info) as member,
        ):
            values = np.lib.format.read_array(member, allow_pickle=False)
            member.read(1)  # reaching the end compares the checksum
        return dtypes.converted(values, self._where)


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    """Gives all the ways in which a damaged archive fails the form of a UserError."""
    try:
        yield
    except UserError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{where} cannot be read ({reason}); copy the file again, or save it again with "
            "numpy.savez"
        ) from error
