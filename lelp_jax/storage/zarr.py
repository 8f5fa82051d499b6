"""Arrays of rows in zarr, through TensorStore: on this machine or at an address such as gs://."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from lelp_jax.core import files
from lelp_jax.core.errors import UserError
from lelp_jax.storage import objects
from lelp_jax.storage.dtypes import convert_values, resolve_dtype
from lelp_jax.storage.rows import StoredRows

# Attribute of a group whose arrays are still being written.
UNFINISHED = "lelp_jax_unfinished"
# A zarr array leaves out chunks that hold nothing but zeros, so that a lost chunk reads as zeros.
# Arrays made here hold every chunk and say so: a lost one is an error.
_COMPLETE = {"every_chunk_is_stored": True}
_STORE_ALL = {"store_data_equal_to_fill_value": True}
# Bytes of the chunks that are read at the same time when rows are given by positions.
_READ_BYTES = 1 << 23


class ZarrArray(StoredRows):
    """An array of rows in zarr; only the chunks that hold the rows asked for are read.

    Attributes:
        location: Its folder or address.
        chunk_rows: Rows that are stored together.
    """

    def __init__(self, location: str, store: Any):
        """Wraps an open TensorStore.

        Raises:
            UserError: It holds neither numbers nor booleans.
        """
        super().__init__(tuple(store.shape), resolve_dtype(store.dtype.numpy_dtype, location))
        self.location = location
        grid = store.chunk_layout.read_chunk.shape or ()
        self.chunk_rows = (grid[0] if grid else None) or (self.shape or (1,))[0] or 1
        self._store = store

    def _read(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            return self._read_at_once(rows)
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for places in self._split_by_chunks(rows):
            values[places] = self._read_at_once(rows[places])
        return values

    def _read_at_once(self, rows: slice | np.ndarray) -> np.ndarray:
        try:
            values = self._store[rows].read().result()
        except (ValueError, OSError, NotImplementedError) as error:
            raise objects.make_read_error(self.location, error) from error
        return convert_values(np.asarray(values), self.location)

    def _split_by_chunks(self, positions: np.ndarray) -> list[np.ndarray]:
        """Groups positions so that few chunks are in memory while a group is read."""
        chunk_bytes = self.chunk_rows * math.prod(self.shape[1:]) * self.dtype.itemsize
        chunks = max(1, _READ_BYTES // max(1, chunk_bytes))
        order = np.argsort(positions, kind="stable")
        number = np.cumsum(np.diff(positions[order] // self.chunk_rows, prepend=-1) > 0) - 1
        return np.split(order, np.flatnonzero(np.diff(number // chunks)) + 1)

    def write(self, start: int, values: np.ndarray) -> None:
        """Writes rows; several processes may write different whole chunks at the same time.

        Args:
            start: The first row.
            values: [rows, ...].

        Raises:
            OSError: The disk is full or cannot be written.
            UserError: The address cannot be written.
            ValueError: The rows do not fit into the array.
        """
        stop = start + len(values)
        if values.shape[1:] != self.shape[1:] or not 0 <= start <= stop <= len(self):
            raise ValueError(
                f"rows {start} to {stop} of shape {values.shape[1:]} into an array of {self.shape}"
            )
        if start == stop:
            return
        with _writing(self.location, values.nbytes):
            stored = np.asarray(values, self._store.dtype.numpy_dtype)
            self._store[start:stop].write(stored).result()


def create(
    location: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any, chunk_rows: int
) -> ZarrArray:
    """Makes an array, to be filled by `ZarrArray.write`; an existing array is deleted.

    The format is zarr version 3, uncompressed, with a checksum for each chunk.

    Args:
        location: Its folder or address.
        shape: Rows first.
        dtype: Numbers (bfloat16 among them) or truth values.
        chunk_rows: Rows that are stored together.

    Raises:
        OSError: The disk is full or cannot be written.
        UserError: The address cannot be written, or something other than an array is there.
    """
    location = _name(location)
    dtype = np.dtype(dtype)
    resolve_dtype(dtype, location)
    driver = _driver(location)
    if driver == "group":
        raise UserError(f"{location} holds a zarr group; give another location for the array")
    chunk = [max(1, min(chunk_rows, shape[0])), *(max(1, size) for size in shape[1:])]
    with _writing(location, math.prod(shape) * dtype.itemsize):
        import tensorstore as ts

        store = ts.open(
            {
                "driver": "zarr3",
                "kvstore": objects.folder_spec(location),
                **_STORE_ALL,
                "metadata": {
                    "attributes": _COMPLETE,
                    "codecs": [{"name": "bytes"}, {"name": "crc32c"}],
                },
            },
            create=True,
            # Only what is known to be an array: the folder may hold something else.
            delete_existing=driver is not None,
            dtype=dtype,
            shape=shape,
            chunk_layout=ts.ChunkLayout(chunk_shape=chunk),
            context=objects.make_context(),
        ).result()
    return ZarrArray(location, store)


def open(location: str | os.PathLike[str]) -> ZarrArray:
    """Opens an array of zarr version 2 or 3, whoever made it.

    Args:
        location: Its folder or address.

    Raises:
        UserError: There is none, or it is damaged.
    """
    location = _name(location)
    driver = _driver(location)
    if driver is None:
        raise UserError(f"{location}: no zarr array there; check the path")
    if driver == "group":
        raise UserError(f"{location} holds a zarr group, not one array; name the array in it")
    spec = {"driver": driver, "kvstore": objects.folder_spec(location)}
    try:
        store = _opened(spec)
        attributes = store.spec().to_json().get("metadata", {}).get("attributes", {})
        if _COMPLETE.items() <= attributes.items():
            store = _opened({**spec, **_STORE_ALL, "fill_missing_data_reads": False})
    except (ValueError, OSError, NotImplementedError) as error:
        raise objects.make_read_error(location, error) from error
    return ZarrArray(location, store)


def is_zarr(location: str | os.PathLike[str]) -> bool:
    """Checks whether a zarr array is stored at a location, damaged ones included."""
    return _driver(_name(location)) in ("zarr", "zarr3")


def write_group(location: str, content: dict[str, Any]) -> None:
    """Writes the metadata of a group; its arrays are in folders of it."""
    group = {"zarr_format": 3, "node_type": "group", **content}
    objects.write_bytes(location, "zarr.json", json.dumps(group, indent=2).encode())


def _opened(spec: dict[str, Any]) -> Any:
    import tensorstore as ts

    return ts.open(spec, open=True, context=objects.make_context()).result()


def _driver(location: str) -> str | None:
    """Finds the driver that reads a location; "group" for a group, None where there is no zarr."""
    metadata = objects.read_bytes(location, "zarr.json")
    if metadata is None:
        return "zarr" if objects.exists(location, ".zarray") else None
    try:
        return "group" if json.loads(metadata)["node_type"] == "group" else "zarr3"
    except (ValueError, TypeError, KeyError):
        return "zarr3"  # opening it tells what is wrong


def _name(location: str | os.PathLike[str]) -> str:
    return os.fspath(location) if objects.is_url(location) else str(objects.local_path(location))


@contextlib.contextmanager
def _writing(location: str, size: int) -> Iterator[None]:
    """Turns an error while writing into an OSError on this machine, a UserError at an address."""
    if objects.is_url(location):
        try:
            yield
        except (ValueError, OSError, NotImplementedError) as error:
            raise objects.make_write_error(location, error) from error
        return
    try:
        with files.convert_storage_errors(objects.local_path(location), size):
            yield
    except ValueError as error:
        if (found := objects.OS_ERROR.search(str(error))) is None:
            raise objects.make_read_error(location, error) from error
        code = int(found[1])
        raise OSError(code, os.strerror(code), location) from error
