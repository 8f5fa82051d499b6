"""Answers of trained students."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from lelp_jax.experiment.run import Run
from lelp_jax.students.selection import Outcome
from lelp_jax.train.predict import predict


def predict_rows(run: Run, outcomes: Sequence[Outcome], index: np.ndarray) -> np.ndarray:
    """Computes class logits of one method's students, [students, rows, classes].

    Args:
        run: The run.
        outcomes: The students, of equal static hyperparameters.
        index: Data-set indices of the rows, [rows].
    """
    first, values = outcomes[0].student, run.inputs.values
    hyperparameters = {
        name: np.array([o.student.trial.traced[name] for o in outcomes], np.float32)
        for name in first.trial.traced
    }
    constants = {
        name: np.stack([o.student.constants[name] for o in outcomes]) for name in first.constants
    }
    params = [outcome.trained.load(first.spec, values) for outcome in outcomes]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    logits, _ = predict(first.spec, stacked, hyperparameters, constants, values[index])
    return logits
