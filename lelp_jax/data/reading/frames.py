"""Takes rows that a program has in memory apart into named columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lelp_jax.core.errors import UserError
from lelp_jax.data.columns import Kind, shorten
from lelp_jax.data.reading import columns


def read_rows(raw: Any, kinds: Mapping[str, Kind]) -> np.ndarray:
    """Reads rows by the names of their columns into a structured array, [rows].

    Args:
        raw: A mapping of column names to values, a list of mappings with a value each, a data frame
            (pandas, Polars, Arrow), or a structured array, with further columns or without, in any
            order. If all columns are numbers, an array [rows, columns] in the order of `kinds` will
            do, too.
        kinds: What each column is to be read as.

    Raises:
        UserError: A column is missing, has another length than the others, or a value cannot be
            read.
    """
    named = _find_columns(raw)
    if named is None:
        named = _split_array(raw, kinds)
    missing = [name for name in kinds if name not in named]
    if missing:
        raise UserError(
            f"the rows have no column {missing[0]!r}; columns needed: {shorten(list(kinds))}; "
            f"given: {shorten(list(named))}"
        )
    found = {name: _to_arrow(named[name], name, kind) for name, kind in kinds.items()}
    first, *others = kinds
    for name in others:
        if len(found[name]) != len(found[first]):
            raise UserError(
                f"column {name} has {len(found[name])} rows, column {first} {len(found[first])}; "
                "give as many of each"
            )
    return columns.read_table(found, kinds, lambda row: f"row {row}")


def _find_columns(raw: Any) -> Mapping[str, Any] | None:
    """Finds the columns of rows that name them; None if they have no names."""
    if isinstance(raw, Mapping):
        return raw
    if isinstance(raw, np.ndarray):
        return {name: raw[name] for name in raw.dtype.names} if raw.dtype.names else None
    if isinstance(raw, (list, tuple)) and raw and all(isinstance(row, Mapping) for row in raw):
        names = dict.fromkeys(name for row in raw for name in row)
        return {name: [row.get(name) for row in raw] for name in names}
    if hasattr(raw, "__arrow_c_stream__"):
        table = pa.table(raw)
        return _check_names(table.column_names, table.columns)
    if hasattr(raw, "columns"):
        values = np.asarray(raw)
        return _check_names([str(name) for name in raw.columns], list(values.T))
    return None


def _check_names(names: Sequence[str], values: Sequence[Any]) -> Mapping[str, Any]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"the rows have column {twice!r} {names.count(twice)} times; rename one")
    return dict(zip(names, values, strict=True))


def _split_array(raw: Any, kinds: Mapping[str, Kind]) -> Mapping[str, Any]:
    """Splits an array whose columns have no names."""
    if set(kinds.values()) != {"numbers"}:
        raise UserError(
            f"columns are not all numbers; give them by name, as a mapping or a data frame: "
            f"{shorten([f'{name} ({kind})' for name, kind in kinds.items()])}"
        )
    try:
        values = np.asarray(raw)
    except ValueError:
        values = np.empty(0, object)
    if values.dtype.kind not in "fiub" or values.ndim != 2 or values.shape[1] != len(kinds):
        raise UserError(
            f"the rows are an array of the type {values.dtype} and the shape {values.shape}, but "
            f"numbers [rows, {len(kinds)}] are needed, or columns by name: {shorten(list(kinds))}"
        )
    return dict(zip(kinds, values.T, strict=True))


def _to_arrow(values: Any, name: str, kind: Kind) -> pa.Array:
    """Converts one column; as in a data frame, NaN is a missing value.

    NumPy's dates have no time zone; where one is needed, they are in UTC.
    """
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise UserError(f"column {name} is {values!r}; give a list with a value per row")
    try:
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            return columns.decode(values)
        if hasattr(values, "__array__"):
            values = np.asarray(values)
            values = list(values) if values.ndim > 1 else values
        found = pa.array(values, from_pandas=True)
        from_numpy = isinstance(values, np.ndarray) and values.dtype.kind == "M"
        if from_numpy and kind == "dates with a time zone":
            unit = np.datetime_data(values.dtype)[0]
            found = found.cast(pa.timestamp("s" if unit == "D" else unit, "UTC"))
        return columns.decode(found)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"column {name} cannot be read: {reason}") from error
