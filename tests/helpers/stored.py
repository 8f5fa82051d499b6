"""Named arrays in every format, for the tests of what reads and writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.storage.bundle import Bundle
from lelp_jax.storage.open import open_bundle, open_writer
from lelp_jax.storage.writer import Spec

ENDINGS = [".npz", "", ".zarr", ".parquet"]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def write(
    location: Any, arrays: Mapping[str, Any], step: int = 7, chunk_rows: int | None = 4
) -> Any:
    """Writes arrays a few rows at a time."""
    specs = {name: Spec(values.shape, values.dtype) for name, values in arrays.items()}
    rows = len(next(iter(arrays.values())))
    with open_writer(location, specs, chunk_rows=chunk_rows) as writer:
        for start in range(0, rows, step):
            writer.write(start, {name: arrays[name][start : start + step] for name in arrays})
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
