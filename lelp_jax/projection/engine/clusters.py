"""k-means of each class, over rows that need not fit into memory.

Where the points of all classes fit, every class is clustered on one device, classes side by side.
Otherwise some rows of each class are, and passes over all rows refine the centres.

b rows of a batch, n rows of a class, d embedding dims, m dims of a point, c classes, k centres.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import parallel, seeds
from lelp_jax.projection.engine import kmeans, sample, stream
from lelp_jax.projection.engine.rows import ROUNDING, EmbeddedRows, rescale
from lelp_jax.storage.rows import Selection

# Points beyond it are read anew in every pass: memory does not grow with the number of rows.
MEMORY = 256 << 20
# Of a class whose points do not fit into memory, at least.
_ROWS_PER_CENTER = 50
# Starting from the clusters of many rows, Lloyd's iterations gain little after a few.
_MOST_PASSES = 20
_LEAST_GAIN = 1e-4
_BATCH_BYTES = 24 << 20


class Options(NamedTuple):
    """What is asked for.

    Attributes:
        num_clusters: k.
        seed: Seed of the starts, and of which rows are taken where not all fit into memory.
        restarts: Starts, of which the one with the least inertia is taken.
        iterations: Iterations at most.
    """

    num_clusters: int
    seed: int
    restarts: int = 4
    iterations: int = 300


class Clusters(NamedTuple):
    """Clusters of each class.

    Attributes:
        centers: From the class's mean, [c, k, m] float32.
        inertia: Sum of the squared distances of the class's rows to their nearest centre, [c]; of
            `fit` float64, which holds the square of any embedding.
        iterations: Iterations done; passes over all rows where not all fit into memory, [c].
        distinct: How many of the class's rows differ by more than rounding, at most k, [c].
        size: Rows of each class, [c].
        mean_square: Mean squared norm of the class's points, [c].
    """

    centers: np.ndarray
    inertia: np.ndarray
    iterations: np.ndarray
    distinct: np.ndarray
    size: np.ndarray
    mean_square: np.ndarray

    @property
    def radius(self) -> np.ndarray:
        """Root mean squared distance of the class's rows to their nearest centre, [c] float32.

        It is above zero: at least the rounding of squared distances, and 1 where all rows are one.
        """
        floor = np.finfo(np.float32).eps * self.mean_square
        radius = np.sqrt(np.maximum(self.inertia / np.maximum(self.size, 1), floor))
        return np.where(radius > 0, radius, 1.0).astype(np.float32)


class Points(NamedTuple):
    """Points of all classes in memory.

    Attributes:
        points: [c, n, m] float32, the rows of each class first, zeros after them.
        number: Position in the data set of each row, [c, n] int64.
        size: Rows of each class, [c] int32.
        rounding: Distance up to which the points of a class count as equal, [c] float32.
    """

    points: np.ndarray
    number: np.ndarray
    size: np.ndarray
    rounding: np.ndarray


class _Sums(NamedTuple):
    """Rows of each centre, [c, k] int32, their sums, [c, k, m], and the inertia, [c]."""

    size: jax.Array
    total: jax.Array
    inertia: jax.Array


def fit(
    rows: EmbeddedRows, mean: np.ndarray, options: Options, basis: np.ndarray | None = None
) -> Clusters:
    """Fits k-means to the rows of each class.

    Neither the order of the rows nor the number of devices and processes changes which rows the
    centres start from. A class with fewer distinct rows than centres has centres that coincide.

    Args:
        rows: The rows; those without a class are left out.
        mean: Mean of each class, [c, d].
        options: What is asked for.
        basis: Columns along which rows are clustered, [c, d, m]; along all dims if None.
    """
    rows, unit = rescale(rows)
    found = _fit_scaled(rows, mean / np.float32(unit), options, basis)
    return found._replace(
        centers=unit * found.centers,
        inertia=unit**2 * found.inertia.astype(np.float64),
        mean_square=unit**2 * found.mean_square.astype(np.float64),
    )


def _fit_scaled(
    rows: EmbeddedRows, mean: np.ndarray, options: Options, basis: np.ndarray | None
) -> Clusters:
    num_classes, dims = len(mean), mean.shape[1] if basis is None else basis.shape[2]
    sizes = np.bincount(rows.label[rows.label >= 0], minlength=num_classes)
    most = max(MEMORY // (4 * dims * num_classes), _ROWS_PER_CENTER * options.num_clusters)
    if sizes.max() <= most:
        return fit_points(collect(rows, mean, basis), options)
    drawn = sample.draw(rows, np.minimum(sizes, most), seeds.derive(options.seed, "rows"))
    positions = np.sort(np.concatenate(drawn))
    some = EmbeddedRows(
        Selection(rows.embedding, positions), rows.index[positions], rows.label[positions]
    )
    found = fit_points(collect(some, mean, basis), options)
    return refine(rows, mean, found, min(options.iterations, _MOST_PASSES), basis)


def collect(rows: EmbeddedRows, mean: np.ndarray, basis: np.ndarray | None) -> Points:
    """Reads the rows of each class as offsets from its mean; see `fit`."""
    num_classes, dims = len(mean), mean.shape[1] if basis is None else basis.shape[2]
    members = [rows.index[rows.label == label] for label in range(num_classes)]
    size = np.array([len(own) for own in members], np.int32)
    room, _ = kmeans.padded_rows(int(size.max()), dims)
    points = np.zeros((num_classes, room, dims), np.float32)
    index = np.zeros((num_classes, room), np.int64)
    for label, own in enumerate(members):
        index[label, : len(own)] = own
    largest = np.zeros(num_classes, np.float32)
    # Every process reads a share of the rows and leaves zeros where those of the others go.
    share = parallel.pick_own_share(len(rows))
    filled = np.bincount(np.maximum(rows.label[: share.start] + 1, 0), minlength=num_classes + 1)[
        1:
    ]
    stride = max(_BATCH_BYTES // (4 * mean.shape[1]), 1)
    for start in range(share.start, share.stop, stride):
        stretch = slice(start, min(start + stride, share.stop))
        block = np.asarray(rows.embedding[stretch], np.float32)
        for label in range(num_classes):
            offset = block[rows.label[stretch] == label] - mean[label]
            target = slice(filled[label], filled[label] + len(offset))
            points[label, target] = offset if basis is None else offset @ basis[label]
            norms = np.sqrt(np.einsum("nd,nd->n", offset, offset))
            largest[label] = max(largest[label], norms.max(initial=0))
            filled[label] = target.stop
    # Of a product with the basis, which does not make the offsets' rounding smaller, and of the
    # rows themselves, which a common mean far from zero leaves few digits for their differences.
    rounding = np.maximum(
        kmeans.relative_rounding(dims) * largest, ROUNDING * np.linalg.norm(mean, axis=1)
    ).astype(np.float32)
    points, rounding = parallel.gather_processes((points, rounding))
    return Points(functools.reduce(np.add, points), index, size, rounding.max(axis=0))


def fit_points(points: Points, options: Options) -> Clusters:
    """Fits k-means to the points of each class.

    Args:
        points: The points.
        options: What is asked for.
    """
    num_classes, room, dims = points.points.shape
    words = np.stack(
        [
            seeds.hash_words(seeds.derive(options.seed, "clusters", label), own)
            for label, own in enumerate(points.number)
        ]
    )
    arguments = (
        points.points,
        words.view(np.uint32).reshape(num_classes, room, 2),
        points.size,
        points.rounding,
    )
    # Each class on one device: there is nothing to add up between devices.
    devices = parallel.make_local_mesh().size
    mesh = parallel.make_local_mesh(max(n for n in range(1, devices + 1) if num_classes % n == 0))
    placed = tuple(parallel.put_on_each(mesh, np.split(array, mesh.size)) for array in arguments)
    iterations = jax.device_put(np.int32(options.iterations), parallel.make_sharding(mesh))
    shape = (options.num_clusters, options.restarts, kmeans.padded_rows(room, dims)[1])
    arguments = (*placed, iterations)
    program, _ = parallel.compile_program(_fit_classes, (shape, mesh), arguments)
    found = jax.tree.map(
        lambda leaf: np.asarray(leaf).reshape(num_classes, *leaf.shape[2:]), program(*arguments)
    )
    # Processes may round differently.
    found = parallel.take_from_first_process(found)
    distinct = found.distinct.copy()
    for label in np.flatnonzero(distinct < options.num_clusters):
        own = points.points[label, : points.size[label]]
        distinct[label] = sample.distinct(own, options.num_clusters, float(points.rounding[label]))
    squares = np.array([np.vdot(own, own) for own in points.points])
    return Clusters(
        found.centers,
        found.inertia,
        found.iterations,
        distinct,
        points.size,
        squares / np.maximum(points.size, 1),
    )


def _fit_classes(static: Any, *arrays: jax.Array) -> kmeans.Output:
    shape, mesh = static

    def one_device(*arrays: jax.Array) -> kmeans.Output:
        *classes, iterations = arrays

        def one_class(members: tuple[jax.Array, ...]) -> kmeans.Output:
            return kmeans.fit(kmeans.describe(*members), iterations, shape)

        return jax.lax.map(one_class, tuple(classes))

    with jax.default_matmul_precision("highest"):
        return parallel.run_on_each_device(one_device, mesh, arrays[:-1], arrays[-1:])


def refine(
    rows: EmbeddedRows, mean: np.ndarray, start: Clusters, passes: int, basis: np.ndarray | None
) -> Clusters:
    """Moves centres to the means of the rows nearest to them, one pass over the rows each time.

    It ends when the moves would lower no class's inertia by more than 1e-4 of it. A centre
    without rows stays where it is.

    Args:
        rows: The rows.
        mean: Mean of each class, [c, d].
        start: Clusters to start from.
        passes: Passes at most, one at least.
        basis: As for `fit`.
    """
    centers = start.centers
    like = _Sums(
        jnp.zeros(centers.shape[:2], jnp.int32), jnp.zeros(centers.shape), jnp.zeros(len(centers))
    )
    for number in range(1, passes + 1):
        constants = (centers, mean) if basis is None else (centers, mean, basis)
        sums = stream.reduce(_add, stream.add_up, like, rows, len(mean), constants)
        size, total, inertia = map(np.asarray, sums)
        moved = np.where(size[..., None] > 0, total / np.maximum(size, 1)[..., None], centers)
        gain = (size * np.square(moved - centers).sum(axis=2)).sum(axis=1)
        # The last pass measures the centres that are returned.
        if number == passes or (gain <= _LEAST_GAIN * inertia).all():
            break
        centers = moved.astype(np.float32)
    return start._replace(
        centers=centers,
        inertia=inertia,
        iterations=np.full(len(centers), number),
        size=size.sum(axis=1),
    )


def _add(
    sums: _Sums,
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    centers: jax.Array,
    mean: jax.Array,
    *basis: jax.Array,
) -> _Sums:
    points = rows - mean[label]
    for columns in basis:
        points = points @ columns[label]
    mask = jnp.arange(len(rows)) < count
    own = centers[label]
    belongs = kmeans.one_hot(kmeans.nearest(points, mask, own), len(own))
    distance = jnp.where(mask, jnp.square(points - belongs.T @ own).sum(axis=1), 0)
    return _Sums(
        sums.size.at[label].add(belongs.sum(axis=1).astype(jnp.int32)),
        sums.total.at[label].add(belongs @ points),
        sums.inertia.at[label].add(distance.sum()),
    )
