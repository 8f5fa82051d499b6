"""Writes a Parquet file; each row of an array with two axes is a list of fixed length."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from lelp_jax.core.errors import UserError
from lelp_jax.storage import dtypes, npy_writer, writer


def check(path: Path, arrays: Mapping[str, writer.Spec]) -> None:
    """Checks that arrays fit into a table.

    Raises:
        UserError: One has more than two axes.
    """
    for name, spec in arrays.items():
        if len(spec.shape) > 2:
            raise UserError(
                f"{path}: array {name!r} of shape {list(spec.shape)} has more than two axes, "
                "Parquet takes two; write .npz or .zarr"
            )


class ParquetWriter(writer.Writer):
    """Writes a table with a row group per chunk, not compressed, with checksums."""

    def __init__(self, path: Path, arrays: Mapping[str, writer.Spec], chunk_rows: int):
        super().__init__(str(path), arrays, chunk_rows)
        self._path = path
        self._temporary = writer.temporary(path)
        self._file: IO[bytes] | None = None
        self._table: Any = None

    def _begin(self) -> None:
        from pyarrow import parquet

        schema = pa.schema(
            [pa.field(name, _type(spec), nullable=False) for name, spec in self.arrays.items()]
        )
        self._file = open(self._temporary, "wb")  # noqa: SIM115
        self._table = parquet.ParquetWriter(
            self._file,
            schema,
            compression="NONE",
            use_dictionary=False,
            write_page_checksum=True,
        )

    def _put(self, start: int, rows: writer.Rows) -> None:
        del start
        columns = [_column(rows[name], spec) for name, spec in self.arrays.items()]
        table = pa.Table.from_arrays(columns, schema=self._table.schema)
        self._table.write_table(table, row_group_size=self.chunk_rows)

    def _finish(self) -> None:
        assert self._file is not None
        self._table.close()
        npy_writer.sync(self._file)
        self._file.close()
        os.replace(self._temporary, self._path)

    def _discard(self) -> None:
        if self._table is not None:
            # Closing writes the footer, for which a full disk has no space; the table would try
            # again when it is collected.
            with contextlib.suppress(OSError, ValueError):
                self._table.close()
            self._table.is_open = False
        if self._file is not None:
            npy_writer.close([self._file])
        self._temporary.unlink(missing_ok=True)


def _stored(spec: writer.Spec) -> np.dtype:
    # Parquet has no bfloat16.
    return np.dtype(np.float32) if dtypes.is_bfloat16(spec.dtype) else spec.dtype


def _type(spec: writer.Spec) -> pa.DataType:
    dtype = _stored(spec)
    inner = pa.string() if dtype.kind == "U" else pa.from_numpy_dtype(dtype)
    if len(spec.shape) == 1:
        return inner
    return pa.list_(pa.field("element", inner, nullable=False), spec.shape[1])


def _column(values: np.ndarray, spec: writer.Spec) -> pa.Array:
    flat = np.ascontiguousarray(values, _stored(spec)).reshape(-1)
    kind = _type(spec)
    if len(spec.shape) == 1:
        return pa.array(flat, kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), type=kind)
