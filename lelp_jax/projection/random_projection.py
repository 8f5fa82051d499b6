"""Random directions: the control of LELP that does not know where a class varies.

LELP (arXiv 2409.20449, section 3 and appendix C) compares with it.

b rows of a batch, d embedding dims, c classes, s subclasses, r dims taken out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.projection import linear
from lelp_jax.projection.base import Projector
from lelp_jax.projection.engine import moments, pca, stream
from lelp_jax.projection.engine.rows import EmbeddedRows, rescale
from lelp_jax.projection.linear import LinearProjection


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, hyperparameters: Mapping[str, Value], seed: int
) -> LinearProjection:
    """Draws directions for each class; mean and variance of the scores are those of its rows.

    Args:
        rows: Rows to fit; `rows.label` is the class each is fitted in.
        output_weights: [d, c].
        hyperparameters: `num_subclasses`, `null_space`, `center` and `standardize`.
        seed: Seed of the directions.

    Raises:
        UserError: `num_subclasses` exceeds the dims that directions are drawn in, a class does not
            vary along them, or an embedding is not finite.
    """
    count, in_null_space = (
        int(hyperparameters["num_subclasses"]),
        bool(hyperparameters["null_space"]),
    )
    where = "null-space embedding" if in_null_space else "embedding"
    dims, num_classes = output_weights.shape
    removed = pca.range_basis(output_weights)[:, slice(None) if in_null_space else slice(0)]
    room = dims - removed.shape[1]
    if count > room:
        hint = f"take num_subclasses of at most {room}" if room else "leave the method out"
        raise UserError(f"num_subclasses {count} exceeds the {room} dims of the {where}; {hint}")
    basis = directions(num_classes, count, removed, seed)
    mean, variance, rounding = _moments(rows, basis)
    still = variance.mean(axis=1) <= rounding
    if still.any():
        raise UserError(
            f"class {int(np.argmax(still))} does not vary in its {where}; fit on more rows, or "
            "leave the method out"
        )
    return linear.along_directions(basis, mean, variance, hyperparameters)


def directions(num_classes: int, count: int, removed: np.ndarray, seed: int) -> np.ndarray:
    """Draws random orthonormal columns, uniform among those orthogonal to a span, [c, d, s].

    Args:
        num_classes: c.
        count: s, at most d - r.
        removed: Orthonormal columns, [d, r].
        seed: Seed of the draw.
    """
    shape = (num_classes, len(removed), count)
    noise = np.asarray(jax.random.normal(jax.random.key(seed), shape), np.float64)
    # Orthonormal in float64 too: the last columns are small remainders of the noise.
    wide = np.linalg.qr(removed.astype(np.float64))[0]
    basis, triangle = np.linalg.qr(noise - wide @ (wide.T @ noise))
    # With a positive diagonal the factorisation is unique, and its columns are Haar-distributed
    # (Mezzadri, arXiv math-ph/0609050, section 5); LAPACK leaves the signs to its algorithm.
    signs = np.where(np.diagonal(triangle, axis1=1, axis2=2) < 0, -1, 1)
    return (basis * signs[:, None]).astype(np.float32)


class _DirectionSums(NamedTuple):
    """Sums over the rows of each class, of their offsets from the origin.

    Their number [c], offsets [c, d], squares along the directions [c, s] and in all [c].
    """

    size: jax.Array
    offset: jax.Array
    along: jax.Array
    squares: jax.Array


def _moments(rows: EmbeddedRows, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the mean [c, d], the variance along directions [c, s] and its rounding error [c]."""
    num_classes, dims, count = basis.shape
    rows, unit = rescale(rows)
    origin = stream.origin(rows, num_classes)
    shapes = ((), (dims,), (count,), ())
    like = _DirectionSums(*(jnp.zeros((num_classes, *shape)) for shape in shapes))
    found = stream.reduce(_add, stream.add_up, like, rows, num_classes, (origin, basis))
    sums = jax.tree.map(lambda total: np.asarray(total, np.float64), found)
    if not all(np.isfinite(total).all() for total in sums):
        stream.refuse_bad_rows(rows)
    size = np.maximum(sums.size, 1)
    offset = sums.offset / size[:, None]
    mean = origin + offset
    # The origin is a mean of rows, so that little is lost in the difference.
    between = size[:, None] * np.square(np.einsum("cd,cds->cs", offset, basis))
    variance = np.maximum(sums.along - between, 0) / np.maximum(size - 1, 1)[:, None]
    total = sums.squares / size
    rounding = moments.rounding_variance(total, np.square(mean).sum(axis=1) + total)
    return (unit * mean).astype(np.float32), unit**2 * variance, unit**2 * rounding


def _add(
    state: _DirectionSums,
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    origin: jax.Array,
    basis: jax.Array,
) -> _DirectionSums:
    offset = moments.offsets(rows, label, count, origin)
    along = offset @ basis[label]
    return _DirectionSums(
        state.size.at[label].add(count),
        state.offset.at[label].add(offset.sum(axis=0)),
        state.along.at[label].add(jnp.square(along).sum(axis=0)),
        state.squares.at[label].add(jnp.square(offset).sum()),
    )


PROJECTOR = Projector(
    name="random_projection",
    version=2,
    search_space={
        "num_subclasses": search_space.NUM_SUBCLASSES,
        "null_space": search_space.NULL_SPACE,
        "center": search_space.CENTER,
        "standardize": search_space.STANDARDIZE,
        "membership": search_space.MEMBERSHIP,
        "fit_on": search_space.FIT_ON,
    },
    fit=fit,
    projection=LinearProjection,
)
