"""Scores of rows by a fitted projection, a stretch at a time.

They are [rows, classes, subclasses], or [rows, heads, classes, subclasses] of a projection that
splits the classes several times.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.projection.base import Projection
from lelp_jax.projection.engine.rows import EmbeddedRows

_BATCH_BYTES = 32 << 20
_MOST_ROWS = 8192


def batches(
    projection: Projection, rows: EmbeddedRows, within: slice | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields stretches of rows and their scores, [rows, ..., classes, subclasses] float32.

    Args:
        projection: What scores them.
        rows: The rows; they need not fit into memory.
        within: Which stretch of them; all when not given.

    Raises:
        UserError: A row has no finite score in some class.
    """
    start, stop, _ = (within or slice(None)).indices(len(rows))
    width = 4 * max(rows.embedding.shape[1], projection.column_mask.size)
    size = max(1, min(_BATCH_BYTES // width, _MOST_ROWS))
    while start < stop:
        stretch = slice(start, min(start + size, stop))
        yield stretch, _scores(projection, rows, stretch, size)
        start = stretch.stop


def _scores(projection: Projection, rows: EmbeddedRows, stretch: slice, size: int) -> np.ndarray:
    count = stretch.stop - stretch.start
    # The last stretch takes rows before it along, so that it needs no program of its own.
    first = max(0, stretch.stop - size) if count < size else stretch.start
    part = rows.part(slice(first, stretch.stop))
    result = np.asarray(projection.scores(part), np.float32)[-count:]
    # The largest of scores with a NaN among them is NaN.
    finite = np.isfinite(result.max(axis=-1)).reshape(count, -1).all(axis=1)
    if not finite.all():
        row = rows.index[stretch][int(np.argmin(finite))]
        raise UserError(
            f"data row {row} has no finite score by the projection; check the teacher's embedding"
        )
    return result


def collect(projection: Projection, rows: EmbeddedRows) -> np.ndarray:
    """Returns the scores of all rows, [rows, ..., classes, subclasses] float32."""
    result = np.empty((len(rows), *projection.column_mask.shape), np.float32)
    for stretch, values in batches(projection, rows):
        result[stretch] = values
    return result
