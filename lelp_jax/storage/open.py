"""Opens named arrays of rows for reading or writing; the location tells their format."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from lelp_jax.core.errors import UserError
from lelp_jax.storage import (
    destinations,
    dtypes,
    folder,
    npy_writer,
    npz,
    npz_writer,
    objects,
    parquet,
    parquet_writer,
    zarr_writer,
)
from lelp_jax.storage.bundle import Bundle
from lelp_jax.storage.writer import Spec, Writer

_KNOWN = (
    "an .npz file, a .parquet file, a folder of .npy files, or a zarr folder or address (gs://...)"
)
_CHUNK_BYTES = 1 << 22
_MAX_CHUNK_ROWS = 1 << 16


def open_bundle(location: str | os.PathLike[str], place: str) -> Bundle:
    """Opens named arrays of rows; what they are stored as is found by looking.

    Args:
        location: An .npz or .parquet file, a folder of .npy files or of zarr arrays, or an address
            of zarr arrays such as gs://bucket/folder; ~ is the home folder.
        place: Where the user gave it ("config.embeddings"), for messages.

    Raises:
        UserError: There is nothing of this kind, or it is damaged.
    """
    if objects.is_url(location):
        name = os.fspath(location)
        openers = folder.openers_at_address(name, place)
    else:
        path = objects.local_path(location)
        name = str(path)
        if path.is_dir():
            openers = folder.openers(path, place)
        else:
            _check_file(path, place)
            openers = npz.openers(path) if path.suffix.lower() == ".npz" else parquet.openers(path)
    if not openers:
        raise UserError(f"{name} holds no arrays; give {_KNOWN} in {place}")
    return Bundle(name, openers)


def _check_file(path: Path, place: str) -> None:
    """Raises the error for a file that cannot hold named arrays."""
    if path.suffix.lower() == ".npy":
        raise UserError(
            f"{path}: an .npy file holds one array; give the folder that holds embeddings.npy, "
            f"logits.npy, ... in {place}"
        )
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check {place}")
    if path.suffix.lower() not in (".npz", ".parquet", ".pq"):
        raise UserError(f"{path}: unknown ending {path.suffix!r}; give {_KNOWN} in {place}")


def open_writer(
    location: str | os.PathLike[str],
    arrays: Mapping[str, Spec],
    place: str = "the path",
    main: bool = True,
    chunk_rows: int | None = None,
) -> Writer:
    """Returns a writer of named arrays; the format follows from the location's ending.

    Several processes may write one zarr folder or address: all make the writer alike, but only one
    with `main`. The others write after that one has entered the with statement, and it leaves the
    statement after the others have. At an address what was there before is deleted at the start.

    Args:
        location: An .npz, .parquet or .zarr path, a folder (no ending) for .npy files, or an
            address such as gs://bucket/folder for zarr.
        arrays: What to write; all arrays have the same number of rows.
        place: Where the user gave the location ("config.export.to"), for messages.
        main: Whether this process makes the folder and completes it.
        chunk_rows: Rows that are written at once; about 4 MB when not given.

    Raises:
        UserError: The location's ending is not known, its folder is missing, something else is
            there, or an array does not fit the format.
        ValueError: The arrays have no rows, or not equally many.
    """
    _check_arrays(arrays)
    if chunk_rows is None:
        chunk_rows = _default_chunk_rows(arrays)
    if objects.is_url(location):
        name = os.fspath(location)
        zarr_writer.check(name, arrays)
        if main:
            destinations.check_address(name, place)
        return zarr_writer.ZarrWriter(name, arrays, chunk_rows, main)
    path = objects.local_path(location)
    suffix = path.suffix.lower()
    if main:
        destinations.check_path(path, place, is_folder=suffix in ("", ".zarr"))
    if suffix == ".zarr":
        zarr_writer.check(str(path), arrays)
        return zarr_writer.ZarrWriter(str(path), arrays, chunk_rows, main)
    if suffix == ".parquet":
        parquet_writer.check(path, arrays)
        return parquet_writer.ParquetWriter(path, arrays, chunk_rows)
    if suffix == ".npz":
        return npz_writer.NpzWriter(path, arrays, chunk_rows)
    return npy_writer.NpyWriter(path, arrays, chunk_rows)


def _check_arrays(arrays: Mapping[str, Spec]) -> None:
    """Raises the error for arrays that are no rows, or not the same rows."""
    counts = {spec.shape[0] if spec.shape else 0 for spec in arrays.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"arrays of {sorted(counts)} rows; all need as many, and one at least")
    for name, spec in arrays.items():
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"the name {name!r} cannot be that of a file")
        if spec.dtype.kind not in "biufU" and not dtypes.is_bfloat16(spec.dtype):
            raise ValueError(f"array {name} of type {spec.dtype}")
        if spec.dtype.kind == "U" and (len(spec.shape) > 1 or not spec.dtype.itemsize):
            raise ValueError(f"array {name}: texts have one axis and a fixed width")


def _default_chunk_rows(arrays: Mapping[str, Spec]) -> int:
    """Returns a power of two."""
    widest = max(spec.dtype.itemsize * math.prod(spec.shape[1:]) for spec in arrays.values())
    return 1 << (min(_MAX_CHUNK_ROWS, max(1, _CHUNK_BYTES // max(1, widest))).bit_length() - 1)
