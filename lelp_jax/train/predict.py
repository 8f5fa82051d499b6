"""Runs trained members on rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lelp_jax import parallel
from lelp_jax.train.state import StepSpec
from lelp_jax.train.step import predict_fleet

_PREDICT_ROWS = 4096


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
        inputs: [rows, features...].

    Returns:
        Logits [members, rows, classes] and embeddings [members, rows, dims], on the host.
    """
    device = jax.devices()[0]
    params, numeric, constants = jax.device_put((params, numeric, constants), device)
    size = min(len(inputs), _PREDICT_ROWS)
    logits, embeddings = [], []
    for start in range(0, len(inputs), size):
        batch = inputs[start : start + size]
        padding = [(0, size - len(batch)), *[(0, 0)] * (batch.ndim - 1)]
        # The last batch is padded to the common shape; the padding is cut off again.
        arguments = (params, numeric, constants, jax.device_put(np.pad(batch, padding), device))
        program, _ = parallel.compiled(predict_fleet, spec, arguments)
        out, embedding = program(*arguments)
        logits.append(np.asarray(out)[:, : len(batch)])
        embeddings.append(np.asarray(embedding)[:, : len(batch)])
    return np.concatenate(logits, axis=1), np.concatenate(embeddings, axis=1)
