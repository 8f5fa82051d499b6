"""Principal components of each class, outside the span of the teacher's output weights.

n examples, d embedding dims, c classes, k components.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.projection.engine import krylov, moments, stream
from lelp_jax.projection.engine.rows import EmbeddedRows

# Replicates and methods ask for the components of the same rows: more are kept than one asks for.
_LEAST_COMPONENTS = 64
_KEPT = 8
_FITTED: dict[tuple[Any, ...], ClassPCA] = {}
# Covariances of all classes and the decomposition's copy of them.
_COVARIANCE_BYTES = 4 << 30
_SVD_BYTES = 4 << 30


class ClassPCA(NamedTuple):
    """Principal components per class, largest variance first.

    Attributes:
        mean: Mean of the class's rows outside the span taken out, [c, d] float32.
        components: Eigenvectors of the class's covariance in columns, [c, d, k] float32; beyond
            the rank they have no meaning.
        variance: Eigenvalues, [c, k] float32.
        rank: Numerical rank of the class's covariance, [c] int; the randomized solver counts only
            what it has found, which is more than it was asked for.
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
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


def fit(
    rows: EmbeddedRows,
    output_weights: np.ndarray,
    *,
    null_space: bool,
    count: int,
    solver: str = "auto",
) -> ClassPCA:
    """Returns the leading principal components of every class.

    What was found for rows of a name is kept in memory and given again.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [d, c]; its number of columns is the number of classes.
        null_space: Whether embeddings are first projected on the complement of the weights' range
            (LELP, section 3.1: distillation of the logits already carries what lies along it).
        count: How many components are wanted; at least these are given, as far as there are any.
        solver: "covariance" collects the covariances in one pass and decomposes them; "randomized"
            takes several passes and memory that grows with d rather than its square; "svd"
            decomposes the rows themselves, held in memory; "auto" takes the covariances where they
            fit into memory, and is randomized elsewhere.

    Raises:
        UserError: An embedding is not finite, or the rows do not fit into memory for "svd".
    """
    num_classes, dims = output_weights.shape[1], output_weights.shape[0]
    if solver == "auto":
        fits = 8 * num_classes * dims**2 <= _COVARIANCE_BYTES
        solver = "covariance" if fits else "randomized"
    count = min(max(count, 0 if solver == "randomized" else _LEAST_COMPONENTS), dims)
    key = (rows.name, null_space, solver, count)
    if rows.name and key in _FITTED:
        return _FITTED[key]
    removed = range_basis(output_weights)[:, slice(None) if null_space else slice(0)]
    origin = stream.origin(rows, num_classes)
    found = _SOLVERS[solver](rows, origin, removed, count)
    result = _ranked(rows, origin, removed, found, count)
    if rows.name:
        while len(_FITTED) >= _KEPT:
            _FITTED.pop(next(iter(_FITTED)))
        _FITTED[key] = result
    return result


def _ranked(
    rows: EmbeddedRows, origin: np.ndarray, removed: np.ndarray, found: krylov.Spectrum, count: int
) -> ClassPCA:
    """Returns the components with their mean in the rows' own place, and the rank."""
    wide, values = removed.astype(np.float64), np.asarray(found.values)
    if not np.isfinite(values).all():
        stream.refuse_bad_rows(rows)
    centre = origin.astype(np.float64)
    mean = centre - centre @ wide @ wide.T + np.asarray(found.mean, np.float64)
    # Rounding leaves a few eps of the largest variance, and a few eps of the mean in every row;
    # neither grows with the number of rows.
    eps = np.finfo(np.float32).eps
    floor = np.maximum(
        max(origin.shape[1], 10) * eps * values[:, :1],
        np.square(4 * eps * mean).sum(axis=1, keepdims=True),
    )
    sizes = np.bincount(rows.label[rows.label >= 0], minlength=len(origin))
    # Centred rows of a class span at most one dimension less than there are rows.
    rank = np.minimum((values > floor).sum(axis=1), np.maximum(sizes - 1, 0))
    return ClassPCA(
        mean.astype(np.float32),
        np.asarray(found.vectors)[:, :, :count],
        np.maximum(values[:, :count], 0),
        rank,
    )


