"""Points computed from rows, collected in memory by class.

b rows of a batch, d embedding dims, m dims of a point, c classes, n room for rows of a class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import parallel
from lelp_jax.projection.engine import stream
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.projection.engine.stream import ClassBatch

# `(rows [b, d], label [], count [], *constants) -> points [b, m]` of rows of one class; pure and
# module-level.
Project = Callable[..., jax.Array]


class Points(NamedTuple):
    """This process's points by class.

    Attributes:
        points: [c, n, m] float32, zeros beyond the mask.
        number: Position in the data set of each row, [c, n] int64.
        mask: Which rows there are, [c, n] bool.
        largest: Largest distance of a row from a point among the rows of its class, [c].
    """

    points: np.ndarray
    number: np.ndarray
    mask: np.ndarray
    largest: np.ndarray


def most_rows(rows: EmbeddedRows, num_classes: int) -> int:
    """Returns how many rows of a class a process reads at most, the same in every process."""
    return max(
        int(np.bincount(own[own >= 0], minlength=num_classes).max())
        for own in (rows.label[share] for share in parallel.shares_of_processes(len(rows)))
    )


def point_dims(rows: EmbeddedRows, project: Project, constants: tuple[Any, ...]) -> int:
    """Returns how many dims a point has."""
    row = jax.ShapeDtypeStruct((1, rows.embedding.shape[1]), jnp.float32)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    return jax.eval_shape(project, row, number, number, *constants).shape[1]


def by_class(
    rows: EmbeddedRows, num_classes: int, room: int, *, project: Project, constants: tuple[Any, ...]
) -> Points:
    """Returns the points of this process's share of the rows.

    Args:
        rows: The rows.
        num_classes: Number of classes.
        room: n, at least `most_rows`.
        project: Computes the points of a batch.
        constants: Arrays that it reads.
    """
    shape = (num_classes, room)
    found = Points(
        np.zeros((*shape, point_dims(rows, project, constants)), np.float32),
        np.zeros(shape, np.int64),
        np.zeros(shape, bool),
        np.zeros(num_classes, np.float32),
    )
    filled = np.zeros(num_classes, int)
    mesh = parallel.own_mesh()
    everywhere = parallel.sharding(mesh)
    constants = jax.device_put((stream.origin(rows, num_classes), *constants), everywhere)
    waiting: list[tuple[ClassBatch, tuple[jax.Array, jax.Array]]] = []
    with jax.default_matmul_precision("highest"):
        for batch in stream.class_batches(rows, num_classes):
            arguments = (batch.rows, batch.label, batch.count, constants)
            program, _ = parallel.compiled(_projected, (project, mesh), arguments)
            # The device computes these points while the ones before are copied.
            waiting.append((batch, program(*arguments)))
            if len(waiting) > 1:
                _take(found, filled, *waiting.pop(0))
    for batch, computed in waiting:
        _take(found, filled, batch, computed)
    return found


def _take(
    found: Points, filled: np.ndarray, batch: ClassBatch, computed: tuple[jax.Array, jax.Array]
) -> None:
    points, largest = map(np.asarray, computed)
    for device, (label, count) in enumerate(
        zip(np.asarray(batch.label), np.asarray(batch.count), strict=True)
    ):
        place = slice(filled[label], filled[label] + count)
        found.points[label, place] = points[device, :count]
        found.number[label, place] = batch.index[device, :count]
        found.mask[label, place] = True
        found.largest[label] = max(found.largest[label], largest[device])
        filled[label] += count


def _projected(
    static: Any,
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    constants: tuple[jax.Array, ...],
) -> tuple[jax.Array, jax.Array]:
    project, mesh = static

    def one_device(
        rows: jax.Array, label: jax.Array, count: jax.Array, origin: jax.Array, *others: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        points = project(rows, label, count, *others)
        distance = jnp.linalg.norm(rows - origin[label], axis=1)
        return points, jnp.where(jnp.arange(len(distance)) < count, distance, 0).max()

    return parallel.on_each_device(one_device, mesh, (rows, label, count), constants)
