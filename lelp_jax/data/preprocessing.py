"""From raw features to model inputs: fitted on the training rows, the same for any row later.

Everything is computed in float64 and becomes float32 last. The order matters: a time in seconds
since 1970 is near 1.7e9, where float32 numbers are 128 apart, so that a column of times is constant
if it is rounded before its mean is subtracted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.columns import Column, Kind, describe_columns, fit_columns, shorten

# Below this share of a usual standard deviation a dimension is rounding noise, not a feature.
_RELATIVE_FLOOR = 1e-6
_ROWS_AT_ONCE = 1 << 14
# Whole numbers up to it are exact in float64.
_EXACT = 2**53
_HALF = 2**32


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The map from raw features to model inputs, `(raw - shift) * scale`.

    The columns of a table become numbers before.

    Attributes:
        shift: Value subtracted, [] or [features...].
        scale: Factor applied after, of the same shape; 0 drops a constant feature.
        columns: Names of the features in order, empty where they have none.
        table: How the columns of a table become features; empty where there is no table.
        shape: Shape of the raw features of a row; () where any will do, or for a table.
    """

    shift: np.ndarray
    scale: np.ndarray
    columns: tuple[str, ...] = ()
    table: tuple[Column, ...] = ()
    shape: tuple[int, ...] = ()

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Computes model inputs, float32; infinite where too large.

        Args:
            raw: Numbers, [rows, features...], or the rows of a table: a structured array with a
                field for each of `kinds`.

        Returns:
            [rows, features...] float32.

        Raises:
            UserError: Rows have another shape than the training rows.
        """
        if self.table:
            result = np.empty((len(raw), len(self.columns)), np.float32)
            start = 0
            for column in self.table:
                part = slice(start, start + len(column.features))
                encoded = column.encode(raw[column.name])
                _apply(encoded, self.shift[part], self.scale[part], result[:, part])
                start = part.stop
            return result
        raw = self.encode(raw)
        if self.shape and raw.shape[1:] != self.shape:
            raise UserError(
                f"the rows have the shape {raw.shape[1:]}, but those of training "
                f"{self.shape}; give an array [rows, {', '.join(map(str, self.shape))}]"
            )
        result = np.empty(raw.shape, np.float32)
        _apply(raw, self.shift, self.scale, result)
        return result

    def encode(self, raw: np.ndarray) -> np.ndarray:
        """Computes features that are not shifted and scaled yet, [rows, features...].

        Args:
            raw: See `__call__`.
        """
        if self.table:
            parts = [column.encode(raw[column.name]) for column in self.table]
            return np.concatenate(parts, axis=1)
        if raw.dtype.names:
            return np.stack([raw[name] for name in self.columns], axis=1)
        return raw

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What each column of the table is read as; without a table, the features by name."""
        if self.table:
            return {column.name: column.kind for column in self.table}
        return dict.fromkeys(self.columns, "numbers")

    def describe(self) -> tuple[str, ...]:
        """Describes what was learnt, a sentence each: features of a table, constant features."""
        notes: tuple[str, ...] = (describe_columns(self.table),) if self.table else ()
        constant = np.flatnonzero(self.scale == 0)
        if len(constant):
            names = [self.columns[place] if self.columns else str(place) for place in constant]
            notes += (
                f"{len(constant)} of {self.scale.size} features are constant over the training "
                f"rows and so set to 0: {shorten(names)}",
            )
        return notes


def standardization(raw: np.ndarray, *, same_unit: bool) -> Preprocessing:
    """Fits the map to zero mean and unit variance over the rows given.

    A feature that is constant up to rounding is set to 0 rather than blown up to unit variance:
    its standard deviation is below the rounding of its own mean or, where all features have the
    same unit, below 1e-6 of the median one.

    Args:
        raw: Features of the training rows, [rows, features...].
        same_unit: Whether deviations may be compared: true for an embedding, whose dead dimensions
            hold noise of any size, false for columns of a table.

    Raises:
        UserError: Every feature is constant.
    """
    shift, scale = _fit_scale(raw, same_unit)
    _refuse_constant(scale, len(raw))
    return Preprocessing(shift, scale, shape=raw.shape[1:])


def table_preprocessing(raw: np.ndarray, *, kinds: Mapping[str, Kind]) -> Preprocessing:
    """Fits how the columns of a table become model inputs.

    Features that are 0 or 1 stay so; the others are brought to zero mean and unit variance.

    Args:
        raw: The training rows, a structured array with a field per column.
        kinds: What each column was read as, see `data.columns`.

    Raises:
        UserError: Every feature is constant.
    """
    table = fit_columns(raw, kinds)
    shifts, scales = [], []
    for column in table:
        shift, scale = _fit_scale(column.encode(raw[column.name]), column.same_unit)
        kept = column.indicators & (scale != 0)
        shifts.append(np.where(kept, 0.0, shift))
        scales.append(np.where(kept, 1.0, scale))
    scale = np.concatenate(scales)
    _refuse_constant(scale, len(raw))
    names = tuple(name for column in table for name in column.features)
    return Preprocessing(np.concatenate(shifts), scale, names, table)


def _fit_scale(raw: np.ndarray, same_unit: bool) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and reciprocal standard deviation, 0 where constant, [features...] each."""
    mean = raw.mean(axis=0, dtype=np.float64)
    centred = _subtract(raw, mean)
    # What the sum over many rows has lost to rounding.
    rest = centred.mean(axis=0)
    mean, centred = mean + rest, np.subtract(centred, rest, out=centred)
    deviation = np.sqrt(np.square(centred, out=centred).mean(axis=0))
    rounding = 0.0  # Whole numbers were not rounded.
    if raw.dtype.kind == "f":
        rounding = float(np.finfo(np.float32 if raw.dtype.itemsize <= 4 else np.float64).eps)
    floor = np.maximum(rounding * np.abs(mean), np.finfo(np.float32).tiny)
    if same_unit:
        # The median, because a few features in a much larger unit should not drop the others.
        usual = np.quantile(deviation, 0.5, method="lower") if deviation.size else 0.0
        floor = np.maximum(floor, _RELATIVE_FLOOR * usual)
    varies = (deviation > floor) & (raw.max(axis=0) != raw.min(axis=0))
    return mean, np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)


def _refuse_constant(scale: np.ndarray, rows: int) -> None:
    if not scale.any():
        raise UserError(
            f"every feature has the same value in all {rows} training rows; "
            "give features that differ"
        )


def _apply(raw: np.ndarray, shift: np.ndarray, scale: np.ndarray, result: np.ndarray) -> None:
    """Shifts and scales in parts, so that few rows are in memory as float64."""
    for start in range(0, len(raw), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        with np.errstate(over="ignore", invalid="ignore"):
            result[part] = _subtract(raw[part], shift) * scale


def _subtract(raw: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Computes `raw - shift` in float64; of whole numbers that float64 would round, too."""
    wide = raw.dtype.kind in "iu" and raw.dtype.itemsize == 8
    if not (wide and (np.abs(shift) > _EXACT).any()):
        return np.subtract(raw, shift, dtype=np.float64)
    high, low = np.divmod(raw, raw.dtype.type(_HALF))
    shift_high = np.floor(np.asarray(shift, np.float64) / _HALF)
    return (high - shift_high) * _HALF + (low - (shift - shift_high * _HALF))
