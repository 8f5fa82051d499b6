"""Writes named arrays of rows; the file or folder appears when it is whole.

Rows are written chunk by chunk, so that arrays need not fit into memory, except those of a .parquet
file, which are put together there. Several processes may write to one zarr folder or address.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import files
from lelp_jax.core.errors import UserError
from lelp_jax.storage import numpy_parts, objects, zarr

_FOLDERS = ("", ".zarr")
_ENDINGS = (".npz", ".parquet", *_FOLDERS)
_GROUP_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")
_ARRAY_FILES = ("zarr.json", ".zarray")
_CHUNK_BYTES = 1 << 22
_MAX_CHUNK_ROWS = 1 << 16


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """What an array will be.

    Attributes:
        shape: [rows] or [rows, width].
        dtype: Numbers, or texts of a fixed width ("U20").
    """

    shape: tuple[int, ...]
    dtype: Any


@dataclasses.dataclass(frozen=True)
class Writer:
    """Takes the rows of all arrays together.

    Attributes:
        chunk_rows: Rows to write at once: each call of `write` begins at a multiple of it, and ends
            at the next one or at the last row.
        write: Called with the first row and the rows of each array, [rows, ...].
    """

    chunk_rows: int
    write: Callable[[int, Mapping[str, np.ndarray]], None]


@contextlib.contextmanager
def open_writer(
    location: str, arrays: Mapping[str, ArraySpec], flag: str, main: bool = True
) -> Iterator[Writer]:
    """Opens a location for writing; what was there stays until the block ends without an exception.

    Several processes may write one zarr folder or address: all open it alike, but only one with
    `main`. The others write after that one has entered the block, and it leaves the block after
    they have. At an address, where nothing can be renamed, what was there is deleted at the start.

    Args:
        location: An .npz, .parquet or .zarr path, a folder (no ending) for .npy files, or an
            address such as gs://bucket/folder for zarr.
        arrays: What to write; all arrays have the same number of rows.
        flag: Where the user gave the location ("--out"), for messages.
        main: Whether this process makes the folder and completes it.

    Raises:
        OSError: The disk is full or cannot be written.
        UserError: The location cannot be written, or zarr is asked to hold texts.
    """
    if main:
        check_destination(location, flag)
    widest = max(np.dtype(a.dtype).itemsize * math.prod(a.shape[1:]) for a in arrays.values())
    chunk_rows = 1 << (min(_MAX_CHUNK_ROWS, max(1, _CHUNK_BYTES // widest)).bit_length() - 1)
    path = None if objects.is_url(location) else objects.local_path(location)
    if path is None or path.suffix.lower() == ".zarr":
        with _write_zarr(location, path, arrays, chunk_rows, main) as write:
            yield Writer(chunk_rows, write)
        return
    if path.suffix.lower() == ".parquet":
        values = {name: np.zeros(spec.shape, spec.dtype) for name, spec in arrays.items()}

        def put(start: int, rows: Mapping[str, np.ndarray]) -> None:
            for name, part in rows.items():
                values[name][start : start + len(part)] = part

        yield Writer(chunk_rows, put)
        size = sum(each.nbytes for each in values.values())
        with files.convert_storage_errors(path, size), files.open_atomic(path) as file:
            _save_parquet(file, values)
        return
    with _write_numpy(path, arrays) as write:
        yield Writer(chunk_rows, write)


@contextlib.contextmanager
def _write_numpy(
    path: Path, arrays: Mapping[str, ArraySpec]
) -> Iterator[Callable[[int, Mapping[str, np.ndarray]], None]]:
    """Makes .npy files in a temporary folder, which takes its name at the end or becomes .npz."""
    of_folder = not path.suffix
    # Not the name of a temporary file.
    temporary = _temporary(path) if of_folder else path.with_name(f".{path.name}.arrays")
    size = sum(np.dtype(spec.dtype).itemsize * math.prod(spec.shape) for spec in arrays.values())
    if of_folder:
        _restore_folder(path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        # An .npz file is packed while the arrays are still there.
        with files.convert_storage_errors(path, size if of_folder else 2 * size):
            temporary.mkdir()
            specs = {name: (spec.shape, spec.dtype) for name, spec in arrays.items()}
            with numpy_parts.open_row_writers(temporary, specs) as writers:

                def write(start: int, rows: Mapping[str, np.ndarray]) -> None:
                    for name, part in rows.items():
                        writers[name].write(start, part)

                yield write
            if of_folder:
                _replace_folder(temporary, path)
            else:
                with files.open_atomic(path) as file:
                    numpy_parts.pack_npz(temporary, file)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _save_parquet(file: Any, arrays: Mapping[str, np.ndarray]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        name: pa.array(values)
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        for name, values in arrays.items()
    }
    # Without compression, of which numbers such as these gain little; checksums tell damage.
    parquet.write_table(pa.table(columns), file, compression="none", write_page_checksum=True)


@contextlib.contextmanager
def _write_zarr(
    location: str,
    path: Path | None,
    arrays: Mapping[str, ArraySpec],
    chunk_rows: int,
    main: bool,
) -> Iterator[Callable[[int, Mapping[str, np.ndarray]], None]]:
    """Makes a group of zarr arrays; gives what writes rows to them."""
    for name, spec in arrays.items():
        if np.dtype(spec.dtype).kind == "U":
            raise UserError(
                f"{location}: array {name!r} holds texts, which are not written to zarr; write "
                "integers that stand for them, or .npz or .parquet"
            )
    target = location if path is None else str(_temporary(path))
    open_array = functools.cache(lambda name: zarr.open(objects.join(target, name)))

    def write(start: int, rows: Mapping[str, np.ndarray]) -> None:
        for name, values in rows.items():
            open_array(name).write(start, values)

    if not main:
        yield write
        return
    if path is not None:
        _restore_folder(path)
    objects.delete_tree(target)
    try:
        # Readers refuse the address as long as its group says so.
        zarr.write_group(target, {"attributes": {zarr.UNFINISHED: True}})
        for name, spec in arrays.items():
            zarr.create(objects.join(target, name), spec.shape, spec.dtype, chunk_rows)
        yield write
        metadata = {}
        for name in arrays:
            content = objects.read_bytes(objects.join(target, name), "zarr.json")
            assert content is not None
            metadata[name] = json.loads(content)
        # An address that lists nothing, such as https://, is read by means of this.
        listed = {"kind": "inline", "must_understand": False, "metadata": metadata}
        zarr.write_group(target, {"attributes": {}, "consolidated_metadata": listed})
        if path is not None:
            _replace_folder(_temporary(path), path)
    except BaseException:
        objects.delete_tree(target)
        raise


def check_destination(location: str, flag: str) -> None:
    """Checks that a file, folder or address may be written.

    Args:
        location: What will be written.
        flag: Where the user gave it, for messages.

    Raises:
        UserError: Its ending is not known, the folder above is missing, or something is there
            that would be lost.
    """
    if objects.is_url(location):
        if (other := _find_foreign_key(location, flag)) is not None:
            raise UserError(
                f"{location} also holds {other!r}, which would be lost; give another address in "
                f"{flag}"
            )
        return
    path = objects.local_path(location)
    if path.suffix.lower() == ".npy":
        raise UserError(
            f"{path}: an .npy file holds one array; give a folder (no ending), .npz, .parquet or "
            f".zarr in {flag}"
        )
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(
            f"{path}: unknown ending {path.suffix!r}; give .npz, .parquet, .zarr or a folder "
            f"without an ending in {flag}"
        )
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} is missing; create it, or change {flag}")
    if path.suffix.lower() not in _FOLDERS:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give a file in {flag}, or remove the folder")
        return
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; give a folder in {flag}, or remove the file")
    for entry in sorted(path.iterdir()) if path.is_dir() else ():
        known = entry.suffix == ".npy" or entry.name in _GROUP_FILES
        if not (zarr.is_zarr(entry) if entry.is_dir() else known):
            raise UserError(
                f"{path} also holds {entry.name!r}, which would be lost; give another folder in "
                f"{flag}, or move it away"
            )


def _find_foreign_key(address: str, flag: str) -> str | None:
    """Finds something at an address that belongs to none of its arrays."""
    keys = objects.list_keys(address)
    if keys is None:
        raise UserError(
            f"{address} can only be read; give gs://bucket/folder or a local path in {flag}"
        )
    parts = {key: key.partition("/") for key in keys}
    arrays = {folder for folder, _, name in parts.values() if name in _ARRAY_FILES}
    foreign = (key for key in keys if key not in _GROUP_FILES and parts[key][0] not in arrays)
    return next(foreign, None)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _replace_folder(new: Path, path: Path) -> None:
    """Renames a folder to a name that another may have, which is whole until then."""
    shutil.rmtree(_previous(path), ignore_errors=True)
    if path.exists():
        os.rename(path, _previous(path))
    try:
        os.rename(new, path)
    except OSError:
        _restore_folder(path)
        raise
    shutil.rmtree(_previous(path), ignore_errors=True)


def _restore_folder(path: Path) -> None:
    """Puts a folder back whose replacement was killed between its two steps."""
    if _previous(path).is_dir() and not path.exists():
        os.rename(_previous(path), path)
