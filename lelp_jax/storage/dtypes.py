"""The types of stored arrays, and the types in which they are read."""

from __future__ import annotations

import numpy as np

from lelp_jax.core.errors import UserError


def _is_bfloat16(dtype: np.dtype) -> bool:
    # NumPy's files hold bfloat16 as two bytes without a type.
    return dtype.name == "bfloat16" or dtype.str == "|V2"


def resolve_dtype(dtype: np.dtype, where: str) -> np.dtype:
    """Finds the type in which an array is read.

    Args:
        dtype: The type in which it is stored.
        where: The array, for the message.

    Raises:
        UserError: It holds neither numbers nor booleans nor texts.
    """
    if _is_bfloat16(dtype):
        return np.dtype(np.float32)
    if dtype.kind in "biufU":
        return dtype.newbyteorder("=")
    if dtype.kind == "S":
        return np.dtype(f"U{dtype.itemsize}")
    what = "Python objects" if dtype.hasobject else f"the type {dtype}"
    raise UserError(f"{where} holds {what}; save plain numbers, booleans or fixed-width texts")


def convert_values(values: np.ndarray, where: str) -> np.ndarray:
    """Converts stored values to the type in which they are read, in C order.

    Raises:
        UserError: Bytes are not UTF-8.
    """
    dtype = resolve_dtype(values.dtype, where)
    if _is_bfloat16(values.dtype):
        import ml_dtypes

        values = np.ascontiguousarray(values).view(ml_dtypes.bfloat16)
    elif values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{where} holds bytes that are not UTF-8: {error}; save texts"
            ) from error
    return np.ascontiguousarray(values, dtype)
