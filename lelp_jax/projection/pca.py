"""Principal components of each class, outside the span of the teacher's output weights.

n examples, d embedding dims, c classes.
"""

from __future__ import annotations

import functools
import hashlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.errors import UserError
from lelp_jax.projection.base import Rows

_KEPT = 8
_FITTED: dict[bytes, ClassPCA] = {}


class ClassPCA(NamedTuple):
    """Principal components per class, largest variance first.

    Attributes:
        mean: Mean of the class's rows, [c, d].
        components: Eigenvectors of the class's covariance in columns, [c, d, d]; beyond the rank
            they have no meaning.
        variance: Eigenvalues, [c, d].
        skewness_sign: Sign of the third moment along each component, [c, d]; 1 where it is 0.
        rank: Numerical rank of the class's covariance, [c] int.
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    skewness_sign: np.ndarray
    rank: np.ndarray


def range_basis(output_weights: np.ndarray) -> np.ndarray:
    """Returns an orthonormal basis of the range of the output weights, [d, rank] float32.

    Directions with a singular value below `max(d, c) * eps * largest` are rounding and are dropped.

    Args:
        output_weights: [d, c].
    """
    left, singular, _ = np.linalg.svd(output_weights.astype(np.float64), full_matrices=False)
    floor = max(output_weights.shape) * np.finfo(np.float32).eps * singular.max(initial=0.0)
    return left[:, singular > floor].astype(np.float32)


def fit(rows: Rows, output_weights: np.ndarray, null_space: bool) -> ClassPCA:
    """Returns the principal components of every class.

    The replicates of one teacher fit the same rows: what was found for rows of equal content is
    kept in memory and given again.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [d, c]; its number of columns is the number of classes.
        null_space: Whether embeddings are first projected on the complement of the weights' range
            (LELP, section 3.1: distillation of the logits already carries what lies along it).
    """
    num_classes = output_weights.shape[1]
    removed = range_basis(output_weights)
    if not null_space:
        removed = removed[:, :0]
    digest = hashlib.blake2b(str((rows.embedding.shape, num_classes)).encode())
    for array in (rows.embedding, rows.label, removed):
        digest.update(np.ascontiguousarray(array).tobytes())
    key = digest.digest()
    if key not in _FITTED:
        while len(_FITTED) >= _KEPT:
            _FITTED.pop(next(iter(_FITTED)))
        _FITTED[key] = _fit_rows(rows, removed, num_classes)
    return _FITTED[key]


def _fit_rows(rows: Rows, removed: np.ndarray, num_classes: int) -> ClassPCA:
    result = _fit(
        jnp.asarray(rows.embedding),
        jnp.asarray(rows.label),
        jnp.asarray(removed),
        num_classes=num_classes,
    )
    mean, components, variance, sign, counts = (np.asarray(part) for part in result)
    # Rounding leaves a few eps of the largest variance, and a few eps of the mean in every row;
    # neither grows with the number of rows.
    eps = np.finfo(np.float32).eps
    floor = np.maximum(
        max(variance.shape[1], 10) * eps * variance[:, :1],
        np.square(4 * eps * mean).sum(axis=1, keepdims=True),
    )
    rank = (variance > floor).sum(axis=1)
    # Centred rows of a class span at most one dimension less than there are rows.
    rank = np.minimum(rank, np.maximum(counts.astype(int) - 1, 0))
    return ClassPCA(mean, components, variance, sign, rank)


@functools.partial(jax.jit, static_argnames="num_classes")
def _fit(
    embedding: jax.Array, label: jax.Array, removed: jax.Array, *, num_classes: int
) -> tuple[jax.Array, ...]:
    # The device's default precision may be lower (TF32, bfloat16): too low for eigenvectors.
    with jax.default_matmul_precision("highest"):
        residual = embedding - (embedding @ removed) @ removed.T

        def one_class(index: jax.Array) -> tuple[jax.Array, ...]:
            mask = (label == index).astype(residual.dtype)[:, None]
            count = mask.sum()
            mean = (residual * mask).sum(axis=0) / jnp.maximum(count, 1)
            centred = (residual - mean) * mask
            covariance = centred.T @ centred / jnp.maximum(count - 1, 1)
            variance, vectors = jnp.linalg.eigh(covariance)
            variance, vectors = variance[::-1], vectors[:, ::-1]
            # Rounding leaves some of the range in the vectors of small variance.
            vectors = vectors - removed @ (removed.T @ vectors)
            third = ((centred @ vectors) ** 3).sum(axis=0)
            sign = jnp.where(third < 0, -1.0, 1.0)
            return mean, vectors, jnp.maximum(variance, 0), sign, count

        return jax.lax.map(one_class, jnp.arange(num_classes))


def check_rank(pca: ClassPCA, wanted: int, where: str) -> None:
    """Refuses more directions than a class varies in.

    Args:
        pca: The classes' components.
        wanted: Directions wanted in every class.
        where: What they are of, for the message ("null-space embedding").

    Raises:
        UserError: A class has a smaller numerical rank.
    """
    if (pca.rank < wanted).any():
        worst = int(np.argmin(pca.rank))
        least = pca.rank[worst]
        mend = f"take num_subclasses of at most {least}" if least else "leave the method out"
        raise UserError(
            f"num_subclasses {wanted} exceeds the rank {least} of the {where} of class {worst}; "
            f"{mend}"
        )
