"""Reads a column of texts: checks their type and encoding, and counts blank ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lelp_jax.core.errors import UserError, make_unknown_name_error

_LOG = logging.getLogger(__name__)


def read(values: pa.ChunkedArray | pa.Array, name: str, place: Callable[[int], str]) -> np.ndarray:
    """Reads a column of texts, [rows] objects, unchanged.

    A missing text becomes "". It and texts of white space alone are kept, with a warning: they say
    nothing of their class.

    Args:
        values: The column, [rows]: texts or bytes.
        name: The column's name.
        place: Names a row for a message ("train.csv line 7").

    Raises:
        UserError: The column holds no texts, or one is not UTF-8.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not (is_text(values.type) or _is_binary(values.type)):
        kind = "nothing" if pa.types.is_null(values.type) else str(values.type)
        raise UserError(
            f"{place(0)}, column {name}: it holds {kind}, not texts; "
            "name the column of texts with --config.data.text=NAME"
        )
    texts = decode_texts(values, name, place).fill_null("")
    blank = pc.or_(pc.equal(pc.utf8_length(texts), 0), pc.utf8_is_space(texts))
    count = pc.sum(blank).as_py() or 0
    if count == len(texts):
        raise UserError(f"{place(0)}, column {name}: all texts are blank; name another column")
    if count:
        first = pc.index(blank, True).as_py()
        _LOG.warning(
            "%s, column %s: the text is blank, as in %d of %d rows; they are kept, but carry no "
            "information about their class",
            place(first),
            name,
            count,
            len(texts),
        )
    result: np.ndarray = texts.to_numpy(zero_copy_only=False)
    return result


def decode_texts(
    values: pa.ChunkedArray | pa.Array, name: str, place: Callable[[int], str]
) -> pa.ChunkedArray | pa.Array:
    """Checks that texts or bytes, [rows], are UTF-8, which Parquet's readers take for granted.

    Args:
        values: The column.
        name: Its name.
        place: Names a row for a message.

    Raises:
        UserError: One is not UTF-8.
    """
    content = values.cast(pa.large_binary())
    try:
        return content.cast(pa.large_string())
    except pa.ArrowInvalid:
        raise _not_utf8(content.to_pylist(), name, place) from None


def _not_utf8(content: list[bytes | None], name: str, place: Callable[[int], str]) -> UserError:
    """Makes the error for the first text that is not UTF-8."""
    for row, text in enumerate(content):
        try:
            (text or b"").decode()
        except UnicodeDecodeError as error:
            return UserError(
                f"{place(row)}, column {name}: byte 0x{error.object[error.start]:02x} at byte "
                f"{error.start + 1} of the text is not UTF-8; write the texts as UTF-8"
            )
    return UserError(f"{place(0)}, column {name}: it is not UTF-8; write the texts as UTF-8")


def make_missing_error(
    where: str, name: str, schema: pa.Schema, others: Collection[str], key: str = "text"
) -> UserError:
    """Makes the error for a missing column.

    Args:
        where: What should hold it ("train.csv").
        name: The column that was asked for.
        schema: The columns there are.
        others: Columns that have another meaning.
        key: The setting of config.data that names it.
    """
    texts = [field.name for field in schema if is_text(field.type) and field.name not in others]
    if key == "text" and len(texts) == 1:
        return UserError(
            f"{where} has no column {name!r}, but one of texts: {texts[0]!r}; "
            f"set --config.data.text={texts[0]}"
        )
    error = make_unknown_name_error(f"column of {where}", name, schema.names)
    return UserError(f"{error}; name the right one with --config.data.{key}=NAME")


def is_text(kind: pa.DataType) -> bool:
    """Checks whether values of a type are texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        test(kind)
        for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    )
