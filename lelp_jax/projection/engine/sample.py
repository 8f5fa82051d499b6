"""Some rows of each class, for what cannot take them all, and how many of them differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lelp_jax.core import seeds
from lelp_jax.projection.engine import kmeans
from lelp_jax.projection.engine.rows import EmbeddedRows


def stratified(
    rows: EmbeddedRows, num_classes: int, size: int, least: int, seed: int
) -> list[np.ndarray]:
    """Draws rows of each class in proportion to its rows.

    Args:
        rows: The rows.
        num_classes: Number of classes.
        size: How many rows to draw of all classes.
        least: How many to draw of each class at least, as far as it has so many.
        seed: Seed of the draw.

    Returns:
        Positions of the rows of each class, sorted.
    """
    counts = np.bincount(rows.label[rows.label >= 0], minlength=num_classes)
    share = size / max(int(counts.sum()), 1)
    return draw(rows, [max(round(share * count), least) for count in counts], seed)


def draw(rows: EmbeddedRows, counts: Sequence[int], seed: int) -> list[np.ndarray]:
    """Draws rows of each class: those whose index has the smallest hash.

    Which rows are drawn depends on the seed and on their own index alone, not on the order of rows.

    Args:
        rows: The rows.
        counts: How many rows to draw of each class, as far as it has so many.
        seed: Seed of the draw.

    Returns:
        Positions of the rows of each class, sorted.
    """
    # By the index and not by the position, which other rows would shift.
    words = seeds.hash_words(seed, rows.index)
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(rows.label == label)
        chosen.append(np.sort(members[np.argsort(words[members], kind="stable")[:count]]))
    return chosen


def distinct(points: np.ndarray, most: int, rounding: float = 0) -> int:
    """Counts the rows that differ by more than rounding, up to `most`.

    Each row counted is the one farthest from those before it.

    Args:
        points: [rows, dims] float32.
        most: Where to stop counting.
        rounding: Distance up to which rows count as equal; the rounding of a matrix product with
            the rows is always counted.
    """
    if not len(points):
        return 0
    largest = float(np.linalg.norm(points, axis=1).max())
    rounding = max(rounding, kmeans.relative_rounding(points.shape[1]) * largest)
    nearest = np.linalg.norm(points - points[0], axis=1)
    for found in range(1, most):
        # The farthest row differs from all before it if any does.
        farthest = nearest.argmax()
        if nearest[farthest] <= rounding:
            return found
        nearest = np.minimum(nearest, np.linalg.norm(points - points[farthest], axis=1))
    return most
