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


@dataclasses.dataclass(frozen=True)
class Strata:
    """The labels by which rows are divided in proportion.

    Attributes:
        labels: Class of every row, -1 where unknown.
        fine_labels: Finer class of every row, or None.
        class_names: One name per class.
    """

    labels: np.ndarray
    fine_labels: np.ndarray | None
    class_names: Sequence[str]


def split_off(
    rows: np.ndarray, strata: Strata, share: float, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Divides rows in two, each class in proportion; unlabelled rows all stay in the first part.

    Each fine label is divided in proportion too, unless one of them has too few rows for that: then
    the classes alone are, and a warning says so.

    Args:
        rows: Positions of the rows to divide.
        strata: The labels of all rows.
        share: Share of the labelled rows to split off.
        seed: Seed of the division.
        name: What is split off, "test" or "validation".

    Returns:
        The rows that stay and those split off, each sorted.

    Raises:
        UserError: There are too few rows.
    """
    labelled = rows[strata.labels[rows] != UNLABELLED]
    stratum = strata.labels[labelled].astype(np.int64)
    if strata.fine_labels is not None:
        largest = int(strata.fine_labels.max())
        fine = stratum * (largest + 2) + strata.fine_labels[labelled] + 1
        problem = _find_problem(fine, share)
        if problem is None:
            stratum = fine
        else:
            _LOG.warning(
                "the %s rows are divided by class, not by fine label: %s",
                name,
                problem if isinstance(problem, str) else "a fine label has a single row",
            )
    problem = _find_problem(stratum, share)
    if problem is not None:
        if isinstance(problem, int):
            class_name = strata.class_names[problem][:40]
            problem = f"class {class_name!r} has a single row, and 2 are needed"
        raise UserError(
            f"the {name} rows cannot be split off {len(labelled)} labelled rows: {problem}; "
            f"add rows, or give the {name} rows in a file of their own (config.data.{name})"
        )
    taken = labelled[_draw_positions(stratum, share, seed)]
    return np.setdiff1d(rows, taken), np.sort(taken)


def _find_problem(stratum: np.ndarray, share: float) -> int | str | None:
    """Explains why rows cannot be divided: by a stratum with a single row, or in words."""
    values, counts = np.unique(stratum, return_counts=True)
    if not len(values):
        return "there is none"
    if counts.min() < 2:
        return int(values[np.argmin(counts)])
    taken = _count_taken(len(stratum), share)
    fewest = min(taken, len(stratum) - taken)
    if fewest < len(values):
        return (
            f"{taken} and {len(stratum) - taken} are too few for one row of each of {len(values)}"
        )
    return None


def _count_taken(count: int, share: float) -> int:
    return int(np.ceil(share * count))


def _draw_positions(stratum: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a share of the rows, of each stratum in proportion.

    These are the rows that scikit-learn's `train_test_split(stratify=...)` splits off. They are
    drawn here because importing scikit-learn takes longer than all else that a finished run does,
    and because another version of it must not divide the data of a finished run in another way.

    Args:
        stratum: The stratum of every row, [rows] integers.
        share: Share of the rows to draw.
        seed: Seed of the draw.

    Returns:
        Positions of the rows drawn, in no particular order.
    """
    _, number, counts = np.unique(stratum, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(counts)[:-1])
    # The legacy generator, whose numbers NumPy promises never to change.
    random = np.random.RandomState(seed)
    taken = _count_taken(len(stratum), share)
    kept_counts = _share_out(counts, len(stratum) - taken, random)
    # Draws once more among ties, as scikit-learn does, though nothing is left to choose.
    taken_counts = _share_out(counts - kept_counts, taken, random)
    drawn = []
    for rows, kept, count in zip(members, kept_counts, taken_counts, strict=True):
        drawn.append(rows[random.permutation(len(rows))][kept : kept + count])
    return np.concatenate(drawn)


def _share_out(counts: np.ndarray, total: int, random: np.random.RandomState) -> np.ndarray:
    """Shares `total` out in proportion to counts; the largest remainders are rounded up."""
    exact = counts / counts.sum() * total
    shares = np.floor(exact)
    remainder = exact - shares
    missing = int(total - shares.sum())
    for value in np.unique(remainder)[::-1]:
        if missing <= 0:
            break
        ties = np.flatnonzero(remainder == value)
        rounded_up = random.choice(ties, min(len(ties), missing), replace=False)
        shares[rounded_up] += 1
        missing -= len(rounded_up)
    return shares.astype(np.int64)
