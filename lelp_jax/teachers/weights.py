"""Estimates the range of an unknown output layer by least squares.

The layer maps the embedding to the logits linearly. Regressing the logits on the embedding
therefore recovers its weights in every direction in which the embedding varies.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np

from lelp_jax.projection.engine import moments, stream
from lelp_jax.projection.engine.rows import EmbeddedRows, rescale
from lelp_jax.storage.rows import RowArray

_LOG = logging.getLogger(__name__)
# A linear layer that takes this embedding gives 1 up to rounding. Less means that the layer takes
# something else, such as the embedding after a nonlinearity.
_LEAST_R_SQUARED = 0.99


@dataclasses.dataclass(frozen=True)
class _Concatenated:
    """Embeddings and logits concatenated by row, [rows, dims + classes].

    One pass over these rows gives all second moments that the regression needs.
    """

    embeddings: RowArray
    logits: RowArray
    centre: bool

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.embeddings), self.embeddings.shape[1] + self.logits.shape[1]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, rows: Any) -> np.ndarray:
        logits = np.asarray(self.logits[rows], np.float32)
        if self.centre:
            logits = logits - logits.mean(axis=1, keepdims=True)
        return np.concatenate([np.asarray(self.embeddings[rows], np.float32), logits], axis=1)


def estimate(
    embeddings: RowArray, logits: RowArray, centre: bool, where: str
) -> tuple[np.ndarray, float]:
    """Fits output weights by least squares.

    Args:
        embeddings: [rows, dims].
        logits: [rows, classes].
        centre: Whether logits are known only up to a constant per row, as logarithms of
            probabilities are. If True, the weights are those of the centred logits.
        where: The file, for the log.

    Returns:
        Weights [dims, classes] float32 and R^2 in [0, 1].
    """
    everyone = np.arange(len(embeddings)), np.zeros(len(embeddings), np.int32)
    # Each by its own power of two: weights are the same of rows and logits of any size.
    scaled = [rescale(EmbeddedRows(array, *everyone)) for array in (embeddings, logits)]
    (given, unit), (answers, unit_of_logits) = scaled
    rows = EmbeddedRows(_Concatenated(given.embedding, answers.embedding, centre), *everyone)
    origin = stream.origin(rows, 1)
    collected = moments.collect(rows, 1, origin, np.zeros((origin.shape[1], 0), np.float32))
    scatter = np.asarray(collected.scatter[0], np.float64)
    if not np.isfinite(scatter).all():
        stream.refuse_bad_rows(rows)
    dims = embeddings.shape[1]
    within, across, total = scatter[:dims, :dims], scatter[:dims, dims:], scatter[dims:, dims:]
    # Directions in which the embedding varies no more than rounding does carry no information.
    rounding = max(dims, 10) * np.finfo(np.float32).eps
    weights = np.linalg.pinv(within, rcond=rounding, hermitian=True) @ across
    explained = float(np.sum(weights * across) / max(np.trace(total), np.finfo(float).tiny))
    explained = min(max(explained, 0.0), 1.0)
    log = _LOG.info if explained >= _LEAST_R_SQUARED else _LOG.warning
    log(
        "%s: no output weights; estimated their range from the logits with R^2 = %.4f%s",
        where,
        explained,
        ""
        if explained >= _LEAST_R_SQUARED
        else f", below {_LEAST_R_SQUARED}: the embedding is not the input of the output layer; "
        "save the output weights, or the last hidden layer as embedding",
    )
    return (unit_of_logits / unit * weights).astype(np.float32), explained
