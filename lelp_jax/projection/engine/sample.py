"""A stratified sample of rows, for what cannot take them all."""

from __future__ import annotations

import numpy as np

from lelp_jax.core import seeds
from lelp_jax.projection.engine.rows import EmbeddedRows


def stratified(
    rows: EmbeddedRows, num_classes: int, size: int, least: int, seed: int
) -> list[np.ndarray]:
    """Returns positions of sampled rows of each class, sorted.

    Which rows are drawn depends on the seed and on their own index alone, not on the order of rows.

    Args:
        rows: The rows.
        num_classes: Number of classes.
        size: How many rows to draw; each class is drawn in proportion.
        least: How many to draw of each class at least, as far as it has so many.
        seed: Seed of the draw.
    """
    counts = np.bincount(rows.label[rows.label >= 0], minlength=num_classes)
    share = size / max(int(counts.sum()), 1)
    words = seeds.hash_words(seed, rows.index)
    chosen = []
    for label, count in enumerate(counts):
        own = np.flatnonzero(rows.label == label)
        wanted = min(count, max(round(share * count), least))
        first = np.argsort(words[own], kind="stable")[:wanted]
        chosen.append(np.sort(own[first]))
    return chosen


def distinct(points: np.ndarray, most: int) -> int:
    """Returns how many rows differ by more than rounding, at most `most`.

    Each row counted is the one farthest from those before it.

    Args:
        points: [rows, dims] float32.
        most: Where to stop counting.
    """
    if not len(points):
        return 0
    largest = float(np.linalg.norm(points, axis=1).max())
    rounding = max(points.shape[1], 10) * np.finfo(np.float32).eps * largest
    nearest = np.linalg.norm(points - points[0], axis=1)
    for found in range(1, most):
        farthest = nearest.argmax()
        if nearest[farthest] <= rounding:
            return found
        nearest = np.minimum(nearest, np.linalg.norm(points - points[farthest], axis=1))
    return most
