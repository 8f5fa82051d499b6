"""Reads columns of a table, of any Arrow type, as numbers, dates, texts or lists."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lelp_jax.core.errors import UserError
from lelp_jax.data.columns import Kind
from lelp_jax.data.reading import text_column

# Python would also read "1_000", which few people mean as a number.
_NUMBER = re.compile(r"\s*[^\s_]+\s*")
_UNNAMED = re.compile(r"|Unnamed: \d+")
# With the finest unit, years are limited to 1677..2262.
_UNITS = ("us", "ns")
_PER_SECOND = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
# What `find_kind` asks of a type, in order.
_KINDS: Mapping[Kind, Callable[[pa.DataType], bool]] = {
    "numbers": lambda kind: is_number(kind) or _is_time_of_day(kind) or pa.types.is_duration(kind),
    "dates": lambda kind: pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and not kind.tz),
    "dates with a time zone": pa.types.is_timestamp,
    "lists": lambda kind: _is_list(kind) and is_number(kind.value_type),
}


def decode(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Converts a column to one piece of a plain type: no dictionary, run lengths or extension."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
    if text_column.is_text(values.type):
        values = values.cast(pa.large_string())
    return values


def find_kind(values: pa.Array) -> Kind | None:
    """Finds out what a column holds; None if it holds nothing that could be a feature.

    Texts of which more than half are numbers are read as numbers, so that a typing error in one is
    reported; the same holds for dates. Times of day and durations are numbers of seconds.

    Args:
        values: A column that was decoded, [rows].
    """
    for kind, test in _KINDS.items():
        if test(values.type):
            return kind
    if not text_column.is_text(values.type):
        return None
    texts, counts = (part.to_pylist() for part in _drop_blank(values).value_counts().flatten())
    rows: Counter[Kind] = Counter()
    for text, count in zip(texts, counts, strict=True):
        rows[_find_kind_of_text(text)] += count
    if not rows:
        return None
    kind, most = rows.most_common(1)[0]
    return kind if 2 * most > rows.total() else "texts"


def read(values: pa.Array, kind: Kind, name: str, place: Callable[[int], str]) -> np.ndarray:
    """Reads a column.

    Args:
        values: A column that was decoded, [rows].
        kind: What to read it as. A column without any value can be read as any kind, and texts may
            hold numbers or dates.
        name: The column's name.
        place: Names a row for a message ("train.csv line 7").

    Returns:
        Numbers [rows] with NaN where one is missing, datetime64 [rows] with NaT, texts [rows]
        objects with "", or lists as numbers [rows, width].

    Raises:
        UserError: A value cannot be read, is missing in a list, or lists differ in length.
    """
    empty = pa.types.is_null(values.type)
    if kind == "lists":
        return _read_lists(values, name, place)
    if kind == "texts":
        return _read_texts(values, name, place)
    if kind == "numbers":
        return _read_numbers(values.cast(pa.float64()) if empty else values, name, place)
    if text_column.is_text(values.type):
        values = _parse_dates(_drop_blank(values, keep_rows=True), kind, name, place)
    if empty:
        values = values.cast(pa.timestamp("us"))
    elif find_kind(values) != kind:
        raise _make_type_error(find_kind(values) or str(values.type), kind, name, place)
    result: np.ndarray = values.to_numpy(zero_copy_only=False)
    return result


def read_table(
    columns: Mapping[str, pa.Array], kinds: Mapping[str, Kind], place: Callable[[int], str]
) -> np.ndarray:
    """Reads columns into a structured array, [rows], with a field per column.

    Args:
        columns: Columns of equally many rows, decoded, by name.
        kinds: What to read each column as; see `read`. Others are left out.
        place: Names a row for a message.

    Raises:
        UserError: A value cannot be read.
    """
    found = {name: read(columns[name], kind, name, place) for name, kind in kinds.items()}
    rows = len(next(iter(found.values())))
    fields = [(name, values.dtype, values.shape[1:]) for name, values in found.items()]
    table = np.empty(rows, np.dtype(fields))
    for name, values in found.items():
        table[name] = values
    return table


def find_index(schema: pa.Schema) -> set[str]:
    """Finds columns that are the index of a data frame: they name or number the rows.

    pandas says in the metadata of a Parquet file which columns were its index. In CSV the index has
    an empty header, which pandas reads, and may write again, as "Unnamed: 0".
    """
    found = {name for name in schema.names if _UNNAMED.fullmatch(name)}
    try:
        index = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        # An index that is not stored as a column is described by a dict.
        return found | {name for name in index if name in schema.names}
    except (KeyError, ValueError, TypeError):
        return found


def repeats(texts: pa.Array) -> bool:
    """Tells whether texts stand for categories: on average each is there twice or more."""
    present = _drop_blank(texts)
    return 2 * int(pc.count_distinct(present).as_py()) <= len(present)


def _read_numbers(values: pa.Array, name: str, place: Callable[[int], str]) -> np.ndarray:
    kind = values.type
    if text_column.is_text(kind):
        texts = values.to_pylist()
        numbers = [np.nan if not (text or "").strip() else _parse_number(text) for text in texts]
        if None in numbers:
            row = numbers.index(None)
            raise UserError(
                f"{place(row)}, column {name}: {texts[row]!r} is not a number; correct it, or "
                "leave the column out of config.data.columns"
            )
        return np.array(numbers, np.float64)
    if not _KINDS["numbers"](kind):
        raise _make_type_error(find_kind(values) or str(kind), "numbers", name, place)
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    if pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    if _is_time_of_day(kind):
        values = values.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
    result: np.ndarray = values.to_numpy(zero_copy_only=False)
    if _is_time_of_day(kind):
        result = result / _PER_SECOND[kind.unit]
    if pa.types.is_duration(kind):
        result = result / np.timedelta64(1, "s")
    return result


def _read_texts(values: pa.Array, name: str, place: Callable[[int], str]) -> np.ndarray:
    if pa.types.is_nested(values.type) or pa.types.is_binary(values.type):
        raise _make_type_error(str(values.type), "texts", name, place)
    try:
        texts = values.cast(pa.large_string())
    except pa.ArrowException:
        raise _make_type_error(str(values.type), "texts", name, place) from None
    stripped = pc.utf8_trim_whitespace(texts.fill_null(""))
    result: np.ndarray = stripped.to_numpy(zero_copy_only=False)
    return result


def _read_lists(values: pa.Array, name: str, place: Callable[[int], str]) -> np.ndarray:
    if not _KINDS["lists"](values.type):
        raise _make_type_error(find_kind(values) or str(values.type), "lists", name, place)
    hint = "fill it in or remove the row"
    if values.null_count:
        row = _find_first(values.is_null())
        raise UserError(f"{place(row)}, column {name}: the list is missing; {hint}")
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
    width = int(lengths[0]) if len(lengths) else 0
    if (lengths != width).any():
        row = int(np.argmax(lengths != width))
        raise UserError(
            f"{place(row)}, column {name}: the list holds {lengths[row]} numbers, that of "
            f"{place(0)} {width}; make all lists equally long"
        )
    numbers = values.flatten()
    if numbers.null_count:
        row = _find_first(numbers.is_null()) // width
        raise UserError(f"{place(row)}, column {name}: a number of the list is missing; {hint}")
    return _read_numbers(numbers, name, place).reshape(len(values), width)


def _make_type_error(found: str, kind: Kind, name: str, place: Callable[[int], str]) -> UserError:
    return UserError(
        f"{place(0)}, column {name}: it holds {found}, but {kind} are needed, as in the training "
        "rows; write both in the same way"
    )


def _drop_blank(values: pa.Array, *, keep_rows: bool = False) -> pa.Array:
    """Drops texts of white space and missing ones; `keep_rows` makes all of them missing."""
    trimmed = pc.utf8_trim_whitespace(values)
    blank = pc.fill_null(pc.equal(trimmed, ""), True)
    if keep_rows:
        return pc.if_else(blank, pa.scalar(None, trimmed.type), trimmed)
    return trimmed.filter(pc.invert(blank))


def _parse_number(text: str) -> float | None:
    try:
        return float(text) if _NUMBER.fullmatch(text) else None
    except ValueError:
        return None


def _find_kind_of_text(text: str) -> Kind:
    if _parse_number(text) is not None:
        return "numbers"
    try:
        zone = datetime.datetime.fromisoformat(text).tzinfo
    except ValueError:
        return "texts"
    return "dates" if zone is None else "dates with a time zone"


def _parse_dates(texts: pa.Array, kind: Kind, name: str, place: Callable[[int], str]) -> pa.Array:
    """Parses texts as dates in ISO 8601."""
    for unit in _UNITS:
        # Arrow is fast, but does not say where it fails.
        with contextlib.suppress(pa.ArrowInvalid):
            return texts.cast(pa.timestamp(unit, "UTC" if kind != "dates" else None))
    for row, text in enumerate(texts.to_pylist()):
        if text is not None and _find_kind_of_text(text) != kind:
            raise UserError(
                f"{place(row)}, column {name}: {text!r} is not among {kind} such as 2024-12-31 or "
                "2024-12-31T10:00:00Z; correct it, or leave the column out of config.data.columns"
            )
    raise _make_type_error("dates in several forms", kind, name, place)


def _find_first(mask: pa.Array) -> int:
    return int(pc.index(mask, True).as_py())


def is_number(kind: pa.DataType) -> bool:
    """Checks whether a column's values are numbers, which booleans are too."""
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _is_time_of_day(kind: pa.DataType) -> bool:
    return bool(pa.types.is_time(kind))


def _is_list(kind: pa.DataType) -> bool:
    # Of the nested types, lists of all sorts have values.
    return pa.types.is_nested(kind) and hasattr(kind, "value_type")
