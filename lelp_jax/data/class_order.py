"""How a teacher's answers agree with labels, and whether another order of classes fits better."""

from __future__ import annotations

import dataclasses

import numpy as np

# By how many standard deviations another order has to be better before it is no accident.
_DEVIATIONS = 3


@dataclasses.dataclass(frozen=True)
class ClassOrder:
    """How a teacher's answers agree with the labels.

    Attributes:
        rows: Number of labelled rows.
        right: Share of them on which the teacher gives the label.
        order: The teacher's class for each class of the labels that fits best, [classes].
        reordered: The share in this order.
        contradicted: Whether this order is better by more than chance.
    """

    rows: int
    right: float
    order: np.ndarray
    reordered: float
    contradicted: bool

    def describe(self) -> str:
        """Describes an order that fits better: the share as it is, and in that order."""
        order = ", ".join(str(number) for number in self.order)
        classes = ", ".join(str(number) for number in range(len(self.order)))
        return (
            f"the label of {100 * self.right:.1f} % of {self.rows:,} labelled rows, but of "
            f"{100 * self.reordered:.1f} % if classes {classes} are its outputs {order}"
        )


def compare_orders(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int
) -> ClassOrder | None:
    """Compares a teacher's answers with labels in every order of the classes.

    Args:
        predicted: The class that the teacher prefers, [rows].
        labels: Class of each row, [rows]; -1 where unknown.
        num_classes: Number of classes.

    Returns:
        The agreement; None without a labelled row.
    """
    # Takes a while to import, and most runs need nothing of it.
    from scipy.optimize import linear_sum_assignment

    rows = labels >= 0
    total = int(rows.sum())
    if not total:
        return None
    table = np.zeros((num_classes, num_classes))
    np.add.at(table, (labels[rows], predicted[rows]), 1)
    classes, best = linear_sum_assignment(table, maximize=True)
    # McNemar's test of the two orders: only rows on which they differ count.
    moved = classes != best
    gained, lost = table[classes, best][moved].sum(), np.diag(table)[moved].sum()
    return ClassOrder(
        rows=total,
        right=float(np.trace(table) / total),
        order=best,
        reordered=float(table[classes, best].sum() / total),
        contradicted=bool(gained - lost > _DEVIATIONS * np.sqrt(gained + lost)),
    )
