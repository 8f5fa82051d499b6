"""k-means++ among the rows of one class, which are spread over the devices of a mesh.

Rows are drawn by races: each row's time is exponential with its weight as the rate, and the first
ones win. The time follows from a hash of the row's position in the data set, so that neither the
order of the rows nor the devices they lie on change who wins.

n rows of a class on one device, d dims, k centres, t candidates. All of it runs
inside of `parallel.on_each_device`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import parallel

_GENERATOR = "threefry2x32"
_LARGEST_BELOW_ONE = 1 - 2.0**-24


class Part(NamedTuple):
    """Rows of one class on one device.

    Attributes:
        points: [n, d] float32.
        squares: Squared norm of each point, [n].
        mask: Which rows there are, [n] bool.
        words: Random bits of each row, [n, 2] uint32.
        rounding: Distance up to which points count as equal, [].
    """

    points: jax.Array
    squares: jax.Array
    mask: jax.Array
    words: jax.Array
    rounding: jax.Array


def plus_plus(part: Part, restart: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns centres to start from, and how many of them surely differ.

    Greedy k-means++ (Arthur and Vassilvitskii, 2007): of a few candidates, drawn with the squared
    distance to the nearest centre as their weight, the one that lowers the sum of these most.

    Args:
        part: The rows.
        restart: Number of the restart, [].
        count: How many centres.

    Returns:
        [k, d], and a count [] int32. Where no row is left that differs, any row is drawn.
    """
    candidates = 2 + int(math.log(count))
    everyone = part.mask.astype(jnp.float32)

    def add(
        step: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        centers, nearest, distinct = state
        left = jax.lax.pmax(nearest.max(), parallel.DATA) > 0
        weight = jnp.where(left & (step > 0), nearest, everyone)
        rows, drawn = _draw(part, weight, restart * count + step, candidates)
        closer = jnp.minimum(nearest, distances(part, rows))
        potential = jax.lax.psum(closer.sum(axis=1), parallel.DATA)
        best = jnp.argmin(jnp.where(drawn, potential, jnp.inf))
        # The first centre is any row: the one that fits best would be in the middle.
        best = jnp.where(step > 0, best, 0)
        return centers.at[step].set(rows[best]), closer[best], distinct + left

    centers = jnp.zeros((count, part.points.shape[1]))
    state = (centers, jnp.where(part.mask, jnp.inf, 0), jnp.int32(0))
    centers, _, distinct = jax.lax.fori_loop(0, count, add, state)
    return centers, distinct


def resolution(part: Part, squares: jax.Array) -> jax.Array:
    """Returns up to which squared distance points may be equal, of the shape of `squares`.

    Args:
        part: The rows.
        squares: Sum of the squared norms of both points.
    """
    rounding = 4 * math.sqrt(part.points.shape[1]) * jnp.finfo(jnp.float32).eps * squares
    return jnp.maximum(rounding, jnp.square(part.rounding))


def distances(part: Part, rows: jax.Array) -> jax.Array:
    """Returns squared distances of all rows to some [t, d], [t, n]; zero where rounding may be."""
    squares = part.squares + jnp.square(rows).sum(axis=1)[:, None]
    distance = squares - 2 * rows @ part.points.T
    return jnp.where(part.mask & (distance > resolution(part, squares)), distance, 0)


def _draw(
    part: Part, weight: jax.Array, number: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """Draws different rows with probabilities that go with a weight.

    Args:
        part: The rows.
        weight: [n].
        number: Number of the draw, [] int32.
        count: How many to draw.

    Returns:
        Rows [count, d] in the order in which they were drawn, and which of them are rows with a
        weight, [count] bool.
    """
    salt = jax.random.bits(jax.random.key(number, impl=_GENERATOR), (2,), jnp.uint32)
    keys = jax.random.wrap_key_data(part.words ^ salt, impl=_GENERATOR)
    bits = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys)
    # Small times decide: they keep all bits where uniform numbers near one would lose them.
    uniform = ((bits >> 1).astype(jnp.int32).astype(jnp.float32) + 0.5) * 2.0**-31
    time = -jnp.log1p(-jnp.minimum(uniform, _LARGEST_BELOW_ONE))
    speed, place = jax.lax.top_k(jnp.where(part.mask, weight / time, -1), count)
    everywhere = jax.lax.all_gather((speed, part.points[place]), parallel.DATA, tiled=True)
    speed, place = jax.lax.top_k(everywhere[0], count)
    return everywhere[1][place], speed > 0


class Place(NamedTuple):
    """Where a row of the class lies.

    Attributes:
        here: Whether it lies on this device, [] bool.
        row: Its position there, [] int32.
    """

    here: jax.Array
    row: jax.Array


def farthest(part: Part, distance: jax.Array) -> tuple[jax.Array, Place]:
    """Returns the largest of the distances [n] on all devices, and where its row lies.

    Of equal ones, the row's random bits decide.
    """
    distance = jnp.where(part.mask, distance, -1)
    most = jax.lax.pmax(distance.max(), parallel.DATA)
    last = np.uint32(0xFFFFFFFF)
    word = jnp.where(distance == most, part.words[:, 0], last)
    row = jnp.argmin(word)
    first = jax.lax.pmin(word[row], parallel.DATA)
    device = jax.lax.axis_index(parallel.DATA).astype(jnp.uint32)
    holds = (distance[row] == most) & (word[row] == first)
    holder = jax.lax.pmin(jnp.where(holds, device, last), parallel.DATA)
    return most, Place(device == holder, row)


def fetch(array: jax.Array, place: Place) -> jax.Array:
    """Returns the entry of an array [n, ...] at a place, on every device."""
    return jax.lax.psum(jnp.where(place.here, array[place.row], 0), parallel.DATA)


def distinct(part: Part, most: int) -> jax.Array:
    """Returns how many rows differ by more than rounding, [] int32 of at most `most`.

    Each row counted is the one farthest from those before it.
    """

    def add(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        found, nearest = state
        distance, place = farthest(part, nearest)
        offset = part.points - fetch(part.points, place)
        nearest = jnp.minimum(nearest, jnp.square(offset).sum(axis=1))
        return found + (distance > jnp.square(part.rounding)), nearest

    start = (jnp.int32(0), jnp.full(len(part.points), jnp.inf))
    return jax.lax.fori_loop(0, most, add, start)[0]
