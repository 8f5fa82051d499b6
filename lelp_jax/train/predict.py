"""Runs trained members on rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from lelp_jax import parallel
from lelp_jax.models import tokens
from lelp_jax.train.state import StepSpec
from lelp_jax.train.step import predict_fleet

_ROWS = 4096
_TOKENS = 1 << 14
# Texts are padded to the next power of two, or to one and a half times a power of two.
_SHORTEST = 8


def predict(
    spec: StepSpec,
    params: Any,
    numeric: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray],
    inputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns class logits and embeddings of all rows for several members.

    Args:
        spec: The program.
        params: Parameters with a leading member axis.
        numeric: Traced settings, [members] each.
        constants: The method's arrays, each [members, ...].
        inputs: [rows, features...] or tokens [rows, length].

    Returns:
        Logits [members, rows, classes] and embeddings [members, rows, dims], on the host.
    """
    device = jax.devices()[0]
    params, numeric, constants = jax.device_put((params, numeric, constants), device)
    results: tuple[np.ndarray, ...] = ()
    for rows, batch in batches(inputs):
        arguments = (params, numeric, constants, jax.device_put(batch, device))
        program, _ = parallel.compiled(predict_fleet, spec, arguments)
        outputs = [np.asarray(output)[:, : len(rows)] for output in program(*arguments)]
        if not results:
            results = tuple(
                np.empty((len(part), len(inputs), part.shape[-1]), part.dtype) for part in outputs
            )
        for whole, part in zip(results, outputs, strict=True):
            whole[:, rows] = part
    logits, embeddings = results
    return logits, embeddings


def batches(inputs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of few different shapes, texts of about the same length together.

    Args:
        inputs: [rows, features...] or tokens [rows, length].

    Yields:
        Positions of rows, and their inputs; the last batch of a shape is padded with rows of zeros
        or of a text without tokens.
    """
    if not tokens.are_tokens(inputs):
        yield from _of_one_shape(inputs, np.arange(len(inputs)), _ROWS, 0)
        return
    lengths = tokens.lengths(inputs)
    classes = np.array([_padded(length) for length in range(inputs.shape[1] + 1)])[lengths]
    for length in np.unique(classes):
        rows = np.flatnonzero(classes == length)
        most = min(1 << (_TOKENS // int(length)).bit_length() - 1, _ROWS)
        yield from _of_one_shape(inputs[:, :length], rows, max(most, 1), tokens.PAD)


def _of_one_shape(
    inputs: np.ndarray, rows: np.ndarray, most: int, padding: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    size = min(len(rows), most)
    if padding:
        # How many texts there are of a length differs from one call to the next.
        size = min(1 << (size - 1).bit_length(), most)
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        width = [(0, size - len(chosen)), *[(0, 0)] * (inputs.ndim - 1)]
        yield chosen, np.pad(inputs[chosen], width, constant_values=padding)


def _padded(length: int) -> int:
    """Returns the padded length of a text."""
    size = _SHORTEST
    while size < length:
        size += size // 2 if size & (size - 1) == 0 else size // 3
    return size
