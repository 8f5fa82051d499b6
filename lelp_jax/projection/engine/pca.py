"""Principal components of each class, outside the span of the teacher's output weights.

n examples, d embedding dims, c classes, k components.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from lelp_jax.core import parallel
from lelp_jax.core.errors import UserError
from lelp_jax.projection.engine import krylov, moments, stream
from lelp_jax.projection.engine.rows import EmbeddedRows, rescale

# Replicates and methods ask for the components of the same rows: more are kept than one asks for.
_LEAST_COMPONENTS = 64
_KEPT = 8
_FITTED: dict[tuple[Any, ...], ClassPCA] = {}
# Covariances of all classes and the decomposition's copy of them.
_COVARIANCE_BYTES = 4 << 30
# Larger matrices gain from several threads.
_MOST_DIMS_OF_ONE_THREAD = 2048


class ClassPCA(NamedTuple):
    """Principal components per class, largest variance first.

    Attributes:
        mean: Mean of the class's rows outside the span taken out, [c, d] float32.
        components: Eigenvectors of the class's covariance in columns, [c, d, k] float32; beyond
            the rank they have no meaning.
        variance: Eigenvalues, [c, k] float64, which holds the square of any embedding.
        rank: Numerical rank of the class's covariance, [c] int, counted among the components found,
            which are at least those asked for.
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    rank: np.ndarray


def range_basis(output_weights: np.ndarray) -> np.ndarray:
    """Computes an orthonormal basis of the range of the output weights, [d, rank] float32.

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
    """Computes the leading principal components of every class.

    What was found for rows of a name is kept in memory and given again.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [d, c]; its number of columns is the number of classes.
        null_space: Whether embeddings are first projected on the complement of the weights' range
            (LELP, section 3.1: distillation of the logits already carries what lies along it).
        count: How many components are wanted; at least these are given, as far as there are any.
        solver: "covariance" collects the covariances in one pass and decomposes them; "randomized"
            takes several passes and memory that grows with d rather than its square; "auto" takes
            the covariances where they fit into memory (d up to 16,384 with two classes), and is
            randomized elsewhere.

    Raises:
        UserError: An embedding is not finite.
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
    # Scaled before anything is squared, and measured beside the rows as they were.
    scaled, unit = rescale(rows)
    origin = stream.origin(scaled, num_classes)
    found = _SOLVERS[solver](scaled, origin, removed, count)
    result = _ranked(scaled, origin, removed, found, count)
    result = result._replace(mean=unit * result.mean, variance=unit**2 * result.variance)
    if rows.name:
        while len(_FITTED) >= _KEPT:
            _FITTED.pop(next(iter(_FITTED)))
        _FITTED[key] = result
    return result


def _ranked(
    rows: EmbeddedRows, origin: np.ndarray, removed: np.ndarray, found: krylov.Spectrum, count: int
) -> ClassPCA:
    """Computes the components with their mean where the rows are, and the rank."""
    wide, values = removed.astype(np.float64), np.asarray(found.values)
    if not np.isfinite(values).all():
        stream.refuse_bad_rows(rows)
    # In float64, as most of a large mean may lie in the span and cancel.
    centre = origin.astype(np.float64)
    mean = centre - centre @ wide @ wide.T + np.asarray(found.mean, np.float64)
    total = np.asarray(found.square, np.float64)
    rounding = moments.rounding_variance(total, np.square(centre).sum(axis=1) + total)
    sizes = np.bincount(rows.label[rows.label >= 0], minlength=len(origin))
    return ClassPCA(
        mean.astype(np.float32),
        np.asarray(found.vectors)[:, :, :count],
        np.maximum(values[:, :count], 0).astype(np.float64),
        count_rank(values, rounding, sizes, origin.shape[1]),
    )


def count_rank(values: np.ndarray, rounding: np.ndarray, size: np.ndarray, dims: int) -> np.ndarray:
    """Counts the eigenvalues of each class's covariance that are more than rounding, [c] int.

    Args:
        values: Eigenvalues, largest first, [c, k].
        rounding: As by `moments.rounding_variance`, [c].
        size: Rows of each class, [c].
        dims: d.
    """
    # A decomposition leaves a few eps of the largest eigenvalue in the others.
    floor = np.maximum(max(dims, 10) * np.finfo(np.float32).eps * values[:, :1], rounding[:, None])
    # Centred rows of a class span at most one dimension less than there are rows.
    return np.minimum((values > floor).sum(axis=1), np.maximum(size - 1, 0))


