"""Passes over rows that need not fit into memory, one class at a time on every device.

Rows are read once per pass, in order, and collected by class: a matrix product over rows of one
class does a fraction of the work of one that masks the others. Each process reads its own stretch,
each device keeps sums of its own, and these meet at the end of the pass. Batches are of one shape.

b rows of a batch, d embedding dims, c classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import parallel
from lelp_jax.core.errors import UserError
from lelp_jax.projection.engine.rows import EmbeddedRows

_BATCH_BYTES = 24 << 20
# All classes' unfinished batches together.
_WAITING_BYTES = 256 << 20
_MOST_ROWS = 8192
_LEAST_ROWS = 64
# Rows of a class whose mean is the origin of its sums.
_ORIGIN_ROWS = 16

Step = Callable[..., Any]
State = TypeVar("State")


@dataclasses.dataclass(frozen=True)
class ClassBatch:
    """Rows of one class on every device.

    Attributes:
        rows: [devices, b, d] float32, zeros beyond `count`.
        label: Class of each device's rows, [devices] int32.
        count: How many rows each device has, [devices] int32.
        index: Position in the data set of each row, [devices, b] int64 on the host.
    """

    rows: jax.Array
    label: jax.Array
    count: jax.Array
    index: np.ndarray


def batch_rows(dims: int, num_classes: int, most: int) -> int:
    """Computes how many rows a batch has.

    Args:
        dims: Embedding dims.
        num_classes: Number of classes.
        most: Rows of the largest class.
    """
    row = 4 * dims
    limit = min(_BATCH_BYTES // row, _WAITING_BYTES // (row * num_classes), _MOST_ROWS)
    batches = math.ceil(most / max(limit, _LEAST_ROWS))
    size = max(math.ceil(most / max(batches, 1)), _LEAST_ROWS)
    # Few sizes, so that passes over sets of nearly equal size share a program; close to what is
    # needed, since the padding of a class's last batch is worked on like rows.
    step = 1 << max(size.bit_length() - 4, 0)
    return math.ceil(size / step) * step


def class_batches(rows: EmbeddedRows, num_classes: int) -> Iterator[ClassBatch]:
    """Yields this process's share of the rows that have a class.

    Args:
        rows: The rows.
        num_classes: Rows of label 0..num_classes-1 are yielded.
    """
    dims = rows.embedding.shape[1]
    mesh = parallel.make_local_mesh()
    ready: list[_Waiting] = []
    waiting: dict[int, _Waiting] = {}
    share = parallel.pick_own_share(len(rows))
    own = rows.label[share]
    size = batch_rows(dims, num_classes, int(np.bincount(own[own >= 0], minlength=1).max()))
    for start in range(share.start, share.stop, size):
        stretch = slice(start, min(start + size, share.stop))
        labels = rows.label[stretch]
        block = np.asarray(rows.embedding[stretch])
        for label in np.unique(labels[labels >= 0]).tolist():
            own = np.flatnonzero(labels == label)
            while len(own):
                if label not in waiting:
                    waiting[label] = _Waiting(label, size, dims)
                own = waiting[label].take(block, own, start, rows.index)
                if waiting[label].count == size:
                    ready.append(waiting.pop(label))
                if len(ready) == mesh.size:
                    yield _place(ready, mesh)
                    ready = []
    ready += waiting.values()
    for first in range(0, len(ready), mesh.size):
        batch = ready[first : first + mesh.size]
        batch += [_Waiting(0, size, dims) for _ in range(mesh.size - len(batch))]
        yield _place(batch, mesh)


class _Waiting:
    """A batch of one class that is being filled."""

    def __init__(self, label: int, size: int, dims: int):
        self.label, self.count = label, 0
        # New memory for every batch: the device may still read the one before.
        self.rows = np.empty((size, dims), np.float32)
        self.index = np.zeros(size, np.int64)

    def take(self, block: np.ndarray, own: np.ndarray, start: int, index: np.ndarray) -> np.ndarray:
        """Takes rows of a block as long as there is room; returns the positions left over."""
        taken, rest = np.split(own, [len(self.rows) - self.count])
        place = slice(self.count, self.count + len(taken))
        # mode="clip" writes into `out` directly; positions are within the block.
        if block.dtype == np.float32:
            np.take(block, taken, axis=0, out=self.rows[place], mode="clip")
        else:
            self.rows[place] = block[taken]
        self.index[place] = index[start + taken]
        self.count += len(taken)
        return rest


def _place(batch: list[_Waiting], mesh: Any) -> ClassBatch:
    for waiting in batch:
        waiting.rows[waiting.count :] = 0
    return ClassBatch(
        parallel.put_on_each(mesh, [waiting.rows for waiting in batch]),
        parallel.put_on_each(mesh, [np.array(waiting.label, np.int32) for waiting in batch]),
        parallel.put_on_each(mesh, [np.array(waiting.count, np.int32) for waiting in batch]),
        np.stack([waiting.index for waiting in batch]),
    )


def reduce(
    step: Step,
    merge: Callable[[State, str], State],
    like: State,
    rows: EmbeddedRows,
    num_classes: int,
    constants: tuple[Any, ...],
) -> State:
    """Adds up one pass over the rows, on this process's first device.

    Args:
        step: Pure, module-level: `(state, rows [b, d], label [], count [], *constants) -> state`
            for the rows of one class on one device.
        merge: Pure, module-level: `(state, axis) -> state` joins the states of all devices along a
            mesh axis.
        like: Shapes and types of the state, which begins with zeros.
        rows: The rows.
        num_classes: Number of classes.
        constants: Arrays that every step reads.
    """
    mesh = parallel.make_local_mesh()
    everywhere, each = parallel.make_sharding(mesh), parallel.make_sharding(mesh, parallel.DATA)
    constants = jax.device_put(constants, everywhere)
    state: Any = jax.tree.map(
        lambda leaf: jnp.zeros((mesh.size, *leaf.shape), leaf.dtype, device=each), like
    )
    with jax.default_matmul_precision("highest"):
        for batch in class_batches(rows, num_classes):
            # Collecting a batch overlaps with the device's work on the one before it, and no more
            # than two are in memory.
            jax.block_until_ready(state)
            arguments = (state, batch.rows, batch.label, batch.count, constants)
            program, _ = parallel.compile_program(
                _step_of_each, (step, mesh), arguments, out_shardings=each, donate=(0,)
            )
            state = program(*arguments)
        everything = parallel.join_across_processes(state)
        program, _ = parallel.compile_program(
            _merged, (merge, parallel.make_global_mesh()), (everything,)
        )
        return parallel.take_from_first_device(program(everything))


def _step_of_each(
    static: Any,
    state: Any,
    rows: jax.Array,
    label: jax.Array,
    count: jax.Array,
    constants: tuple[Any, ...],
) -> Any:
    step, mesh = static
    return parallel.run_on_each_device(step, mesh, (state, rows, label, count), constants)


def _merged(static: Any, state: Any) -> Any:
    merge, mesh = static
    return parallel.run_on_each_device(
        lambda own: merge(own, parallel.DATA), mesh, (state,), alike=True
    )


def add_up(state: Any, axis: str) -> Any:
    """Merges states that are sums."""
    return jax.lax.psum(state, axis)


def origin(rows: EmbeddedRows, num_classes: int) -> np.ndarray:
    """Computes a point among the rows of each class, [c, d] float32.

    Sums of offsets from it stay accurate when the mean is large beside the deviation. It is the
    mean of a few rows spread over the class, the same whatever the devices.
    """
    result = np.zeros((num_classes, rows.embedding.shape[1]), np.float32)
    for label in range(num_classes):
        own = np.flatnonzero(rows.label == label)
        if len(own):
            spread = np.unique(np.linspace(0, len(own) - 1, _ORIGIN_ROWS).astype(int))
            result[label] = np.asarray(rows.embedding[own[spread]], np.float64).mean(axis=0)
    return result


def refuse_bad_rows(rows: EmbeddedRows) -> None:
    """Raises the error that names the first row which is not finite, or the largest of all."""
    largest = (0.0, 0)
    size = batch_rows(rows.embedding.shape[1], 1, len(rows))
    for start in range(0, len(rows), size):
        values = np.asarray(rows.embedding[start : start + size])
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            row = rows.index[start + int(np.argmin(finite))]
            raise UserError(f"the embedding of row {row} is not finite; fix or remove the row")
        length = np.abs(values).max(axis=1)
        largest = max(largest, (float(length.max()), start + int(length.argmax())))
    raise UserError(
        f"the embedding of row {rows.index[largest[1]]} is too large: beside the other rows its "
        "square is beyond the range of float32; fix or remove the row"
    )
