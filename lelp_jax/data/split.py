"""Divides the rows of a source that has no splits of its own."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import UNLABELLED

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Split:
    """How rows are divided where a source has no splits of its own.

    Attributes:
        fractions: Shares of training, validation and test rows; they sum to 1.
        seed: Seed of the division alone, so that it stays fixed while `config.seed` changes.
    """

    fractions: tuple[float, float, float]
    seed: int


def split_off(
    rows: np.ndarray,
    labels: np.ndarray,
    fine_labels: np.ndarray | None,
    share: float,
    seed: int,
    name: str,
    class_names: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Divides rows in two, each class in proportion; unlabelled rows all stay in the first part.

    Each fine label is divided in proportion too, unless one of them has too few rows for that: then
    the classes alone are, and a warning says so.

    Args:
        rows: Positions of the rows to divide.
        labels: Class of all rows, -1 where unknown.
        fine_labels: Finer class of all rows, or None.
        share: Share of the labelled rows to split off.
        seed: Seed of the division.
        name: What is split off, "test" or "validation".
        class_names: One name per class.

    Returns:
        The rows that stay and those split off, each sorted.

    Raises:
        UserError: There are too few rows.
    """
    from sklearn.model_selection import train_test_split

    labelled = rows[labels[rows] != UNLABELLED]
    strata = labels[labelled].astype(np.int64)
    if fine_labels is not None:
        fine = strata * (int(fine_labels.max()) + 2) + fine_labels[labelled] + 1
        problem = _problem(fine, share)
        if problem is None:
            strata = fine
        else:
            _LOG.warning(
                "the %s rows are divided by class, not by fine label: %s",
                name,
                problem if isinstance(problem, str) else "a fine label has a single row",
            )
    problem = _problem(strata, share)
    if problem is not None:
        if isinstance(problem, int):
            problem = f"class {class_names[problem][:40]!r} has a single row, and 2 are needed"
        raise UserError(
            f"the {name} rows cannot be split off {len(labelled)} labelled rows: {problem}; "
            f"add rows, or give the {name} rows in a file of their own (config.data.{name})"
        )
    _, taken = train_test_split(labelled, test_size=share, random_state=seed, stratify=strata)
    return np.setdiff1d(rows, taken), np.sort(taken)


def _problem(strata: np.ndarray, share: float) -> int | str | None:
    """Returns why strata cannot be divided: the one with a single row, or what else."""
    values, counts = np.unique(strata, return_counts=True)
    if not len(values):
        return "there is none"
    if counts.min() < 2:
        return int(values[np.argmin(counts)])
    # As scikit-learn rounds.
    taken = int(np.ceil(share * len(strata)))
    fewest = min(taken, len(strata) - taken)
    if fewest < len(values):
        return f"{taken} and {len(strata) - taken} are too few for one row of each of {len(values)}"
    return None
