"""Named arrays in every format, for the tests of what reads and writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.storage import write as writing
from lelp_jax.storage.bundle import Bundle
from lelp_jax.storage.open import open_bundle
from lelp_jax.storage.write import ArraySpec

ENDINGS = [".npz", "", ".zarr", ".parquet"]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def write(location: Any, arrays: Mapping[str, Any], chunk_rows: int = 4) -> Any:
    """Writes arrays a few rows at a time; a power of two of them."""
    specs = {name: ArraySpec(values.shape, values.dtype) for name, values in arrays.items()}
    with (
        mock.patch.object(writing, "_MAX_CHUNK_ROWS", chunk_rows),
        writing.open_writer(str(location), specs, "config.to") as writer,
    ):
        for start in range(0, len(next(iter(arrays.values()))), writer.chunk_rows):
            stop = start + writer.chunk_rows
            writer.write(start, {name: arrays[name][start:stop] for name in arrays})
    return location


def read(location: Any) -> Bundle:
    return open_bundle(location, "config.embeddings")


def given(values: np.ndarray) -> np.ndarray:
    """Returns an array as it is to be given out."""
    if values.dtype == BFLOAT16:
        return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="))


def same(read_values: Any, values: np.ndarray) -> None:
    values = given(values)
    assert isinstance(read_values, np.ndarray)
    assert read_values.dtype.kind == values.dtype.kind
    if values.dtype.kind != "U":
        assert read_values.dtype == values.dtype
    np.testing.assert_array_equal(read_values, values)


def flip(path: Path, place: int, bit: int = 3) -> None:
    """Changes one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    """Shortens a file; a negative size counts from its end."""
    path.write_bytes(path.read_bytes()[:size])


def block(path: Path) -> None:
    """Makes a file unreadable, for the superuser, too, and keeps its content beside it."""
    path.rename(path.with_name(f".{path.name}.kept"))
    path.symlink_to(path.name)


def unblock(path: Path) -> None:
    """Makes a file that was blocked readable again."""
    path.with_name(f".{path.name}.kept").replace(path)


def read_or_refused(open_array: Callable[[], Any], place: str) -> np.ndarray | None:
    """Returns all rows, or None where they are refused in one line that names the place."""
    try:
        array = open_array()
        values = array[:]
    except UserError as refused:
        error = str(refused)
    else:
        assert values.shape == array.shape
        assert values.dtype == array.dtype
        return values
    assert place in error
    assert "\n" not in error
    return None
