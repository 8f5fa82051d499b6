"""The stage that embeds the texts of a data set with a checkpoint, once.

Each part is a file, so that a stopped launch resumes after the last one.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import arrays, artifacts, files
from lelp_jax.core.errors import Damaged
from lelp_jax.core.session import Session
from lelp_jax.inputs.base import Inputs
from lelp_jax.inputs.frozen import FrozenEncoder
from lelp_jax.models.token_batches import TokenBatch

_LOG = logging.getLogger(__name__)
STAGE = "embeddings"
_VERSION = 1
# The checksums of an unfinished artifact's parts, one a line.
_FINISHED = "finished.jsonl"
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
        done, finished = [], folder / _FINISHED
        checksums = _read_checksums(finished)
        with session.reporter.show_stage("embeddings", len(tokens.values), "texts"):
            for number, part in enumerate(parts):
                done.append(f"part_{number:05d}.npy")
                path = folder / done[-1]
                # Of a launch that was stopped.
                if _is_finished(path, checksums.get(path.name), (len(_rows(part)), dims)):
                    session.reporter.advance(len(_rows(part)))
                    continue
                values = []
                for batch in part:
                    session.interrupts.check()
                    values.append(network.embed(tokens.values, batch))
                    session.reporter.advance(len(batch.rows))
                arrays.write_array(path, np.concatenate(values))
                # After the part itself: what has a checksum is whole. The new line comes first, to
                # end one that a killed launch has left incomplete.
                entry = json.dumps({"part": path.name, "sha256": files.hash_file(path)})
                with open(finished, "a") as file:
                    file.write(f"\n{entry}")
        # From here on, the marker of the artifact has the checksums.
        finished.unlink(missing_ok=True)
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


def _read_checksums(path: Path) -> dict[str, str]:
    """Reads the checksums of the parts that a stopped launch has finished."""
    found = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        # A launch may be killed, and a disk may fail, in the middle of a line.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            found[entry["part"]] = entry["sha256"]
    return found


def _is_finished(path: Path, checksum: str | None, shape: tuple[int, int]) -> bool:
    """Checks whether a part is as it was written, and belongs to these texts."""
    if checksum is None or not path.is_file():
        return False
    if files.hash_file(path) != checksum:
        _LOG.warning("%s has changed since it was written; computing it again", path)
        return False
    return arrays.read_array(path).shape == shape


def _rows(part: list[TokenBatch]) -> np.ndarray:
    return np.concatenate([batch.rows for batch in part])
