"""The stage that embeds the texts of a data set with a checkpoint, once.

Each part is a file, so that a stopped launch resumes after the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import arrays, artifacts
from lelp_jax.core.errors import Damaged
from lelp_jax.core.session import Session
from lelp_jax.inputs.base import Inputs
from lelp_jax.inputs.frozen import FrozenEncoder
from lelp_jax.models.token_batches import TokenBatch

STAGE = "embeddings"
_VERSION = 1
# A killed launch loses at most this many.
_BATCHES_PER_PART = 8


def ensure(
    root: Path, tokens: Inputs, network: FrozenEncoder, session: Session
) -> tuple[np.ndarray, str]:
    """Computes the embedding of every text, or reads what was computed before.

    Args:
        root: The workdir.
        tokens: The checkpoint's tokens of all texts.
        network: The checkpoint.
        session: The run.

    Returns:
        Embeddings [rows, dims] float32 in the order of `tokens.values`, and their fingerprint, 16
        hexadecimal digits.

    Raises:
        UserError: A value is not finite.
        Interrupted: The run was asked to stop; the finished parts are kept.
    """
    session.interrupts.check()
    key = {
        "version": _VERSION,
        "checkpoint": network.checkpoint.fingerprint,
        "tokens": tokens.fingerprint,
        "pooling": network.pooling,
        "compute_dtype": network.compute_dtype,
    }
    batches = network.batches(tokens.values)
    parts = [
        batches[start : start + _BATCHES_PER_PART]
        for start in range(0, len(batches), _BATCHES_PER_PART)
    ]
    dims = network.checkpoint.architecture.dims

    def build(folder: Path) -> Mapping[str, Any]:
        done = []
        with session.reporter.show_stage("embeddings", len(tokens.values), "texts"):
            for number, part in enumerate(parts):
                done.append(f"part_{number:05d}.npy")
                # Of a launch that was stopped.
                if _is_part(folder / done[-1], (len(_rows(part)), dims)):
                    session.reporter.advance(len(_rows(part)))
                    continue
                values = []
                for batch in part:
                    session.interrupts.check()
                    values.append(network.embed(tokens.values, batch))
                    session.reporter.advance(len(batch.rows))
                arrays.write_array(folder / done[-1], np.concatenate(values))
        return {"parts": done, "rows": len(tokens.values), "dims": dims}

    def load(folder: Path, facts: Mapping[str, Any]) -> tuple[np.ndarray, str]:
        result = np.empty((len(tokens.values), dims), np.float32)
        found = [arrays.read_array(folder / name) for name in facts["parts"]]
        wanted = [(len(_rows(part)), dims) for part in parts]
        if [values.shape for values in found] != wanted:
            raise Damaged(
                f"{folder} does not hold the embeddings of these {len(result)} texts", folder
            )
        for part, values in zip(parts, found, strict=True):
            result[_rows(part)] = values
        return result, folder.name

    return artifacts.run(root, STAGE, key, build, load)


def _is_part(path: Path, shape: tuple[int, int]) -> bool:
    try:
        return arrays.read_array(path).shape == shape
    except Damaged:
        return False


def _rows(part: list[TokenBatch]) -> np.ndarray:
    return np.concatenate([batch.rows for batch in part])
