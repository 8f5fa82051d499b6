"""The part of a class's variance that the teacher's output layer does not read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lelp_jax.projection.engine import moments, pca
from lelp_jax.projection.engine.rows import EmbeddedRows


class ClassSpectrum(NamedTuple):
    """Variance of one class's embedding; NaN and 0 for fewer than two rows.

    Attributes:
        share: Share of the variance in the null space of the output weights, in 0..1.
        effective_rank: Number of directions that this part fills: the exponential of the entropy of
            its normalised eigenvalues (Roy and Vetterli, The Effective Rank, EUSIPCO 2007, with
            eigenvalues of the covariance instead of singular values).
        rank: Numerical rank of this part, the largest number of directions that LELP can take.
    """

    share: float
    effective_rank: float
    rank: int


def compute_spectra(rows: EmbeddedRows, output_weights: np.ndarray) -> list[ClassSpectrum]:
    """Computes the spectrum of every class.

    Args:
        rows: The rows, with their embedding in memory.
        output_weights: Weights of the teacher's output layer, [dims, classes].
    """
    removed = pca.range_basis(output_weights).astype(np.float64)
    embedding = np.asarray(rows.embedding)
    return [
        _compute_spectrum(embedding[rows.label == label].astype(np.float64), removed)
        for label in range(output_weights.shape[1])
    ]


def _compute_spectrum(points: np.ndarray, removed: np.ndarray) -> ClassSpectrum:
    """Computes the spectrum of points, [rows, dims], outside a basis, [dims, removed]."""
    count, dims = points.shape
    if count < 2:
        return ClassSpectrum(float("nan"), float("nan"), 0)
    mean = points.mean(axis=0)
    offset = points - mean
    total = np.square(offset).sum()
    outside = offset - (offset @ removed) @ removed.T
    # X'X and XX' have the same non-zero eigenvalues; take the smaller matrix.
    product = outside.T @ outside if dims <= count else outside @ outside.T
    values = np.maximum(np.linalg.eigvalsh(product)[::-1], 0)
    # The same bound as that of the projections, so that this rank is the number of directions that
    # a fit accepts.
    rounding = moments.rounding_variance(
        np.array([total / count]), np.array([np.square(points).sum() / count])
    )
    rank = int(pca.count_rank(values[None] / (count - 1), rounding, np.array([count]), dims)[0])
    if not rank:
        return ClassSpectrum(0.0, 0.0, 0)
    weights = values[:rank] / values[:rank].sum()
    entropy = -(weights * np.log(weights)).sum()
    return ClassSpectrum(float(values.sum() / total), float(np.exp(entropy)), rank)
