"""Arrays of rows in .npy and .npz files.

Arrays that are not compressed are mapped into memory, so that they may be larger than it. Those of
`numpy.savez_compressed` are read whole when their first rows are asked for.
"""

from __future__ import annotations

import contextlib
import functools
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.storage.bundle import Openers
from lelp_jax.storage.dtypes import convert_values, resolve_dtype
from lelp_jax.storage.rows import LoadedRows, RowArray, StoredRows

_ENDING = ".npy"
# A member of a zip file comes after a header of 30 bytes, whose last four give the lengths of the
# member's name and of an extra field that follow it.
_ZIP_HEADER_BYTES = 30
_BLOCK_BYTES = 1 << 20


def find_npz_arrays(path: Path) -> Openers:
    """Lists the arrays of an .npz file.

    Raises:
        UserError: The file is not an .npz file, or is truncated.
    """
    with _reading(str(path)), zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(_ENDING)]
    return {
        info.filename.removesuffix(_ENDING): functools.partial(_open_member, path, info)
        for info in members
    }


def check_npz(path: Path, names: Collection[str]) -> None:
    """Compares arrays with their checksums, which those that are mapped never meet.

    Args:
        path: An .npz file.
        names: The arrays.

    Raises:
        UserError: One is damaged.
    """
    for name in names:
        where = f"{path}, array {name!r}"
        with (
            _reading(where),
            zipfile.ZipFile(path) as archive,
            archive.open(name + _ENDING) as file,
        ):
            while file.read(_BLOCK_BYTES):
                pass


def _open_member(path: Path, info: zipfile.ZipInfo, where: str) -> RowArray:
    if info.compress_type == zipfile.ZIP_STORED:
        with _reading(where), open(path, "rb") as file:
            file.seek(info.header_offset)
            header = file.read(_ZIP_HEADER_BYTES)
            lengths = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:], "little")
            return MappedRows(path, where, file.tell() + sum(lengths))

    def load() -> np.ndarray:
        with _reading(where), zipfile.ZipFile(path) as archive, archive.open(info) as member:
            values = np.lib.format.read_array(member, allow_pickle=False)
            member.read(1)  # reaching the end compares the checksum
            return convert_values(values, where)

    with _reading(where), zipfile.ZipFile(path) as archive, archive.open(info) as member:
        shape, _, dtype = _read_header(member)
    return LoadedRows(shape, resolve_dtype(dtype, where), load)


class MappedRows(StoredRows):
    """An array that is not compressed.

    Every read maps the file anew: pages of a map that stays would count as memory of this process,
    and a file that has been replaced or cut off meanwhile is an error here, not a bus error.
    """

    def __init__(self, path: Path, where: str, start: int = 0):
        """Reads the header.

        Args:
            path: The file.
            where: The array, for messages.
            start: Byte of the file at which the array's header begins.

        Raises:
            UserError: There is no such array, or its type cannot be read.
        """
        self._path, self._where, self._start = path, where, start
        mapped = self._map()
        super().__init__(mapped.shape, resolve_dtype(mapped.dtype, where))

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        values = self._map()[rows]
        # A slice is a view of the map.
        return convert_values(values.copy() if isinstance(rows, slice) else values, self._where)

    def _map(self) -> np.ndarray:
        with _reading(self._where), open(self._path, "rb") as file:
            file.seek(self._start)
            shape, fortran, dtype = _read_header(file)
            resolve_dtype(dtype, self._where)  # pointers to objects must not be mapped
            order: Any = "F" if fortran else "C"
            return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape, order))


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads shape, whether the first axis runs fastest, and type, up to the values."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"format version {version} holds structured values")
    if min(header[0], default=0) < 0:
        raise ValueError(f"shape {header[0]}")
    return header


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turns what NumPy and zipfile raise into a UserError."""
    try:
        yield
    except UserError:
        raise
    # A damaged header fails in as many ways as Python source does.
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{where} cannot be read ({reason}); copy the file again, or save it "
            "again with numpy.save or numpy.savez"
        ) from error
