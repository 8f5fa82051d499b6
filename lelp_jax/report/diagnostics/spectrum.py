"""How a class's embedding varies outside of what the teacher's output layer reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lelp_jax.projection.engine import pca
from lelp_jax.projection.engine.rows import EmbeddedRows


class ClassSpectrum(NamedTuple):
    """Variance of the rows of one class; NaN and 0 where there are fewer than two rows.

    Attributes:
        share: Share of their variance in the null space of the output weights, in 0..1.
        effective_rank: How many directions that part fills: the exponential of the entropy of its
            normalised eigenvalues (Roy and Vetterli, The effective rank, EUSIPCO 2007, with
            eigenvalues of the covariance in the place of singular values).
        rank: Its numerical rank, which is the largest number of directions that LELP can take.
    """

    share: float
    effective_rank: float
    rank: int


def spectra(rows: EmbeddedRows, output_weights: np.ndarray) -> list[ClassSpectrum]:
    """Returns the spectrum of every class.

    Args:
        rows: The rows, with their embedding in memory.
        output_weights: [dims, classes].
    """
    removed = pca.range_basis(output_weights).astype(np.float64)
    embedding = np.asarray(rows.embedding)
    return [
        _spectrum(embedding[rows.label == label].astype(np.float64), removed)
        for label in range(output_weights.shape[1])
    ]


def _spectrum(points: np.ndarray, removed: np.ndarray) -> ClassSpectrum:
    count, dims = points.shape
    if count < 2:
        return ClassSpectrum(float("nan"), float("nan"), 0)
    mean = points.mean(axis=0)
    offset = points - mean
    total = np.square(offset).sum()
    outside = offset - (offset @ removed) @ removed.T
    # The smaller of the two products has the same eigenvalues but for zeros.
    product = outside.T @ outside if dims <= count else outside @ outside.T
    values = np.maximum(np.linalg.eigvalsh(product)[::-1], 0)
    # Rounding of float32 embeddings, as in the projections' own rank.
    eps = np.finfo(np.float32).eps
    floor = max(max(dims, 10) * eps * values[0], (count - 1) * np.square(4 * eps * mean).sum())
    rank = min(int((values > floor).sum()), count - 1)
    if not rank:
        return ClassSpectrum(0.0, 0.0, 0)
    weights = values[:rank] / values[:rank].sum()
    entropy = -(weights * np.log(weights)).sum()
    return ClassSpectrum(float(values.sum() / total), float(np.exp(entropy)), rank)
