"""The types of arrays that are read, and what they are given out as."""

from __future__ import annotations

import numpy as np

from lelp_jax.core.errors import UserError


def is_bfloat16(dtype: np.dtype) -> bool:
    """Tells whether a type is bfloat16; NumPy's files hold it as two bytes without a type."""
    return dtype.name == "bfloat16" or (
        dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and dtype.subdtype is None
    )


def given(dtype: np.dtype, where: str) -> np.dtype:
    """Returns the type in which an array is given out.

    Args:
        dtype: The type in which it is stored.
        where: The array, for the message.

    Raises:
        UserError: It holds neither numbers nor truth values nor texts.
    """
    if is_bfloat16(dtype):
        return np.dtype(np.float32)
    if dtype.kind in "biuf":
        return dtype.newbyteorder("=")
    if dtype.kind == "U":
        return dtype.newbyteorder("=")
    if dtype.kind == "S":
        return np.dtype(f"U{dtype.itemsize}")
    what = "Python objects" if dtype.hasobject else f"the type {dtype}"
    raise UserError(f"{where} holds {what}; save plain numbers, truth values or fixed-width texts")


def converted(values: np.ndarray, where: str) -> np.ndarray:
    """Returns stored values in the type in which they are given out, in C order.

    Raises:
        UserError: Bytes are not UTF-8.
    """
    dtype = given(values.dtype, where)
    if is_bfloat16(values.dtype):
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
