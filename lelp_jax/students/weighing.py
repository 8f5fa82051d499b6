"""Trains students in two passes: those whose rows weigh alike, then those that they weigh rows for.

A weighted method (`Method.first`) trains each of its students with the weights that the selected
student of its plain method tells, in the same replicate. The plain method is trained for it if it
is not compared itself.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.experiment.config import MethodConfig
from lelp_jax.experiment.run import Run
from lelp_jax.methods import weighted
from lelp_jax.methods.weighted import Answers
from lelp_jax.students import training
from lelp_jax.students.grid import Student, Weighing
from lelp_jax.students.prediction import predict_rows
from lelp_jax.students.selection import Outcome, select


def add_first(compared: Mapping[str, MethodConfig]) -> dict[str, MethodConfig]:
    """Adds the plain methods that weighted ones need and that are not compared themselves.

    They try as many and the same values as the method that needs them.

    Args:
        compared: The methods to train, by name.
    """
    result = dict(compared)
    for entry in compared.values():
        if (first := entry.method.first) is not None and first.name not in result:
            result[first.name] = dataclasses.replace(entry, method=first)
    return result


def train(run: Run, students: Sequence[Student]) -> list[Outcome]:
    """Trains all students, or reuses those of an earlier launch, and selects trials.

    Args:
        run: The run.
        students: The student grid, with the students of all plain methods that are needed.

    Returns:
        The compared students with the results of their training.

    Raises:
        UserError: Every trial of a method that has to weigh rows diverged.
    """
    metric = run.config.report.selection_metric
    plain = [student for student in students if student.method.first is None]
    outcomes = select(plain, training.ensure(run, plain), metric)
    # The students of all trials of a replicate share the weights, which are computed once.
    tell = {
        (outcome.student.method.name, outcome.student.replicate.number): Weighing(
            {"version": weighted.VERSION, "first": outcome.trained.fingerprint},
            functools.partial(_compute_weights, run, outcome),
        )
        for outcome in outcomes
        if outcome.selected
    }
    weighed = [_weigh(student, tell) for student in students if student.method.first]
    if weighed:
        outcomes += select(weighed, training.ensure(run, weighed), metric)
    return [outcome for outcome in outcomes if outcome.student.trial.method in run.config.methods]


def _weigh(student: Student, tell: Mapping[tuple[str, int], Weighing]) -> Student:
    """Adds the weights that a student learns with.

    Args:
        student: A student of a weighted method.
        tell: What the selected students of plain methods tell, by method and replicate.

    Raises:
        UserError: There is no student to tell them.
    """
    assert student.method.first is not None
    first, name = student.method.first.name, student.method.name
    weighing = tell.get((first, student.replicate.number))
    if weighing is None:
        raise UserError(
            f"config.methods.{name} weighs rows by the students of {first!r}, but every trial of "
            "these diverged; give lower learning rates, or leave it out with "
            f"--config.methods.{name}.trials=0"
        )
    return dataclasses.replace(student, weighing=weighing)


def _compute_weights(run: Run, first: Outcome) -> np.ndarray:
    """Computes the weights of a replicate's rows, in the order of its transfer set, [rows]."""
    replicate, validation = first.student.replicate, run.dataset.validation
    index = np.concatenate([validation, replicate.transfer])
    teacher = replicate.bank.logits[replicate.bank.find_positions(index)]
    [student] = predict_rows(run, [first], index)
    cut = len(validation)
    return weighted.weigh(
        Answers(teacher[:cut], student[:cut]),
        run.dataset.labels[validation],
        Answers(teacher[cut:], student[cut:]),
    )
