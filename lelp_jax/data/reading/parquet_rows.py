"""Reads columns of Parquet files that hold one split together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from lelp_jax.core.errors import UserError
from lelp_jax.data.reading import table_file, text_column

# Rows in memory beside those that are kept.
_BATCH = 65536


class ParquetRows:
    """Rows of several files, one file after the other.

    Attributes:
        paths: The files.
        kept: The rows that are read, by their positions in all files, sorted.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        columns: Mapping[str, str],
        name: Callable[[Path], str] = str,
        repair: str = "replace it",
    ):
        """Opens the files.

        Args:
            paths: The files, one at least.
            columns: The column that each key of the section names; "" for none.
            name: Names a file for messages.
            repair: What to do about a damaged file, for messages.

        Raises:
            UserError: One cannot be read, or lacks a column.
        """
        self.paths = tuple(paths)
        self._columns, self._name, self._repair = columns, name, repair
        self._files = [self._open(path) for path in paths]
        counts = [file.metadata.num_rows for file in self._files]
        self._starts = np.cumsum([0, *counts])
        self.kept = np.arange(self._starts[-1])
        if not len(self.kept):
            raise UserError(f"{name(paths[0])} has no rows; give a split that has some")

    def _open(self, path: Path) -> parquet.ParquetFile:
        try:
            file = parquet.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise self._make_error(path, error) from error
        used = [column for column in self._columns.values() if column]
        for key, column in self._columns.items():
            if column and column not in file.schema_arrow.names:
                others = [other for other in used if other != column]
                raise text_column.make_missing_error(
                    self._name(path), column, file.schema_arrow, others, key
                )
        return file

    def _make_error(self, path: Path, error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:200]
        return UserError(f"{self._name(path)} cannot be read as Parquet: {reason}; {self._repair}")

    @property
    def schemas(self) -> dict[str, pa.Schema]:
        """Schema of each file by the file's name in messages."""
        return {
            self._name(path): file.schema_arrow
            for path, file in zip(self.paths, self._files, strict=True)
        }

    def place(self, row: int) -> str:
        """Names a row that is kept."""
        number = int(np.searchsorted(self._starts, self.kept[row], side="right")) - 1
        return f"{self._name(self.paths[number])} row {self.kept[row] - self._starts[number]}"

    def read(self, column: str) -> pa.ChunkedArray:
        """Reads a column of the rows that are kept.

        Raises:
            UserError: A file is damaged.
        """
        pieces = []
        for path, file, start in zip(self.paths, self._files, self._starts[:-1], strict=True):
            batches = []
            try:
                for batch in file.iter_batches(_BATCH, columns=[column]):
                    first, last = np.searchsorted(self.kept, (start, start + len(batch)))
                    batches.append(batch.take(pa.array(self.kept[first:last] - start)))
                    start += len(batch)
            except (pa.ArrowException, OSError) as error:
                raise self._make_error(path, error) from error
            if batches:  # A file may have no rows.
                pieces.append(pa.Table.from_batches(batches))
        return pa.concat_tables(pieces, promote_options="permissive").column(column)

    def read_values(self, column: str) -> np.ndarray:
        """Reads a column of labels or of names of rows as it is stored, [rows]."""
        values = self.read(column).combine_chunks()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        return table_file.label_values(values, f"{self._name(self.paths[0])}, column {column}")
