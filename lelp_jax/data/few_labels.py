"""Hides the labels of most training rows: the setting in which labels are few.

A small labelled set trains the teacher, which answers all other rows for its students (Kontonis et
al., SLaM, arXiv 2302.03806; Iliopoulos et al., Weighted Distillation, arXiv 2210.06711).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lelp_jax.core import seeds
from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import Dataset


def hide_labels(
    dataset: Dataset, labelled_rows: int, draws: Sequence[int]
) -> tuple[Dataset, tuple[Dataset, ...]]:
    """Hides the labels of all training rows but some, which are drawn several times.

    Args:
        dataset: The data.
        labelled_rows: How many training rows keep their label; 0 keeps all.
        draws: The seed of each draw.

    Returns:
        The data without the label of any training row, for all that needs none, and the data as
        each draw leaves them. Where no label is hidden, each of them is `dataset` itself.

    Raises:
        UserError: There are fewer labels than classes, or more than labelled rows.
    """
    labelled = len(dataset.labelled_train)
    if labelled_rows > labelled:
        raise UserError(
            f"config.data.labelled_rows {labelled_rows} exceeds the {labelled} labelled training "
            "rows; set it to 0 for all of them"
        )
    if 0 < labelled_rows < dataset.num_classes:
        raise UserError(
            f"config.data.labelled_rows {labelled_rows} is below the number of classes, of which "
            f"each needs a labelled row; set {dataset.num_classes} or more, or 0 for all rows"
        )
    if labelled_rows in (0, labelled):
        return dataset, (dataset,) * len(draws)
    known = [dataset.hide_labels(draw_labelled(dataset, labelled_rows, seed)) for seed in draws]
    return dataset.hide_labels(np.array([], np.int64)), tuple(known)


def draw_labelled(dataset: Dataset, count: int, seed: int) -> np.ndarray:
    """Draws labelled training rows, each class in proportion, but at least one row of it.

    The rows of a smaller draw with the same seed are among those of a larger one. How many are of
    which class depends on the sizes of the classes alone: each class gets a row, and the others
    are divided by the method of Webster and Sainte-Lague, in which, unlike in rounding shares, no
    class has fewer rows in a larger draw.

    Args:
        dataset: The data, with labelled training rows of every class.
        count: How many rows to draw, at least one per class.
        seed: Seed of the draw.

    Returns:
        Their indices, sorted, [count].
    """
    rows = dataset.labelled_train
    label = dataset.labels[rows]
    sizes = np.bincount(label, minlength=dataset.num_classes)
    order = np.lexsort((seeds.hash_words(seed, np.arange(len(rows))), label))
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # Rows are drawn in the order of (rank in the class + 1/2) / size of the class, after the first
    # of each class.
    turn = np.where(rank > 0, (rank + 0.5) / np.repeat(sizes, sizes), 0.0)
    return np.sort(rows[order[np.argsort(turn, kind="stable")[:count]]])