def _by_covariance(
    rows: EmbeddedRows, origin: np.ndarray, removed: np.ndarray, count: int
) -> krylov.Spectrum:
    collected = moments.collect(rows, len(origin), origin, removed)
    return _decompose(collected, jnp.asarray(removed), count)


@functools.partial(jax.jit, static_argnums=2)
def _decompose(collected: moments.Moments, removed: jax.Array, count: int) -> krylov.Spectrum:
    # The device's default precision may be lower (TF32, bfloat16): too low for eigenvectors.
    with jax.default_matmul_precision("highest"):

        def one_class(scatter: jax.Array) -> tuple[jax.Array, jax.Array]:
            values, vectors = jnp.linalg.eigh(scatter)
            return values[::-1], _leading(vectors[:, ::-1], removed, count)

        values, vectors = jax.lax.map(one_class, collected.scatter)
        freedom = jnp.maximum(collected.size - 1, 1)[:, None]
        return krylov.Spectrum(collected.mean, values / freedom, vectors)


def _leading(vectors: jax.Array, removed: jax.Array, count: int) -> jax.Array:
    # Rounding leaves some of the range in the vectors of small variance.
    return moments.outside(vectors[:, :count].T, removed).T


def _by_svd(
    rows: EmbeddedRows, origin: np.ndarray, removed: np.ndarray, count: int
) -> krylov.Spectrum:
    members = [np.flatnonzero(rows.label == label) for label in range(len(origin))]
    most = max(map(len, members))
    size = 4 * origin.size * most
    if size > _SVD_BYTES:
        raise UserError(
            f"solver 'svd' holds all rows in memory, here {size >> 20} MiB; take solver "
            "'covariance' or 'randomized'"
        )
    padded = np.zeros((len(origin), most, origin.shape[1]), np.float32)
    for label, own in enumerate(members):
        padded[label, : len(own)] = np.asarray(rows.embedding[own]) - origin[label]
    sizes = np.array([len(own) for own in members], np.int32)
    return _decompose_rows(padded, sizes, removed, count)


@functools.partial(jax.jit, static_argnums=3)
def _decompose_rows(
    offset: jax.Array, sizes: jax.Array, removed: jax.Array, count: int
) -> krylov.Spectrum:
    with jax.default_matmul_precision("highest"):

        def one_class(arguments: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
            own, size = arguments
            own = moments.outside(own, removed)
            mean = own.sum(axis=0) / jnp.maximum(size, 1)
            centred = jnp.where(jnp.arange(len(own))[:, None] < size, own - mean, 0)
            _, singular, right = jnp.linalg.svd(centred, full_matrices=False)
            values = singular**2 / jnp.maximum(size - 1, 1)
            return mean, values, _leading(right.T, removed, count)

        return krylov.Spectrum(*jax.lax.map(one_class, (offset, sizes)))


_SOLVERS = {"covariance": _by_covariance, "randomized": krylov.solve, "svd": _by_svd}


def orientation(rows: EmbeddedRows, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Returns the sign of the third moment along each direction, [c, k]; 1 where it is 0.

    Args:
        rows: The rows.
        mean: Mean of each class, [c, d].
        directions: Columns, [c, d, k].
    """
    like = jnp.zeros((len(mean), directions.shape[2]))
    third = stream.reduce(_add_third, stream.add_up, like, rows, len(mean), (mean, directions))
    return np.where(np.asarray(third) < 0, np.float32(-1), np.float32(1))


def _add_third(
    state: jax.Array,
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    mean: jax.Array,
    directions: jax.Array,
) -> jax.Array:
    along = (rows - mean[label]) @ directions[label]
    cubes = jnp.where(jnp.arange(len(rows))[:, None] < count, along**3, 0)
    return state.at[label].add(cubes.sum(axis=0))


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
