"""One's own table of data: named numeric columns from CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from lelp_jax.data.dataset import Parts, Rows, standardization
from lelp_jax.data.labels import class_names, from_names, names_of, to_int_labels
from lelp_jax.errors import UserError, unknown_name

_FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "json", ".ndjson": "json", ".json": "json"}
_FORMATS |= {".parquet": "parquet", ".pq": "parquet"}


@dataclasses.dataclass(frozen=True)
class Table:
    """Files whose columns have names; the format follows from the file's ending.

    Labels are whole numbers (-1 or empty: not labelled) or names ("spam"); names are numbered in
    sorted order. Features are standardised with the training rows' mean and deviation.

    Attributes:
        train: Path of the training rows.
        validation: Path of the validation rows; "" splits them off the training rows.
        test: Path of the test rows; "" splits them off the training rows.
        columns: Names of the feature columns; empty takes every numeric column but the labels.
        label: Name of the label column.
        fine_label: Name of the fine-label column; "" when there is none.
        num_classes: Number of classes of whole-number labels; 0 takes the largest + 1.
    """

    train: str
    validation: str = ""
    test: str = ""
    columns: tuple[str, ...] = ()
    label: str = "label"
    fine_label: str = ""
    num_classes: int = 0

    def parts(self) -> Parts:
        """Reads the files.

        Raises:
            UserError: A file, column or value is missing or cannot be used.
        """
        if not self.train:
            raise UserError(
                "config.data.train is empty; give the path of a .csv, .tsv, .jsonl or .parquet file"
            )
        train = _File(Path(self.train))
        columns = self.columns or train.numeric_columns({self.label, self.fine_label})
        if not columns:
            raise UserError(
                f"{train.path}: no numeric feature column besides {self.label!r}; "
                "name the feature columns in config.data.columns"
            )
        rows, names = {}, {"label": (), "fine_label": ()}
        for split, path in (
            ("train", self.train),
            ("validation", self.validation),
            ("test", self.test),
        ):
            if path:
                file = train if split == "train" else _File(Path(path))
                rows[split] = self._rows(file, columns, names)
        fine = rows["train"].fine_labels
        return Parts(
            train=rows["train"],
            validation=rows.get("validation"),
            test=rows.get("test"),
            class_names=names["label"] or class_names(rows["train"].labels, self.num_classes),
            fine_names=names["fine_label"] or (() if fine is None else class_names(fine, 0)),
            preprocess=functools.partial(standardization, columns=columns),
        )

    def _rows(self, file: _File, columns: tuple[str, ...], names: dict) -> Rows:
        """Reads one file; `names` takes the label names of the first one and checks the others."""
        inputs = np.stack([file.numbers(column) for column in columns], axis=1)
        labels = {}
        for kind, column in (("label", self.label), ("fine_label", self.fine_label)):
            if not column:
                continue
            values = file.column(column)
            if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                texts = values.to_pylist()
                names[kind] = names[kind] or names_of(texts)
                labels[kind] = from_names(texts, names[kind], column, file.place)
            else:
                numbers = values.to_numpy(zero_copy_only=False)
                labels[kind] = to_int_labels(numbers, len(inputs), column, file.place)
        return Rows(
            inputs.astype(np.float32), labels["label"], labels.get("fine_label"), file.place
        )


class _File:
    """A table file whose errors name the line or row."""

    def __init__(self, path: Path):
        self.path = path
        self.format = _FORMATS.get(path.suffix.lower(), "")
        if not self.format:
            raise UserError(f"{path}: unknown ending {path.suffix!r}; known: {', '.join(_FORMATS)}")
        if not path.is_file():
            raise UserError(f"{path}: no such file; check config.data")
        try:
            self.table = self._read()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            self._find_bad_line()
            reason = " ".join(str(error).split())
            raise UserError(f"{path} cannot be read as {self.format}: {reason}") from error

    def _read(self) -> pa.Table:
        if self.format == "json":
            from pyarrow import json as reader

            return reader.read_json(self.path)
        if self.format == "parquet":
            from pyarrow import parquet

            return parquet.read_table(self.path)
        from pyarrow import csv as reader

        delimiter = "\t" if self.format == "tsv" else ","
        return reader.read_csv(self.path, parse_options=reader.ParseOptions(delimiter=delimiter))

    def _find_bad_line(self) -> None:
        """Raises the error that names the first line which cannot be decoded or parsed."""
        if self.format == "parquet":
            return
        width = None
        for number, raw in enumerate(self.path.read_bytes().splitlines(), 1):
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{self.path} line {number}: byte 0x{raw[error.start]:02x} at column "
                    f"{error.start + 1} is not UTF-8; save the file as UTF-8"
                ) from None
            if self.format == "json":
                try:
                    json.loads(text or "{}")
                except ValueError as error:
                    raise UserError(
                        f"{self.path} line {number} is not JSON: {error}: {text[:60]!r}"
                    ) from None
            elif text:
                delimiter = "\t" if self.format == "tsv" else ","
                fields = len(next(csv.reader([text], delimiter=delimiter)))
                width = width or fields
                if fields != width:
                    raise UserError(
                        f"{self.path} line {number} has {fields} fields, the header has {width}"
                    )

    def place(self, row: int) -> str:
        """Names a row as the user finds it: the line of a text file, the row of a Parquet file."""
        if self.format == "parquet":
            return f"{self.path} row {row}"
        return f"{self.path} line {row + (1 if self.format == 'json' else 2)}"

    def numeric_columns(self, but: set[str]) -> tuple[str, ...]:
        """Returns the names of all columns of numbers, but those given."""
        return tuple(
            field.name
            for field in self.table.schema
            if field.name not in but and _is_number(field.type)
        )

    def column(self, name: str) -> pa.Array:
        """Returns a column in one piece.

        Raises:
            UserError: The file has no such column.
        """
        if name not in self.table.column_names:
            error = unknown_name(f"column of {self.path}", name, self.table.column_names)
            raise UserError(f"{error}; check config.data.columns, label and fine_label")
        return self.table.column(name).combine_chunks()

    def numbers(self, name: str) -> np.ndarray:
        """Returns a column of numbers as float32; a missing value is NaN.

        Raises:
            UserError: A value is missing or not a number; the message names its line.
        """
        values = self.column(name)
        if not _is_number(values.type):
            bad = _first(values.to_pylist(), _not_a_number)
            raise UserError(
                f"{self.place(bad)}, column {name}: {values[bad].as_py()!r} is not a number"
            )
        if values.null_count:
            bad = _first(values.to_pylist(), lambda value: value is None)
            raise UserError(
                f"{self.place(bad)}, column {name}: the value is missing; "
                "fill it in or remove the row"
            )
        return values.to_numpy(zero_copy_only=False).astype(np.float32)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _not_a_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True
    return False


def _first(values: list, test: Callable[[object], bool]) -> int:
    return next((row for row, value in enumerate(values) if test(value)), 0)
