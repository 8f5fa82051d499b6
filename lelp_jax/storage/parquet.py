"""Columns of a Parquet file as arrays of rows.

A column is read whole when its first rows are asked for: Parquet compresses row groups, which are
as large as the program that wrote the file made them, so that rows cannot be read by themselves.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lelp_jax.core.errors import UserError
from lelp_jax.storage.bundle import Openers
from lelp_jax.storage.rows import LoadedRows, RowArray

# Rows that are converted at once.
_BATCH_ROWS = 1 << 14


def find_columns(path: Path) -> Openers:
    """Lists the columns of a file.

    Raises:
        UserError: The file is not a Parquet file, or is truncated, or two columns share a name.
    """
    from pyarrow import parquet

    with _reading(str(path)):
        # Without pre_buffer=False a column would be in memory once more while it is converted.
        file = parquet.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
        names = file.schema_arrow.names
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path} holds column {name!r} {names.count(name)} times; rename one")
    return {name: functools.partial(_open_column, file, name) for name in names}


def _open_column(file: Any, name: str, where: str) -> RowArray:
    kind = _find_type(file, name)
    dtype = _resolve_type(kind, where)
    shape: tuple[int, ...] = (file.metadata.num_rows,)
    if _is_list(kind):
        shape = (*shape, _find_width(file, name, where))
    load = functools.partial(_read_column, file, name, where, shape, dtype)
    # How wide the longest text is shows only when all are read.
    return load() if dtype.kind == "U" else LoadedRows(shape, dtype, load)


def _find_type(file: Any, name: str) -> pa.DataType:
    kind = file.schema_arrow.field(name).type
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _find_width(file: Any, name: str, where: str) -> int:
    """Finds the length of the first list of a column."""
    kind = _find_type(file, name)
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    with _reading(where):
        for batch in file.iter_batches(1, columns=[name]):
            _refuse_missing(batch.column(0), 0, 1, where)
            return len(batch.column(0)[0])
    return 0


def _read_column(
    file: Any, name: str, where: str, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """Reads a column, [rows] or [rows, width].

    Raises:
        UserError: The file is damaged, a value is missing, or a list has another length than the
            first one; the message names the row.
    """
    start = 0
    with _reading(where):
        values = np.empty(shape, object if dtype.kind == "U" else dtype)
        # One column gains nothing from threads, and each keeps memory of its own.
        for batch in file.iter_batches(_BATCH_ROWS, columns=[name], use_threads=False):
            stop = start + len(batch)
            values[start:stop] = _convert(batch.column(0), start, shape[1:], where)
            start = stop
    if start < shape[0]:
        raise UserError(f"{where} ends before row {start}; write the file again")
    return values.astype(np.str_) if dtype.kind == "U" else values


def _convert(values: pa.Array, start: int, inner: tuple[int, ...], where: str) -> np.ndarray:
    """Converts rows of a column; their first row is given for messages."""
    values = _decode(values)
    _refuse_missing(values, start, 1, where)
    if not _is_list(values.type):
        return _to_numpy(values)
    (width,) = inner
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
    if (lengths != width).any():
        row = int(np.argmax(lengths != width))
        raise UserError(
            f"{where}, row {start + row} holds {lengths[row]} numbers, row 0 holds {width}; make "
            "all lists equally long"
        )
    numbers = _decode(values.flatten())
    _refuse_missing(numbers, start, max(1, width), where)
    return _to_numpy(numbers).reshape(len(values), width)


def _to_numpy(values: pa.Array) -> np.ndarray:
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    return values.to_numpy(zero_copy_only=False)


def _refuse_missing(values: pa.Array, start: int, per_row: int, where: str) -> None:
    if values.null_count:
        missing = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise UserError(
            f"{where}, row {start + missing // per_row}: a value is missing; fill it in or remove "
            "the row"
        )


def _is_list(kind: pa.DataType) -> bool:
    # Of the nested types, lists of all sorts have values.
    return pa.types.is_nested(kind) and hasattr(kind, "value_type")


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _resolve_type(kind: pa.DataType, where: str) -> np.dtype:
    """Finds the type in which a column is read; texts have no width yet."""
    inner = kind.value_type if _is_list(kind) else kind
    if pa.types.is_dictionary(inner):
        inner = inner.value_type
    if pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner):
        return np.dtype(inner.to_pandas_dtype())
    if pa.types.is_decimal(inner):
        return np.dtype(np.float64)
    if not _is_list(kind) and _is_text(inner):
        return np.dtype(np.str_)
    raise UserError(f"{where} holds {kind}; numbers, texts or lists of numbers are needed")


def _decode(values: pa.Array) -> pa.Array:
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turns a damaged file's errors into a UserError."""
    try:
        yield
    # Names of columns need not be UTF-8.
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{where} cannot be read as Parquet ({reason}); copy or write the file again"
        ) from error
