"""Lloyd's iterations over rows that need not fit into memory.

b rows of a batch, d embedding dims, m dims of a point, c classes, k centres.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.projection.engine import lloyd, stream
from lelp_jax.projection.engine.gather import Project
from lelp_jax.projection.engine.rows import EmbeddedRows

_LEAST_GAIN = 1e-4


class Refined(NamedTuple):
    """Centres and how well they fit.

    Attributes:
        centers: [c, k, m] float32.
        inertia: Sum of the squared distances of the class's rows to their nearest centre, [c].
        passes: Passes over the rows.
    """

    centers: np.ndarray
    inertia: np.ndarray
    passes: int


class _Sums(NamedTuple):
    """Rows of each centre, [c, k] int32, their sums, [c, k, m], and the inertia, [c]."""

    size: jax.Array
    total: jax.Array
    inertia: jax.Array


def refine(
    rows: EmbeddedRows,
    num_classes: int,
    centers: np.ndarray,
    passes: int,
    *,
    project: Project,
    constants: tuple[Any, ...],
) -> Refined:
    """Moves centres to the means of the rows nearest to them, one pass over the rows each time.

    It ends when the moves would lower no class's inertia by more than 1e-4 of it. A centre
    without rows stays where it is.

    Args:
        rows: The rows.
        num_classes: Number of classes.
        centers: Centres to start from, [c, k, m].
        passes: Passes at most, one at least.
        project: Computes the points of a batch.
        constants: Arrays that it reads.
    """
    start = _Sums(
        jnp.zeros(centers.shape[:2], jnp.int32),
        jnp.zeros(centers.shape),
        jnp.zeros(num_classes),
    )
    for number in range(1, passes + 1):
        sums = stream.reduce(
            _step(project), stream.add_up, start, rows, num_classes, (centers, *constants)
        )
        owned, total, inertia = map(np.asarray, sums)
        moved = np.where(owned[..., None] > 0, total / np.maximum(owned, 1)[..., None], centers)
        gain = (owned * np.square(moved - centers).sum(axis=2)).sum(axis=1)
        # The last pass measures the centres that are returned.
        if number == passes or (gain <= _LEAST_GAIN * inertia).all():
            break
        centers = moved.astype(np.float32)
    return Refined(centers, inertia, number)


@functools.lru_cache(maxsize=64)
def _step(project: Project) -> stream.Step:
    """Returns the step of a pass, the same object for the same `project`: it names a program."""
    return functools.partial(_add, project)


def _add(
    project: Project,
    sums: _Sums,
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    centers: jax.Array,
    *constants: jax.Array,
) -> _Sums:
    points = project(rows, label, count, *constants)
    mask = jnp.arange(len(rows)) < count
    own = centers[label]
    belongs = lloyd.one_hot(lloyd.nearest(points, mask, own), len(own))
    distance = jnp.where(mask, jnp.square(points - belongs.T @ own).sum(axis=1), 0)
    return _Sums(
        sums.size.at[label].add(belongs.sum(axis=1).astype(jnp.int32)),
        sums.total.at[label].add(belongs @ points),
        sums.inertia.at[label].add(distance.sum()),
    )
