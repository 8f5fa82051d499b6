"""Selects each method's hyperparameters by the validation metric of its students."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.students.grid import Student
from lelp_jax.train.scheduler import Trained


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A student with the result of its training.

    Attributes:
        student: The student in the grid.
        trained: The result of training.
        selected: Whether its trial is the one selected for its method.
    """

    student: Student
    trained: Trained
    selected: bool


def select(students: Sequence[Student], trained: Sequence[Trained], metric: str) -> list[Outcome]:
    """Marks the students of each method's best trial as selected.

    Args:
        students: The student grid.
        trained: The results of training, in the same order.
        metric: Name of the validation metric to select by.
    """
    by_trial: dict[str, dict[int, list[Trained]]] = {}
    for student, result in zip(students, trained, strict=True):
        trials = by_trial.setdefault(student.trial.method, {})
        trials.setdefault(student.trial.number, []).append(result)
    chosen = {name: choose(trials, metric) for name, trials in by_trial.items()}
    return [
        Outcome(student, result, student.trial.number == chosen[student.trial.method])
        for student, result in zip(students, trained, strict=True)
    ]


def choose(trials: Mapping[int, Sequence[Trained]], metric: str) -> int | None:
    """Chooses the trial with the best mean over replicates; None if every trial diverged.

    Ties go to the lower mean validation NLL, then to the lower number. A trial with a diverged
    replicate is never chosen.

    Args:
        trials: The students of every replicate, by trial number.
        metric: Name of the validation metric.
    """
    return choose_by_validation(
        {
            number: [student.validation for student in students]
            for number, students in trials.items()
            # Leaving out diverged students would average over fewer, possibly easier replicates.
            if not any(student.diverged for student in students)
        },
        metric,
    )


def choose_by_validation(
    candidates: Mapping[int, Sequence[Mapping[str, float]]], metric: str
) -> int | None:
    """Chooses the candidate with the best mean; None if the metric is defined for none of them.

    Ties go to the lower mean NLL, then to the lower number.

    Args:
        candidates: The validation metrics of every replicate, by the candidate's number.
        metric: Name of the validation metric.
    """
    sign = metrics.find_direction(metric)
    ranked = []
    for number, replicates in candidates.items():
        value = float(np.mean([validation[metric] for validation in replicates]))
        loss = float(np.mean([validation["nll"] for validation in replicates]))
        if np.isfinite(value):
            # Rounding makes means of the same values in another order equal, hence a tie.
            ranked.append((-sign * round(value, 12), loss, number))
    return min(ranked)[2] if ranked else None
