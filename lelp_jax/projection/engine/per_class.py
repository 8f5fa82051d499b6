"""A function of the rows of one class, run for every class in one program on all devices.

n rows of a class in this process, p rows of a class on one device, c classes, d dims.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lelp_jax.core import parallel
from lelp_jax.projection.engine.seeding import Part

# On a processor a block stays in its cache; elsewhere it is as large as memory easily allows.
_CACHED_BYTES = 2 << 20
_MOST_CACHED_ROWS = 4096
_MOST_ROWS = 1 << 16
# All candidates of a step of k-means++ may come from one device.
_LEAST_ROWS = 16
# The axis over which classes are mapped where one operation takes all of them.
_CLASS = "class"

# `(settings, beside, block, part) -> arrays` for one class; `beside` names the axes over which it
# is mapped and `block` is how many rows fit into a cache, a divisor of the part's.
Function = Callable[[Any, tuple[str, ...], int, Part], Any]


class _Static(NamedTuple):
    function: Function
    settings: Hashable
    block: int
    together: bool
    mesh: Mesh


def part_size(rows: int, dims: int) -> tuple[int, int]:
    """Returns how many rows of a class a device has, padded, and how many a block has.

    Args:
        rows: Rows of a class in this process.
        dims: Dims of a point.
    """
    mesh = parallel.own_mesh()
    part = max(math.ceil(rows / mesh.size), _LEAST_ROWS)
    most = min(_CACHED_BYTES // (4 * dims), _MOST_CACHED_ROWS) if parallel.is_cpu() else _MOST_ROWS
    block = min(_power_of_two(max(most, _LEAST_ROWS)), 2 * _power_of_two(part - 1))
    # Few sizes, so that classes of nearly equal size share a program.
    multiple = max(block, _power_of_two(part) // 8)
    return math.ceil(part / multiple) * multiple, block


def _power_of_two(most: int) -> int:
    return 1 << most.bit_length() - 1


def place(
    points: np.ndarray, mask: np.ndarray, words: np.ndarray, rounding: np.ndarray
) -> tuple[jax.Array, ...]:
    """Deals this process's rows out to its devices, as `run` takes them.

    Args:
        points: [c, n, d] float32, finite also beyond the mask; n is the same in every process.
        mask: Which rows there are, [c, n] bool.
        words: Random bits of each row, [c, n, 2] uint32.
        rounding: Distance up to which the points of a class count as equal, [c]. It is at least
            that of a product of the points, and the largest of all processes counts.
    """
    mesh = parallel.own_mesh()
    size, _ = part_size(points.shape[1], points.shape[2])
    rows = [_dealt_out(mesh, array, size) for array in (points, mask, words)]
    equal = parallel.put_on_each(mesh, [np.asarray(rounding, np.float32)] * mesh.size)
    return tuple(parallel.across_processes([*rows, equal]))


def _dealt_out(mesh: Mesh, array: np.ndarray, size: int) -> jax.Array:
    """Places rows [c, n, ...] on devices in turn, [devices, c, size, ...] padded with zeros."""
    pieces = []
    for device in range(mesh.size):
        # In turn, so that every device has its share of every class.
        piece = array[:, device :: mesh.size]
        if piece.shape[1] < size:
            padded = np.zeros((len(array), size, *array.shape[2:]), array.dtype)
            padded[:, : piece.shape[1]] = piece
            piece = padded
        pieces.append(piece)
    return parallel.put_on_each(mesh, pieces)


def run(
    function: Function, settings: Hashable, block: int, arguments: tuple[jax.Array, ...]
) -> Any:
    """Returns what a function gives for each class, [c, ...] each on the host.

    Args:
        function: Pure, module-level; it runs on every device, with collectives over the data axis,
            and what it returns is the same everywhere.
        settings: Its settings.
        block: Rows of a block, from `part_size`.
        arguments: What `place` returned.
    """
    # A processor takes one class after the other, each as long as it needs; elsewhere one
    # operation on all of them is faster.
    together = not parallel.is_cpu()
    static = _Static(function, settings, block, together, parallel.whole_mesh())
    program, _ = parallel.compiled(_program, static, arguments)
    return jax.tree.map(np.asarray, parallel.on_first_device(program(*arguments)))


def _program(static: _Static, *arrays: jax.Array) -> Any:
    def one_device(*own: jax.Array) -> Any:
        if static.together:
            one = functools.partial(_one_class, static, (_CLASS,))
            return jax.vmap(one, axis_name=_CLASS)(*own)
        return jax.lax.map(lambda arrays: _one_class(static, (), *arrays), own)

    with jax.default_matmul_precision("highest"):
        return parallel.on_each_device(one_device, static.mesh, arrays, alike=True)


def _one_class(
    static: _Static,
    beside: tuple[str, ...],
    points: jax.Array,
    mask: jax.Array,
    words: jax.Array,
    rounding: jax.Array,
) -> Any:
    squares = jnp.where(mask, jnp.square(points).sum(axis=1), 0)
    largest = jnp.sqrt(squares.max())
    rounding = jnp.maximum(rounding, relative_rounding(points.shape[1]) * largest)
    rounding = jax.lax.pmax(rounding, parallel.DATA)
    part = Part(points, squares, mask, words, rounding)
    return static.function(static.settings, beside, static.block, part)


def relative_rounding(dims: int) -> float:
    """Returns the rounding of a product with `dims` columns, relative to the norm of a row."""
    return max(dims, 10) * float(np.finfo(np.float32).eps)
