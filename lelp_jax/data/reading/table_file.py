"""Reads CSV, TSV, JSON lines and Parquet; errors name the line."""

from __future__ import annotations

import codecs
import functools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.data.reading import columns, delimited, json_lines, text_column
from lelp_jax.data.reading.paths import find_file

_FORMATS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON lines",
    ".parquet": "Parquet",
    ".pq": "Parquet",
}
# A record must fit into a block of the reader.
_BLOCK_BYTES = 1 << 26


class TableFile:
    """A table whose columns have names; the format follows from the file's ending.

    Attributes:
        path: The file.
        format: The format that its ending means ("CSV").
        table: Its columns.
    """

    def __init__(self, path: str, split: str, as_text: Collection[str] = ()):
        """Reads a file.

        Args:
            path: The file.
            split: The split that it holds, for messages.
            as_text: Columns that are texts by meaning, such as ids and labels. In text files they
                are read as they stand there: "007" is not 7, nor "1.10" 1.1.

        Raises:
            UserError: The file cannot be read.
        """
        suffix = Path(path).suffix
        self.format = _FORMATS.get(suffix.lower(), "")
        if not self.format:
            raise UserError(
                f"{path}: unknown ending {suffix!r} in config.data.{split}; "
                f"known: {', '.join(_FORMATS)}"
            )
        self.path = find_file(path, split)
        self._as_text = frozenset(as_text)
        self._quoted = True
        try:
            self.table = self._read()
        except (pa.ArrowException, OSError) as error:
            self._find_bad_line()
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path} cannot be read as {self.format}: {reason}") from error
        if not self.table.num_rows:
            raise UserError(f"{path} has no rows")

    def _read(self) -> pa.Table:
        if self.format == "Parquet":
            from pyarrow import parquet

            table = parquet.read_table(self.path, page_checksum_verification=True)
            try:
                table.column_names  # noqa: B018
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{self.path}: the name of a column is not UTF-8 ({error}); write the file "
                    "again"
                ) from error
            return table
        if self.format == "JSON lines":
            return self._read_json()
        from pyarrow import csv as of_csv

        content = self._content()
        self._quoted = delimited.find_quoting(self.path, content.decode(), self.format)

        def read(as_text: Collection[str]) -> pa.Table:
            return of_csv.read_csv(
                pa.BufferReader(content),
                read_options=of_csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=of_csv.ParseOptions(
                    delimiter=delimited.DELIMITERS[self.format],
                    quote_char='"' if self._quoted else False,
                    newlines_in_values=self._quoted,
                ),
                convert_options=of_csv.ConvertOptions(
                    column_types={name: pa.string() for name in as_text}
                ),
            )

        table = read(self._as_text)
        # Arrow takes 0x1f for 31, where all else in the column is whole.
        whole = [field.name for field in table.schema if pa.types.is_integer(field.type)]
        return read(self._as_text.union(whole)) if b"0x" in content.lower() and whole else table

    def _read_json(self) -> pa.Table:
        from pyarrow import json as of_json

        content = json_lines.replace_half_characters(self.path, self._content())

        def read(**options: Any) -> pa.Table:
            return of_json.read_json(
                pa.BufferReader(content),
                read_options=of_json.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=of_json.ParseOptions(**options),
            )

        table = read()
        # A text that could be a date is read as one.
        dates = [
            pa.field(field.name, pa.string())
            for field in table.schema
            if field.name in self._as_text and pa.types.is_timestamp(field.type)
        ]
        return read(explicit_schema=pa.schema(dates)) if dates else table

    def _content(self) -> bytes:
        """Reads a text file, without a byte-order mark."""
        content = self.path.read_bytes()
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            column = error.start - content.rfind(b"\n", 0, error.start)
            raise UserError(
                f"{self.path} line {line}: byte 0x{content[error.start]:02x} at byte {column} of "
                "the line is not UTF-8; save the file as UTF-8"
            ) from None
        content = content.removeprefix(codecs.BOM_UTF8)
        inside = content.find(b"\n" + codecs.BOM_UTF8)
        if inside >= 0:
            line = content.count(b"\n", 0, inside) + 2
            raise UserError(
                f"{self.path} line {line} begins with a byte-order mark, as where files were "
                "joined; remove it, and a header that follows it"
            )
        return content

    def _records(self) -> Iterator[tuple[int, Any]]:
        """Yields the line in which each record of a text file begins, and its content."""
        if self.format == "JSON lines":
            for number, line in enumerate(self._content().decode().split("\n"), 1):
                if line.strip():
                    yield number, line
            return
        yield from delimited.read_records(
            self._content().decode(), self.format, quoted=self._quoted
        )

    def _find_bad_line(self) -> None:
        """Raises the error that names the first line which cannot be parsed, if it is found."""
        if self.format == "JSON lines":
            json_lines.find_bad_object(self.path, self._records())
        elif self.format in delimited.DELIMITERS:
            width = 0
            for number, fields in self._records():
                width = width or len(fields)
                if len(fields) != width:
                    raise UserError(
                        f"{self.path} line {number} has {len(fields)} fields, the header has "
                        f"{width}; correct the line (a text that holds a comma needs quotes)"
                    )

    @functools.cached_property
    def _lines(self) -> list[int]:
        """The line of every row; empty where rows are not found by line."""
        if self.format == "Parquet":
            return []
        lines = [number for number, _ in self._records()]
        lines = lines[1:] if self.format in delimited.DELIMITERS else lines
        return lines if len(lines) == self.table.num_rows else []

    def place(self, row: int) -> str:
        """Names a row as the user finds it: by line in a text file, else counted from 0."""
        return f"{self.path} line {self._lines[row]}" if self._lines else f"{self.path} row {row}"

    def looks_unseparated(self) -> bool:
        """Checks whether this is CSV whose columns are separated by something else."""
        return self.format == "CSV" and self.table.num_columns == 1

    def column(self, name: str) -> pa.Array:
        """Selects a column in one piece, of a plain type.

        Raises:
            UserError: The file has no such column, or two, or a text in it is not UTF-8.
        """
        names = self.table.column_names
        if name not in names:
            error = make_unknown_name_error(f"column of {self.path}", name, names)
            hint = "check the names of columns in config.data"
            if self.looks_unseparated():
                hint = "separate the columns by commas"
            raise UserError(f"{error}; {hint}")
        if names.count(name) > 1:
            raise UserError(
                f"{self.path}: the header holds column {name!r} {names.count(name)} times; "
                "rename one"
            )
        values = columns.decode(self.table.column(name))
        if text_column.is_text(values.type):
            values = text_column.decode_texts(values, name, self.place)
        return values

    def refuse_joined_rows(self, label: str) -> None:
        """Checks CSV and TSV for a second header, and for rows that a quotation mark swallowed.

        Args:
            label: Name of the label column.

        Raises:
            UserError: There is such a row.
        """
        names = self.table.column_names
        if self.format not in delimited.DELIMITERS or names.count(label) != 1:
            return
        labels = self.table.column(label)
        for row in pc.indices_nonzero(pc.equal(labels, label)).to_pylist():
            if all(str(self.table.column(name)[row]) == name for name in self._as_text & {*names}):
                raise UserError(f"{self.place(row)} repeats the header; remove it")
        known = frozenset(pc.unique(labels).to_pylist())
        for column, field in enumerate(self.table.schema):
            if not text_column.is_text(field.type):
                continue
            values = self.table.column(column)
            for row in pc.indices_nonzero(pc.match_substring(values, "\n")).to_pylist():
                text = values[row].as_py()
                if delimited.holds_rows(text, column, len(names), names.index(label), known):
                    raise UserError(
                        f"{self.place(row)}, column {field.name}: a quotation mark swallows the "
                        "rows after it; put texts with such marks in quotes and double the marks "
                        "in them, or save the file as .jsonl or .parquet"
                    )

    def label_values(self, name: str) -> np.ndarray:
        """Reads a column of labels, [rows]: numbers with NaN, or objects, texts and None.

        Raises:
            UserError: The file has no such column, or it holds no labels.
        """
        return label_values(self.column(name), f"{self.path}, column {name}")


def label_values(values: pa.Array, where: str) -> np.ndarray:
    """Converts labels, [rows], to numbers with NaN, or objects, texts and None.

    Args:
        values: [rows].
        where: Names the column for a message ("train.csv, column label").

    Raises:
        UserError: It holds no labels.
    """
    if pa.types.is_nested(values.type):
        raise UserError(f"{where}: it holds {values.type}; a label is a whole number or a text")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_decimal(values.type) or pa.types.is_null(values.type):
        values = values.cast(pa.float64())
    if not columns.is_number(values.type):
        values = values.cast(pa.string())
    return values.to_numpy(zero_copy_only=False)
