"""The rows nearest to each pseudo-subclass of a class, which show what it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.projection import scoring
from lelp_jax.projection.base import Projection
from lelp_jax.projection.engine.rows import EmbeddedRows

# Rows per pseudo-subclass.
MOST_ROWS = 8


def find_nearest(projection: Projection, rows: EmbeddedRows, label: int) -> list[dict[str, Any]]:
    """Finds the rows of a class that score highest in each of its pseudo-subclasses.

    A row belongs to the pseudo-subclass in which it scores highest, and is shown for no other.

    Args:
        projection: What splits the classes.
        rows: Rows of the class, [n].
        label: The class.

    Returns:
        JSON-like, one dictionary per pseudo-subclass: `share` of the rows; `rows`, at most
        `MOST_ROWS` data-set indices, the nearest first; `fine`, the most frequent fine label, or
        None without one, and `fine_share`, its share among the rows whose fine label is known.
        Empty without rows.
    """
    if not len(rows):
        return []
    scores = scoring.collect(projection, rows)[:, label]
    subclass = scores.argmax(axis=1)
    result = []
    for number in np.flatnonzero(projection.column_mask[label]):
        members = np.flatnonzero(subclass == number)
        # Equal scores keep the order of the rows.
        order = np.argsort(-scores[members, number], kind="stable")[:MOST_ROWS]
        entry = {
            "share": len(members) / len(rows),
            "rows": rows.index[members[order]].tolist(),
            "fine": None,
            "fine_share": None,
        }
        if rows.fine_label is not None:
            fine = rows.fine_label[members]
            counts = np.bincount(fine[fine != UNLABELLED])
            if counts.any():
                entry["fine"] = int(counts.argmax())
                entry["fine_share"] = float(counts.max() / counts.sum())
        result.append(entry)
    return result
