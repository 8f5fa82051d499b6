"""Chooses each method's hyperparameters by its students' validation metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.train.scheduler import Trained


def choose(trials: Mapping[int, Sequence[Trained]], metric: str) -> int | None:
    """Returns the number of the best trial, or None when every trial diverged.

    The mean over replicates decides; ties go to the lower mean validation NLL, then to the lower
    number. A trial with a diverged replicate is not chosen.

    Args:
        trials: The students of every replicate, by trial number.
        metric: Name of the validation metric.
    """
    sign = metrics.direction(metric)
    ranked = []
    for number, students in trials.items():
        if any(student.diverged for student in students):
            continue
        value = float(np.mean([student.validation[metric] for student in students]))
        loss = float(np.mean([student.validation["nll"] for student in students]))
        if np.isfinite(value):
            # Rounded: means over the same values in another order are a tie.
            ranked.append((-sign * round(value, 12), loss, number))
    return min(ranked)[2] if ranked else None
