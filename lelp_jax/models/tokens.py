"""Texts as arrays: token numbers, and -1 after the end of each text."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np

# Not the tokenizer's own padding token: which number that is differs between tokenizers.
PAD = -1

Array = TypeVar("Array", jax.Array, np.ndarray)


def are_tokens(inputs: Any) -> bool:
    """Checks whether a network's inputs are token numbers, by their type; pixels are unsigned.

    Args:
        inputs: An array, or its shape and type.
    """
    return bool(np.issubdtype(inputs.dtype, np.signedinteger))


def mask(tokens: Array) -> Array:
    """Marks the places that hold a token, [..., length] bool.

    Args:
        tokens: [..., length] int32, `PAD` after the end.
    """
    return tokens != PAD


def lengths(tokens: np.ndarray) -> np.ndarray:
    """Counts the tokens of each text, [...] int64.

    Args:
        tokens: [..., length] int32, `PAD` after the end.
    """
    return mask(tokens).sum(axis=-1)
