"""Teacher embeddings with a known spectrum, and float64 references for them."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from lelp_jax.projection import lelp
from lelp_jax.projection.engine import pca
from lelp_jax.projection.engine.rows import EmbeddedRows

LELP = {
    "num_subclasses": 3,
    "null_space": True,
    "rotate": True,
    "center": True,
    "standardize": True,
    "solver": "covariance",
}
KMEANS = {"num_subclasses": 3, "num_components": 4, "null_space": True, "solver": "covariance"}
CLASSES, DIMS, COUNT = 2, 10, 240
SEEDS = st.integers(0, 2**31 - 1)


def example(seed: int = 0, mean: float = 1.0) -> tuple[EmbeddedRows, np.ndarray]:
    """Returns rows with a clear gap in the spectrum of each class, and output weights."""
    random = np.random.default_rng(seed)
    deviation = np.array([5.0, 4.0, 3.2, 0.6, 0.5, 0.4, 0.3, 0.3, 0.2, 0.2])
    label = (np.arange(COUNT) % CLASSES).astype(np.int32)
    embedding = np.empty((COUNT, DIMS))
    for index in range(CLASSES):
        turn = np.linalg.qr(random.normal(size=(DIMS, DIMS)))[0]
        # Exponentials, so that third moments have a sign.
        noise = random.exponential(size=((label == index).sum(), DIMS)) - 1
        embedding[label == index] = noise * deviation @ turn.T + mean * random.normal(size=DIMS)
    weights = random.normal(size=(DIMS, CLASSES)).astype(np.float32)
    return EmbeddedRows(embedding.astype(np.float32), np.arange(COUNT), label), weights


def complement(weights: np.ndarray) -> np.ndarray:
    """Returns the projector on the null space of the weights, in float64."""
    wide = weights.astype(np.float64)
    return np.eye(len(wide)) - wide @ np.linalg.pinv(wide)


def principal(rows: EmbeddedRows, weights: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns eigenvalues and eigenvectors of a class, largest first, in float64."""
    residual = rows.embedding.astype(np.float64) @ complement(weights)
    values, vectors = np.linalg.eigh(np.cov(residual[rows.label == index].T))
    return values[::-1], vectors[:, ::-1]


def scores_of(rows: EmbeddedRows, weights: np.ndarray, settings: dict, seed: int = 0) -> np.ndarray:
    return np.asarray(lelp.fit(rows, weights, settings, seed).scores(rows))


def with_embedding(rows: EmbeddedRows, embedding: np.ndarray) -> EmbeddedRows:
    return dataclasses.replace(rows, embedding=embedding.astype(np.float32))


def ranks(rows: EmbeddedRows, weights: np.ndarray) -> list[int]:
    """Returns the rank of each class outside the range of the weights."""
    return pca.fit(rows, weights, null_space=True, count=1, solver="covariance").rank.tolist()


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Frobenius distance of the projectors on two bases."""
    return float(np.linalg.norm(first @ first.T - second @ second.T))
