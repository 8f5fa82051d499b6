"""Quotation marks in CSV and TSV: which of them quote a field, and rows that one has swallowed."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lelp_jax.core.errors import UserError

_LOG = logging.getLogger(__name__)
DELIMITERS = {"CSV": ",", "TSV": "\t"}
# A text may be longer than the 128 KiB that `csv` takes by default.
csv.field_size_limit(2**31 - 1)


def read_records(content: str, kind: str, *, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yields the line in which each record begins, from 1, and its fields.

    Args:
        content: What the file holds, a byte-order mark left out.
        kind: "CSV" or "TSV".
        quoted: Whether quotation marks quote fields; else they are a part of them.
    """
    number = 1
    reader = _open(content, kind, quoted=quoted)
    for fields in reader:
        if fields:
            yield number, fields
        number = reader.line_num + 1


def _open(content: str, kind: str, *, quoted: bool) -> Any:
    return csv.reader(
        io.StringIO(content, newline=""),
        delimiter=DELIMITERS[kind],
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )


def find_quoting(path: Path, content: str, kind: str) -> bool:
    """Finds out whether quotation marks quote fields, or are a part of them.

    In CSV they quote (RFC 4180). Writers of TSV differ: in the files of GLUE, marks are a part of
    the texts; other programs quote as in CSV. So where the marks of a TSV file cannot quote, and
    every line has as many fields as the first, they are read as a part of the texts.

    Args:
        path: The file, for messages.
        content: What it holds, a byte-order mark left out.
        kind: "CSV" or "TSV".

    Raises:
        UserError: Marks are used in neither way. A lenient reader would lose rows.
    """
    line = _find_bad_quotes(content, kind) if '"' in content else 0
    if not line:
        return True
    if kind == "TSV" and _is_plain(content):
        _LOG.info(
            "%s: quotation marks are read as a part of the fields, since those of line %d cannot "
            "quote one",
            path,
            line,
        )
        return False
    raise UserError(
        f"{path} line {line}: a quotation mark opens a field and does not close it, or closes it "
        "before its end; put texts with such marks in quotes and double the marks in them, or "
        "save the file as .jsonl or .parquet"
    )


def _find_bad_quotes(content: str, kind: str) -> int:
    """Finds the line of the first record in which marks cannot quote, or 0."""
    line = 1
    reader = _open(content, kind, quoted=True)
    try:
        for fields in reader:
            # What holds tabs and line ends is rows that a mark has swallowed.
            if kind == "TSV" and any("\t" in text and "\n" in text for text in fields):
                return line
            line = reader.line_num + 1
    except csv.Error:
        return line
    return 0


def _is_plain(content: str) -> bool:
    """Checks whether every line of TSV has as many fields as the first."""
    lines = io.StringIO(content, newline=None)
    return len({line.count("\t") for line in lines if line != "\n"}) == 1


def holds_rows(
    text: str, column: int, width: int, label_column: int, labels: Collection[str]
) -> bool:
    """Checks whether a field of CSV may be rows that a quotation mark has swallowed.

    They may where each of its lines has the commas of a row and the first, or the last, a label.

    Args:
        text: The field.
        column: The position of its column.
        width: Number of columns.
        label_column: The position of the label column.
        labels: The labels that occur.
    """
    # By line ends alone: `splitlines` knows others, which a row may hold.
    first, *others = text.replace("\r\n", "\n").split("\n")
    if not others or column == label_column:
        return bool(others)
    commas = [width - 1 - column, *[width - 1] * (len(others) - 1), column]
    if [line.count(",") for line in (first, *others)] != commas:
        return False
    if label_column > column:
        return first.split(",")[label_column - column] in labels
    return others[-1].split(",")[label_column] in labels
