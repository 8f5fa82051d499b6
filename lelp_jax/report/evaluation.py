"""Evaluates the selected students on the test rows; the only reader of those rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax import export, metrics
from lelp_jax.config import Config
from lelp_jax.data.dataset import Dataset
from lelp_jax.selection import choose
from lelp_jax.session import Session
from lelp_jax.students import Student
from lelp_jax.teachers.base import Teacher
from lelp_jax.train.predict import predict
from lelp_jax.train.stage import Trained

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A student, trained, and for selected ones evaluated.

    Attributes:
        student: What was asked for.
        trained: What came of it.
        selected: Whether its trial was chosen for its method.
        test: Test metrics of a selected student.
        test_logits: Class logits of the test rows of a selected student, [rows, classes].
        teacher_test: Test metrics of its teacher, where they are known.
    """

    student: Student
    trained: Trained
    selected: bool
    test: Mapping[str, float] | None = None
    test_logits: np.ndarray | None = None
    teacher_test: Mapping[str, float] | None = None


def select(
    config: Config, students: Sequence[Student], trained: Sequence[Trained]
) -> list[Outcome]:
    """Returns all students, those of each method's best trial marked as selected."""
    by_trial: dict[str, dict[int, list[Trained]]] = {}
    for student, result in zip(students, trained, strict=True):
        trials = by_trial.setdefault(student.trial.method, {})
        trials.setdefault(student.trial.number, []).append(result)
    chosen = {
        name: choose(trials, config.report.selection_metric) for name, trials in by_trial.items()
    }
    return [
        Outcome(student, result, student.trial.number == chosen[student.trial.method])
        for student, result in zip(students, trained, strict=True)
    ]


def evaluate(
    config: Config,
    dataset: Dataset,
    teachers: Sequence[Teacher],
    outcomes: Sequence[Outcome],
    session: Session,
) -> list[Outcome]:
    """Returns the outcomes with the test metrics of the selected students.

    Args:
        config: The experiment.
        dataset: The data.
        teachers: The teachers.
        outcomes: As `select` gave them.
        session: The run.

    Raises:
        Interrupted: The run was asked to stop.
    """
    labels = dataset.labels[dataset.test]
    logits = [
        teacher.logits(dataset.test) if teacher.answers_test else None for teacher in teachers
    ]
    teacher_test = [None if known is None else metrics.evaluate(known, labels) for known in logits]
    selected: dict[str, list[int]] = {}
    for place, outcome in enumerate(outcomes):
        if outcome.selected:
            selected.setdefault(outcome.student.trial.method, []).append(place)
    result = list(outcomes)
    for places in selected.values():
        session.interrupts.check()
        predicted = _predict(config, dataset, [outcomes[place] for place in places])
        for place, values in zip(places, predicted, strict=True):
            teacher = outcomes[place].student.replicate.teacher
            result[place] = dataclasses.replace(
                outcomes[place],
                test={
                    **metrics.evaluate(values, labels),
                    **metrics.agreement(values, logits[teacher]),
                },
                test_logits=values,
                teacher_test=teacher_test[teacher],
            )
        session.reporter.advance(len(places))
    return result


def _predict(config: Config, dataset: Dataset, outcomes: Sequence[Outcome]) -> np.ndarray:
    """Exports one method's students and returns their test logits, [students, rows, classes]."""
    spec = outcomes[0].student.spec
    params = []
    for outcome in outcomes:
        student = outcome.student
        params.append(outcome.trained.load(spec, dataset.inputs))
        export.save(
            student_folder(outcome.trained),
            method=student.trial.method,
            numeric=student.trial.numeric,
            model=config.student.model,
            num_outputs=student.num_outputs,
            params=params[-1],
            constants=student.constants,
            dataset=dataset,
            facts={
                "settings": student.trial.settings,
                "replicate": student.replicate.number,
                "validation": outcome.trained.validation,
                "fingerprint": outcome.trained.fingerprint,
            },
        )
    first = outcomes[0].student
    numeric = {
        name: np.array([o.student.trial.numeric[name] for o in outcomes], np.float32)
        for name in first.trial.numeric
    }
    constants = {
        name: np.stack([o.student.constants[name] for o in outcomes]) for name in first.constants
    }
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    logits, _ = predict(spec, stacked, numeric, constants, dataset.inputs[dataset.test])
    return logits


def student_folder(trained: Trained) -> Path:
    """Returns the folder of a student of its own; it is there for selected students."""
    return trained.folder / f"member{trained.position:04d}"


def result_line(name: str, root: Path, config: Config, outcome: Outcome) -> dict[str, Any]:
    """Returns one line of `results.jsonl`.

    Args:
        name: The experiment's name.
        root: The workdir, to which the student's folder is relative.
        config: The experiment.
        outcome: The student.
    """
    student, trained = outcome.student, outcome.trained
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": name,
        "method": student.trial.method,
        "trial": student.trial.number,
        "replicate": student.replicate.number,
        "teacher": student.replicate.teacher,
        "selected": outcome.selected,
        "status": "diverged" if trained.diverged else "ok",
        "note": None,
        "settings": student.trial.settings,
        "num_outputs": student.num_outputs,
        "parameters": trained.parameters,
        "steps": config.student.train.steps,
        "train_seconds": trained.train_seconds,
        "validation": trained.validation,
        "test": outcome.test,
        "teacher_test": outcome.teacher_test,
        "student": student_folder(trained).relative_to(root).as_posix(),
        "fingerprint": trained.fingerprint,
    }
