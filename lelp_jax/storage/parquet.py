"""Columns of a Parquet file as arrays of rows, read piece by piece."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lelp_jax.core.errors import UserError
from lelp_jax.storage import indexing
from lelp_jax.storage.bundle import Openers
from lelp_jax.storage.rows import RowArray

# A piece is a row group, or what of a larger one has about this size.
_PIECE_BYTES = 1 << 22
_BUFFER_BYTES = 1 << 20


def openers(path: Path) -> Openers:
    """Returns what opens each column of a file.

    Raises:
        UserError: This is no Parquet file, or it is cut off, or two columns share a name.
    """
    from pyarrow import parquet

    with _reading(str(path)):
        # Without these a whole column of a row group would be read ahead.
        file = parquet.ParquetFile(
            path, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        )
        names = file.schema_arrow.names
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path} holds column {name!r} {names.count(name)} times; rename one")
    return {name: functools.partial(_open, file, name) for name in names}


def _open(file: Any, name: str, where: str) -> RowArray:
    with _reading(where):
        column = Column(file, name, where)
        # How wide the longest text is shows only when all are read.
        return column.texts() if column.dtype.kind == "U" else column


class Column:
    """A column of numbers, or of lists of numbers that are equally long.

    Only the piece read last is kept.

    Attributes:
        shape: [rows] or [rows, width].
        dtype: Type of what is read.
    """

    def __init__(self, file: Any, name: str, where: str):
        """Takes a column of an open file.

        Args:
            file: The pyarrow.parquet.ParquetFile.
            name: The column.
            where: The column, for messages.

        Raises:
            UserError: The column holds neither numbers nor texts nor lists of numbers.
        """
        self._file = file
        self._name = name
        self._where = where
        self._lock = threading.Lock()
        counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._group = -1
        self._batches: Iterator[Any] = iter(())
        self._next = 0
        self._first = 0
        self._values = np.empty(0)
        kind = file.schema_arrow.field(name).type
        self._nested = _is_list(kind)
        self.dtype = _dtype(kind, where)
        rows = int(self._ends[-1]) if counts else 0
        width = self._first_width(kind) if self._nested and rows else 0
        self.shape: tuple[int, ...] = (rows, width) if self._nested else (rows,)
        self._piece_rows = max(1, _PIECE_BYTES // (self.dtype.itemsize or 64) // max(1, width))

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Returns rows.

        Args:
            rows: A slice without a step, or positions, [n] integers.

        Raises:
            UserError: The file is damaged, a value is missing, or a list has another length than
                those before; the message names the row.
        """
        rows = indexing.normalised(rows, len(self))
        with self._lock, _reading(self._where):
            if not isinstance(rows, slice):
                return indexing.gathered(rows, self.shape, self.dtype, self._piece)
            values = np.empty((rows.stop - rows.start, *self.shape[1:]), self.dtype)
            row = rows.start
            while row < rows.stop:
                first, piece = self._piece(row)
                stop = min(rows.stop, first + len(piece))
                values[row - rows.start : stop - rows.start] = piece[row - first : stop - first]
                row = stop
            return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns all rows in memory."""
        del copy
        return np.asarray(self[:], dtype)

    def texts(self) -> np.ndarray:
        """Returns all rows of a column of texts, [rows]."""
        pieces: list[np.ndarray] = []
        row = 0
        while row < len(self):
            first, values = self._piece(row)
            pieces.append(values)
            row = first + len(values)
        return np.concatenate(pieces) if pieces else np.empty(0, "U1")

    def _first_width(self, kind: pa.DataType) -> int:
        if pa.types.is_fixed_size_list(kind):
            return kind.list_size
        group = int(np.searchsorted(self._ends, 0, side="right"))
        batches = self._file.iter_batches(1, row_groups=[group], columns=[self._name])
        first = next(iter(batches)).column(0)
        self._refuse_missing(first, 0, 1)
        return len(first[0])

    def _piece(self, row: int) -> tuple[int, np.ndarray]:
        """Returns the row at which the piece that holds a row begins, and the piece."""
        if self._first <= row < self._first + len(self._values):
            return self._first, self._values
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group != self._group or row < self._next:
            # One column gains nothing from threads, and each keeps memory of its own.
            self._batches = self._file.iter_batches(
                self._piece_rows, row_groups=[group], columns=[self._name], use_threads=False
            )
            self._group = group
            self._next = int(self._ends[group - 1]) if group else 0
        # Before the next piece comes, so that there are not two of them.
        self._values = np.empty(0)
        for batch in self._batches:
            first, self._next = self._next, self._next + len(batch)
            if row < self._next:
                self._values = self._converted(batch.column(0), first)
                self._first = first
                return first, self._values
        raise UserError(f"{self._where} ends before row {row}; write the file again")

    def _converted(self, values: pa.Array, first: int) -> np.ndarray:
        """Returns a piece as an array; its first row is given for messages."""
        values = _decoded(values)
        self._refuse_missing(values, first, 1)
        if not self._nested:
            if pa.types.is_decimal(values.type):
                values = values.cast(pa.float64())
            array = values.to_numpy(zero_copy_only=False)
            return array.astype(np.str_ if self.dtype.kind == "U" else self.dtype)
        width = self.shape[1]
        if not pa.types.is_fixed_size_list(values.type):
            lengths = np.diff(values.offsets.to_numpy())
            if (lengths != width).any():
                bad = int(np.argmax(lengths != width))
                raise UserError(
                    f"{self._where}, row {first + bad} holds {lengths[bad]} numbers, row 0 holds "
                    f"{width}; make all lists equally long"
                )
        inner = _decoded(values.flatten())
        self._refuse_missing(inner, first, max(1, width))
        array = inner.to_numpy(zero_copy_only=False)
        return array.astype(self.dtype).reshape(len(values), width)

    def _refuse_missing(self, values: pa.Array, first: int, per_row: int) -> None:
        if values.null_count:
            missing = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
            raise UserError(
                f"{self._where}, row {first + missing // per_row}: a value is missing; fill it in "
                "or remove the row"
            )


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _dtype(kind: pa.DataType, where: str) -> np.dtype:
    """Returns the type in which a column is given out; texts have no width yet."""
    inner = kind.value_type if _is_list(kind) else kind
    if pa.types.is_dictionary(inner):
        inner = inner.value_type
    if pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner):
        return np.dtype(inner.to_pandas_dtype())
    if not _is_list(kind):
        if pa.types.is_decimal(inner):
            return np.dtype(np.float64)
        if _is_text(inner):
            return np.dtype(np.str_)
    raise UserError(f"{where} holds {kind}; numbers, texts or lists of numbers are needed")


def _decoded(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    """Gives a damaged file's errors the form of a UserError."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{where} cannot be read as Parquet ({reason}); copy or write the file again"
        ) from error
