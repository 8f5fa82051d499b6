"""k-means of points that fit into the memory of one device.

Greedy k-means++ (Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007)
places the centres, Lloyd's iterations move them. `fit` reads from top to bottom: `init` once,
`body` as long as `cond` holds, `finalize` once, all of it for every restart.

Candidates for a centre are drawn by races: each row's time is exponential with its weight as the
rate, and the first ones win. The times follow from a hash of the row's position in the data set, so
the order of the rows does not change who wins.

n rows including padding, d dims, k centres, t candidates, b rows of a block.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import parallel

# Two restarts whose inertias differ by less than this end in the same clusters; beyond the rounding
# of a sum over many rows.
_EQUAL_INERTIA = 1e-5
# Lloyd's iterations end when the squared moves of all centres fall to this share of the mean
# variance of a dim, as in scikit-learn.
_TOLERANCE = 1e-4
_GENERATOR = "threefry2x32"
_LARGEST_BELOW_ONE = 1 - 2.0**-24
# On a processor a block of rows stays in its cache while it is compared with the centres and added
# up; elsewhere it is as large as memory easily allows.
_CACHED_BYTES = 2 << 20
_MOST_CACHED_ROWS = 4096
_MOST_ROWS = 1 << 16
# A step of k-means++ draws at most this many candidates.
_LEAST_ROWS = 16


class Const(NamedTuple):
    """What no iteration changes.

    Attributes:
        points: [n, d].
        squares: Squared norm of each point, [n].
        words: Random bits of each row, [n, 2] uint32.
        size: How many rows exist, [] int32; they come first.
        mask: Which rows exist, [n] bool.
        rounding: Distance up to which points count as equal, [].
        tolerance: Sum of the squared moves of the centres at which iterations end, [].
    """

    points: jax.Array
    squares: jax.Array
    words: jax.Array
    size: jax.Array
    mask: jax.Array
    rounding: jax.Array
    tolerance: jax.Array


class Carry(NamedTuple):
    """What an iteration changes.

    Attributes:
        centers: [k, d].
        label: Nearest centre of each row before the last move, [n] int32; k beyond the mask.
        iteration: Iterations done, [] int32.
        converged: Whether the centres stay, [] bool.
    """

    centers: jax.Array
    label: jax.Array
    iteration: jax.Array
    converged: jax.Array


class Output(NamedTuple):
    """The clusters found.

    Attributes:
        centers: [k, d].
        inertia: Sum of the squared distances of the rows to their nearest centre, [].
        iterations: Iterations done, [] int32.
        distinct: How many of the first centres surely differ, [] int32; k unless there are fewer
            distinct rows or rounding hides a difference.
    """

    centers: jax.Array
    inertia: jax.Array
    iterations: jax.Array
    distinct: jax.Array


class Sums(NamedTuple):
    """Rows of each centre: how many [k] int32, their sum [k, d], which [n]; how many changed []."""

    size: jax.Array
    total: jax.Array
    label: jax.Array
    changed: jax.Array


def padded_rows(rows: int, dims: int) -> tuple[int, int]:
    """Computes how many rows an array is padded to, and how many a block of them has.

    Args:
        rows: Rows to fit.
        dims: Dims of a row.

    Returns:
        n, a multiple of b, and b.
    """
    rows = max(rows, _LEAST_ROWS)
    most = min(_CACHED_BYTES // (4 * dims), _MOST_CACHED_ROWS) if parallel.is_cpu() else _MOST_ROWS
    block = min(_power_of_two(max(most, _LEAST_ROWS)), 2 * _power_of_two(rows - 1))
    # Few sizes, so that sets of nearly equal size share a program.
    multiple = max(block, _power_of_two(rows) // 8)
    return math.ceil(rows / multiple) * multiple, block


def _power_of_two(most: int) -> int:
    return 1 << most.bit_length() - 1


def relative_rounding(dims: int) -> float:
    """Returns the rounding of a product with `dims` columns, relative to the norm of a row."""
    return max(dims, 10) * float(np.finfo(np.float32).eps)


def describe(points: jax.Array, words: jax.Array, size: jax.Array, rounding: jax.Array) -> Const:
    """Computes what every iteration reads.

    Args:
        points: Offsets from a point near their mean, [n, d] float32; zeros beyond `size`.
        words: Random bits of each row, [n, 2] uint32.
        size: How many rows exist, [] int32.
        rounding: Distance up to which points count as equal, []; the rounding of a matrix product
            with the rows is always counted.
    """
    mask, count = jnp.arange(len(points)) < size, jnp.maximum(size, 1)
    squares = jnp.square(points).sum(axis=1)
    mean = mask.astype(jnp.float32) @ points / count
    variance = jnp.maximum(squares.sum() / count - jnp.square(mean).sum(), 0) / len(mean)
    least = relative_rounding(points.shape[1]) * jnp.sqrt(squares.max())
    rounding = jnp.maximum(rounding, least)
    return Const(points, squares, words, size, mask, rounding, _TOLERANCE * variance)


def fit(const: Const, iterations: jax.Array, shape: tuple[int, int, int]) -> Output:
    """Fits k-means from several starts and takes the best; for use inside of compiled programs.

    Args:
        const: The rows.
        iterations: Most iterations of each start, [] int32.
        shape: k, the number of restarts, and b, which divides n.
    """
    num_clusters, restarts, block = shape

    def restart(number: jax.Array) -> Output:
        centers, distinct = init(const, number, num_clusters)
        carry = iterate(const, centers, iterations, block)
        inertia = finalize(const, block, carry.centers)
        return Output(carry.centers, inertia, carry.iteration, distinct)

    # One after the other, each as long as it needs: mapped in one, all would run until the last
    # one has converged.
    found = jax.lax.map(restart, jnp.arange(restarts))
    best = jax.tree.map(lambda leaf: leaf[first_of_the_best(found.inertia)], found)
    return best._replace(distinct=found.distinct.max())


def init(const: Const, restart: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Places the first centres by greedy k-means++.

    Of a few candidates, drawn with the squared distance to the nearest centre as their weight, each
    step takes the one that lowers the sum of these most.

    Args:
        const: The rows.
        restart: Number of the restart, [].
        count: k.

    Returns:
        Centres [k, d], and how many of them surely differ, [] int32. Where no row is left that
        differs, any row is drawn.
    """
    candidates = 2 + int(math.log(count))
    everyone = const.mask.astype(jnp.float32)

    def add(
        step: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        centers, nearest, distinct = state
        left = nearest.max() > 0
        weight = jnp.where(left & (step > 0), nearest, everyone)
        rows, drawn = draw(const, weight, restart * count + step, candidates)
        closer = jnp.minimum(nearest, distances(const, const.points[rows]))
        best = jnp.argmin(jnp.where(drawn, closer.sum(axis=1), jnp.inf))
        # The first centre is any row: the one that fits best would be in the middle.
        best = jnp.where(step > 0, best, 0)
        return centers.at[step].set(const.points[rows[best]]), closer[best], distinct + left

    centers = jnp.zeros((count, const.points.shape[1]))
    nearest = jnp.where(const.mask, jnp.inf, 0)
    centers, _, distinct = jax.lax.fori_loop(0, count, add, (centers, nearest, jnp.int32(0)))
    return centers, distinct


def draw(
    const: Const, weight: jax.Array, number: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """Draws different rows with probabilities in proportion to a weight.

    Args:
        const: The rows.
        weight: [n].
        number: Number of the draw, [] int32.
        count: t.

    Returns:
        Positions [t] int32 in the order in which they were drawn, and which of them have a weight,
        [t] bool.
    """
    salt = jax.random.bits(jax.random.key(number, impl=_GENERATOR), (2,), jnp.uint32)
    keys = jax.random.wrap_key_data(const.words ^ salt, impl=_GENERATOR)
    bits = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys)
    # Small times decide: they keep all bits where uniform numbers near one would lose them.
    uniform = ((bits >> 1).astype(jnp.int32).astype(jnp.float32) + 0.5) * 2.0**-31
    time = -jnp.log1p(-jnp.minimum(uniform, _LARGEST_BELOW_ONE))
    speed, rows = jax.lax.top_k(jnp.where(const.mask, weight / time, -1), count)
    return rows, speed > 0


def distances(const: Const, rows: jax.Array) -> jax.Array:
    """Computes squared distances of all rows to some [t, d], [t, n]; zero where rounding may be."""
    squares = const.squares + jnp.square(rows).sum(axis=1)[:, None]
    distance = squares - 2 * rows @ const.points.T
    return jnp.where(const.mask & (distance > resolution(const, squares)), distance, 0)


def resolution(const: Const, squares: jax.Array) -> jax.Array:
    """Returns up to which squared distance points may be equal, of the shape of `squares`.

    Args:
        const: The rows.
        squares: Sum of the squared norms of both points.
    """
    rounding = 4 * math.sqrt(const.points.shape[1]) * jnp.finfo(jnp.float32).eps * squares
    return jnp.maximum(rounding, jnp.square(const.rounding))


def iterate(const: Const, centers: jax.Array, iterations: jax.Array, block: int) -> Carry:
    """Runs Lloyd's iterations from centres [k, d] until they stay."""

    def cond(carry: Carry) -> jax.Array:
        return ~carry.converged & (carry.iteration < iterations)

    label = jnp.full(len(const.points), -1, jnp.int32)
    start = Carry(centers, label, jnp.int32(0), jnp.bool(False))
    return jax.lax.while_loop(cond, functools.partial(body, const, block), start)


def body(const: Const, block: int, carry: Carry) -> Carry:
    """Moves every centre to the mean of the rows nearest to it: one of Lloyd's iterations.

    The centres stay when no row changes its centre, or when the sum of their squared moves falls to
    the tolerance. A centre without rows moves to the row that is farthest from its own centre.
    """
    sums = add_up(const, block, carry)
    empty = (sums.size == 0).any() & (const.size > 0)
    sums, filled = jax.lax.cond(
        empty,
        functools.partial(fill_empty, const, carry.centers),
        lambda sums: (sums, jnp.bool(False)),
        sums,
    )
    mean = sums.total / jnp.maximum(sums.size, 1)[:, None]
    centers = jnp.where((sums.size > 0)[:, None], mean, carry.centers)
    shift = jnp.square(centers - carry.centers).sum()
    converged = ((sums.changed == 0) & ~filled) | (shift <= const.tolerance)
    return Carry(centers, sums.label, carry.iteration + 1, converged)


def add_up(const: Const, block: int, carry: Carry) -> Sums:
    """Finds each row's nearest centre and adds up the rows of each centre, block by block."""
    count = len(carry.centers)

    def add(number: jax.Array, sums: Sums) -> Sums:
        points, mask, before = (
            jax.lax.dynamic_slice_in_dim(array, number * block, block)
            for array in (const.points, const.mask, sums.label)
        )
        label = nearest(points, mask, carry.centers)
        belongs = one_hot(label, count)
        return Sums(
            sums.size + belongs.sum(axis=1).astype(jnp.int32),
            sums.total + belongs @ points,
            jax.lax.dynamic_update_slice_in_dim(sums.label, label, number * block, 0),
            sums.changed + (label != before).sum(),
        )

    zero = Sums(
        jnp.zeros(count, jnp.int32), jnp.zeros_like(carry.centers), carry.label, jnp.int32(0)
    )
    return jax.lax.fori_loop(0, -(-const.size // block), add, zero)


def nearest(points: jax.Array, mask: jax.Array, centers: jax.Array) -> jax.Array:
    """Finds the centre [k, d] nearest to each point [b, d], [b] int32; k beyond the mask."""
    # The point's own square is the same for all centres.
    half = jnp.square(centers).sum(axis=1)[:, None] / 2
    label = jnp.argmin(half - centers @ points.T, axis=0).astype(jnp.int32)
    return jnp.where(mask, label, len(centers))


def one_hot(label: jax.Array, count: int) -> jax.Array:
    """Returns which rows have which label, [count, b] float32."""
    return (jnp.arange(count)[:, None] == label).astype(jnp.float32)


def fill_empty(const: Const, centers: jax.Array, sums: Sums) -> tuple[Sums, jax.Array]:
    """Gives each empty centre the row that is farthest from all others.

    Args:
        const: The rows.
        centers: Centres before they move, [k, d].
        sums: What belongs to them.

    Returns:
        What belongs to each centre then, and whether any row was given away. A centre stays empty
        where all rows equal another one.
    """
    own = centers[sums.label]
    offset = jnp.square(const.points - own).sum(axis=1)
    squares = const.squares + jnp.square(own).sum(axis=1)
    distance = jnp.where(const.mask & (offset > resolution(const, squares)), offset, 0)

    def spare(sums: Sums, distance: jax.Array) -> jax.Array:
        # The last row of a centre stays with it.
        return jnp.where(sums.size[sums.label] > 1, distance, 0)

    def fillable(state: tuple[Sums, jax.Array, jax.Array]) -> jax.Array:
        sums, distance, _ = state
        return (sums.size == 0).any() & (spare(sums, distance).max() > 0)

    def fill(state: tuple[Sums, jax.Array, jax.Array]) -> tuple[Sums, jax.Array, jax.Array]:
        sums, distance, _ = state
        distance_spare = spare(sums, distance)
        # Of rows equally far, the random bits decide, whatever their order.
        word = jnp.where(
            distance_spare == distance_spare.max(), const.words[:, 0], np.uint32(0xFFFFFFFF)
        )
        row, target = jnp.argmin(word), jnp.argmax(sums.size == 0)
        change = jnp.zeros(len(centers)).at[target].add(1).at[sums.label[row]].add(-1)
        sums = sums._replace(
            size=sums.size + change.astype(jnp.int32),
            total=sums.total + jnp.outer(change, const.points[row]),
            label=sums.label.at[row].set(target.astype(jnp.int32)),
        )
        return (
            sums,
            jnp.minimum(distance, distances(const, const.points[row][None])[0]),
            jnp.bool(True),
        )

    sums, _, filled = jax.lax.while_loop(fillable, fill, (sums, distance, jnp.bool(False)))
    return sums, filled


def finalize(const: Const, block: int, centers: jax.Array) -> jax.Array:
    """Computes the inertia: the sum of the rows' squared distances to their nearest centre, []."""

    def add(number: jax.Array, total: jax.Array) -> jax.Array:
        points, mask = (
            jax.lax.dynamic_slice_in_dim(array, number * block, block)
            for array in (const.points, const.mask)
        )
        # The difference itself: the expanded square would cost half of the digits.
        own = one_hot(nearest(points, mask, centers), len(centers)).T @ centers
        return total + jnp.where(mask, jnp.square(points - own).sum(axis=1), 0).sum()

    return jax.lax.fori_loop(0, -(-const.size // block), add, jnp.float32(0))


def first_of_the_best(inertia: jax.Array) -> jax.Array:
    """Finds the first restart whose inertia, [restarts], is the least but for rounding.

    Restarts that end in the same clusters number them differently; rounding must not choose.
    """
    return jnp.argmax(inertia <= (1 + _EQUAL_INERTIA) * inertia.min())
