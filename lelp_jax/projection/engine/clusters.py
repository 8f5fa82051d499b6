"""k-means of every class at once, on all devices.

n rows of a class in this process, b rows of a batch, c classes, d dims, k centres.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import parallel, seeds
from lelp_jax.projection.engine import gather, lloyd, per_class, refine, seeding
from lelp_jax.projection.engine.gather import Project
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.projection.engine.seeding import Part
from lelp_jax.storage.rows import Selection

PASSES = 300
# Points beyond it are read anew in every pass: memory does not grow with the number of rows.
MEMORY = 256 << 20
# Of a class whose points do not fit into memory.
_ROWS_PER_CENTER = 50
# Starting from the clusters of many rows, Lloyd's iterations gain little after a few.
_STREAM_PASSES = 20
# Beyond the rounding of a sum over many rows.
_EQUAL_INERTIA = 1e-5
# The axis over which restarts are mapped.
_RESTART = "restart"


class Clusters(NamedTuple):
    """Clusters of each class.

    Attributes:
        centers: [c, k, d] float32.
        inertia: Sum of the squared distances of the class's rows to their nearest centre, [c].
        passes: Iterations done, [c].
        distinct: How many of the class's rows differ by more than rounding, at most k, [c].
        mean_square: Mean squared norm of the class's points, [c].
    """

    centers: np.ndarray
    inertia: np.ndarray
    passes: np.ndarray
    distinct: np.ndarray
    mean_square: np.ndarray


class _Settings(NamedTuple):
    clusters: int
    restarts: int
    passes: int


def fit(
    points: np.ndarray,
    index: np.ndarray,
    mask: np.ndarray,
    *,
    count: int,
    seed: int,
    restarts: int,
    passes: int,
    rounding: np.ndarray | None = None,
) -> Clusters:
    """Fits k-means to each class.

    Neither the order of the rows nor the devices and processes they lie on change which rows the
    centres start from. A class with fewer distinct rows than centres has centres that coincide.

    Args:
        points: This process's rows by class, offsets from a point near the class's mean,
            [c, n, d] float32, finite also beyond the mask; n is the same in every process.
        index: Position in the data set of each row, [c, n] int64.
        mask: Which rows there are, [c, n] bool.
        count: k.
        seed: Seed of the starts.
        restarts: Starts, of which the one with the least inertia is taken.
        passes: Iterations at most.
        rounding: Distance up to which the points of a class count as equal, [c]; at least that of
            a matrix product with rows of the largest norm.
    """
    rounding = np.zeros(len(points)) if rounding is None else rounding
    arguments = per_class.place(points, mask, _words(index, seed), rounding)
    _, block = per_class.part_size(points.shape[1], points.shape[2])
    settings = _Settings(count, restarts, passes)
    found = Clusters(*per_class.run(_one_class, settings, block, arguments))
    if (found.distinct < count).any():
        distinct = per_class.run(_one_class_distinct, settings, block, arguments)
        found = found._replace(distinct=distinct)
    return found


def fit_rows(
    rows: EmbeddedRows,
    num_classes: int,
    *,
    count: int,
    seed: int,
    restarts: int,
    passes: int,
    project: Project,
    constants: tuple[Any, ...],
    memory: int,
) -> Clusters:
    """Fits k-means to points computed from the rows of each class.

    Where the points do not fit into memory, all restarts see some rows of each class, and passes
    over all rows follow, which start from the best. `distinct` and `mean_square` are then those of
    the former, and `passes` counts the latter.

    Args:
        rows: The rows; those without a class are left out.
        num_classes: Number of classes.
        count: k.
        seed: Seed of the starts and of which rows are taken.
        restarts: Starts, of which the one with the least inertia is taken.
        passes: Iterations at most.
        project: `(rows [b, d], label [], count [], *constants) -> points [b, m]`, offsets from a
            point near the class's mean; pure and module-level.
        constants: Arrays that it reads.
        memory: Bytes that the points may take, in all processes together.
    """
    dims = gather.point_dims(rows, project, constants)
    most = max(memory // (4 * dims * num_classes), _ROWS_PER_CENTER * count)
    some = rows
    if np.bincount(rows.label[rows.label >= 0], minlength=num_classes).max() > most:
        some = _some_of_each_class(rows, num_classes, most, seed)
    size, _ = per_class.part_size(gather.most_rows(some, num_classes), dims)
    points = gather.by_class(
        some,
        num_classes,
        size * parallel.own_mesh().size,
        project=project,
        constants=constants,
    )
    found = fit(
        points.points,
        points.number,
        points.mask,
        count=count,
        seed=seed,
        restarts=restarts,
        passes=passes,
        rounding=per_class.relative_rounding(dims) * points.largest,
    )
    if some is rows:
        return found
    refined = refine.refine(
        rows,
        num_classes,
        found.centers,
        min(passes, _STREAM_PASSES),
        project=project,
        constants=constants,
    )
    return found._replace(
        centers=refined.centers,
        inertia=refined.inertia,
        passes=np.full(num_classes, refined.passes),
    )


def spread(found: Clusters, rows: EmbeddedRows) -> np.ndarray:
    """Returns the mean squared distance of a class's rows to their nearest centre, [c] float32.

    It is above zero, at least the rounding of squared distances.

    Args:
        found: What `fit_rows` returned.
        rows: What it was given.
    """
    sizes = np.bincount(rows.label[rows.label >= 0], minlength=len(found.inertia))
    limits = np.finfo(np.float32)
    mean = found.inertia / np.maximum(sizes, 1)
    floor = np.maximum(limits.eps * found.mean_square, limits.tiny)
    return np.maximum(mean, floor).astype(np.float32)


def _some_of_each_class(rows: EmbeddedRows, num_classes: int, most: int, seed: int) -> EmbeddedRows:
    """Returns at most so many rows of each class, those whose index has the smallest hash."""
    words = seeds.hash_words(seeds.derive(seed, "rows"), rows.index)
    drawn = []
    for label in range(num_classes):
        own = np.flatnonzero(rows.label == label)
        drawn.append(own[np.argsort(words[own], kind="stable")[:most]])
    positions = np.sort(np.concatenate(drawn))
    some = Selection(rows.embedding, positions)
    return EmbeddedRows(some, rows.index[positions], rows.label[positions])


def _words(index: np.ndarray, seed: int) -> np.ndarray:
    """Returns random bits of each row, [c, n, 2] uint32."""
    words = [
        seeds.hash_words(seeds.derive(seed, "clusters", label), own)
        for label, own in enumerate(index)
    ]
    return np.stack(words).view(np.uint32).reshape(*index.shape, 2)


def _one_class(
    settings: _Settings, beside: tuple[str, ...], block: int, part: Part
) -> tuple[jax.Array, ...]:
    """Returns the fields of `Clusters` for one class, of its best restart."""
    beside = (*beside, _RESTART)

    def start(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        return seeding.plus_plus(part, number, settings.clusters)

    def finish(centers: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        state = lloyd.iterate(part, centers, passes=settings.passes, block=block, beside=beside)
        inertia = lloyd.inertia(part, state.centers, block=block, beside=beside)
        return state.centers, inertia, state.passes

    starts, distinct = jax.vmap(start)(jnp.arange(settings.restarts))
    centers, inertia, passes = jax.vmap(finish, axis_name=_RESTART)(starts)
    best = _first_of_the_best(inertia)
    squares, size = jax.lax.psum((part.squares.sum(), part.mask.sum()), parallel.DATA)
    mean_square = squares / jnp.maximum(size, 1)
    return centers[best], inertia[best], passes[best], distinct.max(), mean_square


def _first_of_the_best(inertia: jax.Array) -> jax.Array:
    """Returns the first restart whose inertia, [restarts], is the least but for rounding.

    Restarts that end in the same clusters number them differently, and which of them is ahead by
    rounding depends on the devices.
    """
    return jnp.argmax(inertia <= (1 + _EQUAL_INERTIA) * inertia.min())


def _one_class_distinct(
    settings: _Settings, beside: tuple[str, ...], block: int, part: Part
) -> jax.Array:
    del beside, block
    return seeding.distinct(part, settings.clusters)
