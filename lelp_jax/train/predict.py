"""Runs trained members on rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from lelp_jax.core import parallel
from lelp_jax.models import token_batches, tokens
from lelp_jax.models.pixels import are_pixels
from lelp_jax.train.state import StepSpec
from lelp_jax.train.step import predict_fleet

# Enough to keep a device busy; more would only take more memory, of which a convolution of an image
# takes dozens of times what the image does.
_ROWS, _IMAGES = 4096, 512


def predict(
    spec: StepSpec,
    params: Any,
    hyperparameters: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray],
    inputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes class logits and embeddings of all rows for several members.

    Args:
        spec: The program.
        params: Parameters with a leading member axis.
        hyperparameters: Traced ones, [members] each.
        constants: The method's arrays, each [members, ...].
        inputs: [rows, features...], images among them, or tokens [rows, length].

    Returns:
        Logits [members, rows, classes] and embeddings [members, rows, dims], on the host.
    """
    device = jax.devices()[0]
    params, hyperparameters, constants = jax.device_put(
        (params, hyperparameters, constants), device
    )
    results: tuple[np.ndarray, ...] = ()
    for rows, batch in iterate_batches(inputs):
        arguments = (params, hyperparameters, constants, jax.device_put(batch, device))
        program, _ = parallel.compile_program(predict_fleet, spec, arguments)
        outputs = [np.asarray(output)[:, : len(rows)] for output in program(*arguments)]
        if not results:
            results = tuple(
                np.empty((len(part), len(inputs), part.shape[-1]), part.dtype) for part in outputs
            )
        for whole, part in zip(results, outputs, strict=True):
            whole[:, rows] = part
    logits, embeddings = results
    return logits, embeddings


def iterate_batches(inputs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of few different shapes, texts of about the same length together.

    Args:
        inputs: [rows, features...] or tokens [rows, length].

    Yields:
        Positions of rows, and their inputs; the last batch of a shape is padded with rows of zeros
        or of a text without tokens.
    """
    if not tokens.are_tokens(inputs):
        size = min(len(inputs), _IMAGES if are_pixels(inputs) else _ROWS)
        for start in range(0, len(inputs), size):
            rows = np.arange(start, min(start + size, len(inputs)))
            yield rows, _fill(inputs[rows], size, 0)
        return
    for batch in token_batches.make_batches(tokens.lengths(inputs), inputs.shape[1]):
        # How many texts there are of a length differs from one call to the next.
        size = 1 << (len(batch.rows) - 1).bit_length()
        yield batch.rows, _fill(inputs[batch.rows, : batch.length], size, tokens.PAD)


def _fill(inputs: np.ndarray, size: int, value: int) -> np.ndarray:
    """Pads a batch to a size with rows of one value."""
    width = [(0, size - len(inputs)), *[(0, 0)] * (inputs.ndim - 1)]
    return np.pad(inputs, width, constant_values=value)
