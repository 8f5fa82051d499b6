"""Lloyd's iterations among the rows of one class, which are spread over the devices of a mesh.

Each iteration reads the rows once, in blocks that stay in the processor's cache while they are
compared with the centres and added up.

n rows of a class on one device, d dims, k centres, b rows of a block. All of it runs
inside of `parallel.on_each_device`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lelp_jax.core import parallel
from lelp_jax.projection.engine import seeding
from lelp_jax.projection.engine.seeding import Part

_TOLERANCE = 1e-4


class State(NamedTuple):
    """Where the iterations stand.

    Attributes:
        centers: [k, d].
        label: Centre of each row in the last iteration, [n] int32; k beyond the mask.
        passes: Iterations done, [] int32.
        done: Whether the centres stay, [] bool.
        going: Whether any of those that run beside these do not, [] bool.
    """

    centers: jax.Array
    label: jax.Array
    passes: jax.Array
    done: jax.Array
    going: jax.Array


class _Sums(NamedTuple):
    """Rows of each centre: how many [k] int32, their sum [k, d], which [n]; how many changed []."""

    size: jax.Array
    total: jax.Array
    label: jax.Array
    changed: jax.Array


def iterate(
    part: Part, start: jax.Array, *, passes: int, block: int, beside: tuple[str, ...] = ()
) -> State:
    """Moves centres to the means of the rows nearest to them until they stay.

    They stay when no row changes its centre, or when the sum of the squared moves falls to 1e-4
    of the mean variance of a dim. A centre without rows moves to the row farthest from its own.

    Args:
        part: The rows.
        start: Centres to start from, [k, d].
        passes: Iterations at most.
        block: Rows of a block; divides n.
        beside: Axes over which this function is mapped. All go on until the last is done, so that
            loops and rare branches are shared.
    """
    size = jax.lax.psum(part.mask.sum(), parallel.DATA)
    blocks = used_blocks(part, block, beside)
    least = _TOLERANCE * _variance(part, size)

    def step(state: State, number: jax.Array) -> tuple[State, jax.Array]:
        sums = _add_up(part, state.centers, state.label, block, blocks)
        empty = (sums.size == 0) & (size > 0) & ~state.done

        def fill(sums: _Sums) -> tuple[_Sums, jax.Array]:
            return _fill_empty(part, state.centers, empty, sums, beside)

        sums, filled = jax.lax.cond(
            _any(empty.any(), beside), fill, lambda sums: (sums, jnp.bool(False)), sums
        )
        mean = sums.total / jnp.maximum(sums.size, 1)[:, None]
        moving = (sums.size > 0)[:, None] & ~state.done
        centers = jnp.where(moving, mean, state.centers)
        shift = jnp.square(centers - state.centers).sum()
        stays = ((sums.changed == 0) & ~filled) | (shift <= least)
        done = state.done | stays
        passes = state.passes + ~state.done
        return State(centers, sums.label, passes, done, _any(~done, beside)), number + 1

    label = jnp.full(len(part.points), -1, jnp.int32)
    first = State(start, label, jnp.int32(0), jnp.bool(False), jnp.bool(True))
    return jax.lax.while_loop(
        lambda carry: carry[0].going & (carry[1] < passes),
        lambda carry: step(*carry),
        (first, jnp.int32(0)),
    )[0]


def inertia(
    part: Part, centers: jax.Array, *, block: int, beside: tuple[str, ...] = ()
) -> jax.Array:
    """Returns the sum of the squared distances of the rows to their nearest centre, [].

    Args:
        part: The rows.
        centers: [k, d].
        block: Rows of a block; divides n.
        beside: Axes over which this function is mapped.
    """

    def add(number: jax.Array, total: jax.Array) -> jax.Array:
        points, mask = (_block(array, number, block) for array in (part.points, part.mask))
        # The difference itself: the expanded square would cost half of the digits.
        own = one_hot(nearest(points, mask, centers), len(centers)).T @ centers
        return total + jnp.where(mask, jnp.square(points - own).sum(axis=1), 0).sum()

    total = jax.lax.fori_loop(0, used_blocks(part, block, beside), add, jnp.float32(0))
    return jax.lax.psum(total, parallel.DATA)


def nearest(points: jax.Array, mask: jax.Array, centers: jax.Array) -> jax.Array:
    """Returns the centre [k, d] nearest to each point [b, d], [b] int32; k beyond the mask."""
    # The point's own square is the same for all centres.
    half = jnp.square(centers).sum(axis=1)[:, None] / 2
    label = jnp.argmin(half - centers @ points.T, axis=0).astype(jnp.int32)
    return jnp.where(mask, label, len(centers))


def one_hot(label: jax.Array, count: int) -> jax.Array:
    """Returns which rows have which label, [count, b] float32."""
    return (jnp.arange(count)[:, None] == label).astype(jnp.float32)


def used_blocks(part: Part, block: int, beside: tuple[str, ...]) -> jax.Array:
    """Returns up to which block there are rows on any device, [] int32."""
    end = jnp.where(part.mask, jnp.arange(1, len(part.mask) + 1), 0).max()
    return jax.lax.pmax(-(-end // block), (parallel.DATA, *beside))


def _variance(part: Part, size: jax.Array) -> jax.Array:
    """Returns the mean variance of a dim, []."""
    sums = (part.mask.astype(jnp.float32) @ part.points, part.squares.sum())
    total, squares = jax.lax.psum(sums, parallel.DATA)
    count = jnp.maximum(size, 1)
    return jnp.maximum(squares / count - jnp.square(total / count).sum(), 0) / len(total)


def _add_up(
    part: Part, centers: jax.Array, label: jax.Array, block: int, blocks: jax.Array
) -> _Sums:
    """Returns what belongs to each centre."""

    def add(number: jax.Array, sums: _Sums) -> _Sums:
        points, mask, before = (
            _block(array, number, block) for array in (part.points, part.mask, sums.label)
        )
        label = nearest(points, mask, centers)
        belongs = one_hot(label, len(centers))
        return _Sums(
            sums.size + belongs.sum(axis=1).astype(jnp.int32),
            sums.total + belongs @ points,
            jax.lax.dynamic_update_slice_in_dim(sums.label, label, number * block, 0),
            sums.changed + (label != before).sum(),
        )

    zero = _Sums(jnp.zeros(len(centers), jnp.int32), jnp.zeros_like(centers), label, jnp.int32(0))
    sums = jax.lax.fori_loop(0, blocks, add, zero)
    count, total, changed = jax.lax.psum((sums.size, sums.total, sums.changed), parallel.DATA)
    return _Sums(count, total, sums.label, changed)


def _block(array: jax.Array, number: jax.Array, block: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(array, number * block, block)


def _fill_empty(
    part: Part, centers: jax.Array, empty: jax.Array, sums: _Sums, beside: tuple[str, ...]
) -> tuple[_Sums, jax.Array]:
    """Gives each empty centre the row that is farthest from all others.

    Args:
        part: The rows.
        centers: Centres before they move, [k, d].
        empty: Which of them have no rows, [k] bool.
        sums: What belongs to them.
        beside: Axes over which this function is mapped.

    Returns:
        What belongs to each centre then, and whether any row was given away. A centre stays empty
        where all rows equal another one.
    """
    own = centers[sums.label]
    offset = jnp.square(part.points - own).sum(axis=1)
    squares = part.squares + jnp.square(own).sum(axis=1)
    distance = jnp.where(offset > seeding.resolution(part, squares), offset, 0)

    def fill(
        _: jax.Array, state: tuple[_Sums, jax.Array, jax.Array, jax.Array]
    ) -> tuple[_Sums, jax.Array, jax.Array, jax.Array]:
        sums, empty, distance, filled = state
        # The last row of a centre stays with it.
        spare = jnp.where(sums.size[sums.label] > 1, distance, 0)
        most, place = seeding.farthest(part, spare)
        target = jnp.argmax(empty)
        given = empty.any() & (most > 0)
        row, giver = (seeding.fetch(array, place) for array in (part.points, sums.label))
        change = one_hot(target, len(centers))[:, 0] - one_hot(giver, len(centers))[:, 0]
        change = jnp.where(given, change, 0)
        label = sums.label.at[place.row].set(
            jnp.where(given & place.here, target, sums.label[place.row]).astype(jnp.int32)
        )
        new = _Sums(
            sums.size + change.astype(jnp.int32),
            sums.total + jnp.outer(change, row),
            label,
            sums.changed,
        )
        left = jnp.minimum(distance, seeding.distances(part, row[None])[0])
        return new, empty.at[target].set(False), jnp.where(given, left, distance), filled | given

    steps = jax.lax.pmax(empty.sum(), beside) if beside else empty.sum()
    state = jax.lax.fori_loop(0, steps, fill, (sums, empty, distance, jnp.bool(False)))
    return state[0], state[3]


def _any(value: jax.Array, beside: tuple[str, ...]) -> jax.Array:
    return jax.lax.pmax(value.astype(jnp.int32), beside) > 0 if beside else value