def _by_covariance(
    rows: EmbeddedRows, origin: np.ndarray, removed: np.ndarray, count: int
) -> krylov.Spectrum:
    collected = moments.collect(rows, len(origin), origin, removed)
    return _decompose(collected, jnp.asarray(removed), count)


def _decompose(collected: moments.Moments, removed: jax.Array, count: int) -> krylov.Spectrum:
    if parallel.is_cpu():
        values, vectors = _eigh_on_host(np.asarray(collected.scatter), count)
    else:
        values, vectors = _eigh(collected.scatter, count)
    freedom = jnp.maximum(collected.size - 1, 1)[:, None]
    return krylov.Spectrum(
        collected.mean,
        jnp.asarray(values) / freedom,
        _outside(jnp.asarray(vectors), removed),
        collected.square / jnp.maximum(collected.size, 1),
    )


def _eigh_on_host(scatter: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes the largest eigenvalues [c, k] and their eigenvectors [c, d, k] with LAPACK."""
    dims = scatter.shape[1]
    values = np.full((len(scatter), count), np.nan, np.float32)
    vectors = np.zeros((len(scatter), dims, count), np.float32)
    # The threads of a small decomposition cost several times more than they gain: they spin.
    threads = 1 if dims <= _MOST_DIMS_OF_ONE_THREAD else None
    with threadpool_limits(limits=threads):
        for label, own in enumerate(scatter):
            # What is not finite is left to the caller, which names the row.
            if np.isfinite(own).all():
                found = scipy.linalg.eigh(own, subset_by_index=(dims - count, dims - 1))
                values[label], vectors[label] = found[0][::-1], found[1][:, ::-1]
    return values, vectors


@functools.partial(jax.jit, static_argnums=1)
def _eigh(scatter: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    # The device's default precision may be lower (TF32, bfloat16): too low for eigenvectors.
    with jax.default_matmul_precision("highest"):
        # One class after the other, which takes the memory of one.
        values, vectors = jax.lax.map(jnp.linalg.eigh, scatter)
        return values[:, : -count - 1 : -1], vectors[:, :, : -count - 1 : -1]


@jax.jit
def _outside(vectors: jax.Array, removed: jax.Array) -> jax.Array:
    """Takes out of vectors [c, d, k] what rounding leaves of the span, in those of low variance."""
    with jax.default_matmul_precision("highest"):
        return vectors - removed @ (removed.T @ vectors)


_SOLVERS = {"covariance": _by_covariance, "randomized": krylov.solve}


def orientation(rows: EmbeddedRows, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Computes the sign of the third moment along each direction, [c, k]; 1 where it is 0.

    Args:
        rows: The rows.
        mean: Mean of each class, [c, d].
        directions: Columns, [c, d, k].
    """
    like = jnp.zeros((len(mean), directions.shape[2]))
    rows, unit = rescale(rows)
    constants = (mean / unit, directions)
    third = stream.reduce(_add_third, stream.add_up, like, rows, len(mean), constants)
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


def check_rank(pca: ClassPCA, wanted: int, where: str, needed: int | None = None) -> None:
    """Refuses more directions than a class varies in.

    Args:
        pca: The classes' components.
        wanted: Pseudo-subclasses wanted in every class.
        where: What the directions are of, for the message ("null-space embedding").
        needed: Directions that these take; one for each by default.

    Raises:
        UserError: A class has a smaller numerical rank.
    """
    if (pca.rank < (wanted if needed is None else needed)).any():
        worst = int(np.argmin(pca.rank))
        least = pca.rank[worst]
        hint = f"take num_subclasses of at most {least}" if least else "leave the method out"
        raise UserError(
            f"num_subclasses {wanted} exceeds the rank {least} of the {where} of class {worst}; "
            f"{hint}"
        )
