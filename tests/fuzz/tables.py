"""Tables written and read without the package, and the comparison with what it reads."""

import csv
import datetime
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from lelp_jax.data.dataset import Rows

Columns = Mapping[str, Sequence[Any]]
DELIMITERS = {"csv": ",", "tsv": "\t"}
# What Arrow takes for a missing number.
MISSING = {"", "#N/A", "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null", "-nan", "-NaN"}


def write(columns: Columns, kind: str, end: str = "\n") -> bytes:
    """Writes a table."""
    rows = list(zip(*columns.values(), strict=True))
    if kind == "parquet":
        stream = io.BytesIO()
        parquet.write_table(pa.table(dict(columns)), stream, write_page_checksum=True)
        return stream.getvalue()
    if kind == "jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True)), default=str) for row in rows]
        return "".join(line + end for line in lines).encode()
    text = io.StringIO(newline="")
    # In Python before 3.13 it leaves "\r" without quotes, where lines do not end so.
    bare = any("\r" in str(value) for row in rows for value in row)
    quoting = csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=DELIMITERS[kind], lineterminator=end, quoting=quoting)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def read(content: bytes, kind: str) -> dict[str, list[Any]]:
    """Reads a table.

    Raises:
        ValueError, csv.Error, pa.ArrowException: It is damaged.
    """
    if kind == "parquet":
        stream = pa.BufferReader(content)
        found = parquet.read_table(stream, page_checksum_verification=True).to_pydict()
        return dict(found)
    text = content.decode("utf-8-sig")
    if kind == "jsonl":
        # Arrow allows a comma after the last value, and line ends between values.
        text = re.sub(r",\s*}", "}", text)
        rows = _read_objects(text)
        return {name: [row.get(name) for row in rows] for name in _names(rows)}
    try:
        header, *lines = _fields(text, kind, csv.QUOTE_MINIMAL)
        if any(len(line) != len(header) for line in lines):
            raise ValueError("rows differ in length")
    except (csv.Error, ValueError):
        if kind != "tsv":
            raise
        header, *lines = _fields(text, kind, csv.QUOTE_NONE)
    return {name: [line[place] for line in lines] for place, name in enumerate(header)}


def _fields(text: str, kind: str, quoting: Any) -> list[list[str]]:
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=DELIMITERS[kind], quoting=quoting, strict=True)
    return [line for line in reader if line]


def _read_objects(text: str) -> list[dict[str, Any]]:
    rows, place, text = [], 0, text.strip()
    decoder = json.JSONDecoder()
    while place < len(text):
        row, place = decoder.raw_decode(text, place)
        rows.append(row)
        place += len(text[place:]) - len(text[place:].lstrip())
    return rows


def _names(rows: Sequence[Mapping[str, Any]]) -> dict[str, None]:
    return dict.fromkeys(name for row in rows for name in row)


def compare(
    rows: Rows, class_names: Sequence[str], columns: Columns, named: Mapping[str, str]
) -> None:
    """Checks that rows are those of a table.

    Args:
        rows: What the package read.
        class_names: Its classes.
        columns: What was written.
        named: Names of the columns "label" and, where they are used, "text" and "id".
    """
    labels = columns[named["label"]]
    assert len(rows.inputs) == len(labels), (len(rows.inputs), len(labels))
    for row, label in enumerate(labels):
        read_label = class_names[rows.labels[row]] if rows.labels[row] >= 0 else ""
        assert same_label(read_label, label), (row, read_label, label)
    if "id" in named:
        assert rows.ids is not None
        wanted = [_text(value).strip() for value in columns[named["id"]]]
        assert rows.ids.tolist() == wanted, first_other(rows.ids.tolist(), wanted)
    if "text" in named:
        texts = [_text(value) for value in columns[named["text"]]]
        assert rows.inputs.tolist() == texts, first_other(rows.inputs.tolist(), texts)
        return
    for name in rows.inputs.dtype.names or ():
        for row, (value, wanted) in enumerate(zip(rows.inputs[name], columns[name], strict=True)):
            assert same_value(value, wanted), (name, row, value, wanted)


def first_other(found: Sequence[Any], wanted: Sequence[Any]) -> Any:
    """Returns the first row that differs, for a message."""
    return next(
        (
            (row, *pair)
            for row, pair in enumerate(zip(found, wanted, strict=True))
            if len(set(pair)) > 1
        ),
        "types",
    )


def same_label(found: str, wanted: Any) -> bool:
    """Checks a label: "" where none is read."""
    text = _text(wanted).strip()
    # A row without a label.
    if not found:
        return text in MISSING | {"-1", "-1.0", "None", "<NA>"}
    if isinstance(wanted, bool):
        return found == str(int(wanted))
    if isinstance(wanted, datetime.date):
        return found.removesuffix(".000000") == text
    if isinstance(wanted, float) or text.endswith(".0"):
        return found in (text, text.removesuffix(".0"))
    return found == text or found == text.removeprefix("+")


def same_value(found: Any, wanted: Any) -> bool:
    """Checks a feature: a number, date or text that was written as a value or a text."""
    text = _text(wanted).strip()
    if isinstance(found, str):
        return found == text or (isinstance(wanted, bool) and found == text.lower())
    if isinstance(found, np.datetime64):
        return same_date(found, wanted, text)
    number = float(found)
    if math.isnan(number):
        return text in MISSING or math.isnan(float(text))
    if text.lower() in ("true", "false"):
        return number == (text.lower() == "true")
    return number == float(text)


def same_date(found: np.datetime64, wanted: Any, text: str) -> bool:
    """Checks a date; those with a time zone are in UTC."""
    if np.isnat(found):
        return text in MISSING
    date = wanted
    if isinstance(wanted, str):
        date = datetime.datetime.fromisoformat(text)
    if isinstance(date, datetime.datetime) and date.tzinfo:
        date = date.astimezone(datetime.UTC).replace(tzinfo=None)
    return bool(found == np.datetime64(date))


def _text(value: Any) -> str:
    # Parquet's texts may be stored as bytes.
    if isinstance(value, bytes):
        return value.decode()
    return "" if value is None else str(value)
