"""From raw features to model inputs: one affine map, fitted on the training rows."""

from __future__ import annotations

import dataclasses

import numpy as np

from lelp_jax.core.errors import UserError

# Below this share of the largest standard deviation a dimension is rounding noise, not a feature.
_RELATIVE_FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The affine map from raw features to model inputs, `(raw - shift) * scale`.

    Attributes:
        shift: Value subtracted, [] or [features...] float32.
        scale: Factor applied after, of the same shape; 0 drops a constant feature.
        columns: Names of the features in order, empty where they have none.
    """

    shift: np.ndarray
    scale: np.ndarray
    columns: tuple[str, ...] = ()

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Computes model inputs, float32, of the raw features' shape; infinite where too large."""
        with np.errstate(over="ignore"):
            return ((raw - self.shift) * self.scale).astype(np.float32)


def standardization(
    raw: np.ndarray, columns: tuple[str, ...] = (), *, same_unit: bool
) -> Preprocessing:
    """Fits the map to zero mean and unit variance over the rows given.

    A feature that is constant up to rounding is set to 0 rather than blown up to unit variance:
    its standard deviation is below the rounding of its own mean or, where all features have the
    same unit, below 1e-6 of the largest one.

    Args:
        raw: Features of the training rows, [rows, features...] float32.
        columns: The features' names.
        same_unit: Whether deviations may be compared: true for an embedding, whose dead dimensions
            hold noise of any size, false for columns of a table.

    Raises:
        UserError: Every feature is constant.
    """
    mean = raw.mean(axis=0, dtype=np.float64)
    deviation = raw.std(axis=0, dtype=np.float64)
    single = np.finfo(np.float32)
    floor = np.maximum(single.eps * np.abs(mean), single.tiny)
    if same_unit:
        floor = np.maximum(floor, _RELATIVE_FLOOR * deviation.max(initial=0.0))
    varies = deviation > floor
    if not varies.any():
        raise UserError(
            f"every feature has the same value in all {len(raw)} training rows; "
            "give features that differ"
        )
    scale = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)
    return Preprocessing(mean.astype(np.float32), scale.astype(np.float32), columns)
