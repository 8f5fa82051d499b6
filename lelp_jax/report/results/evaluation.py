"""Evaluates the selected students on the test rows; the only reader of those rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax.core import metrics
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.deploy import export
from lelp_jax.experiment.config import Config
from lelp_jax.inputs import Inputs
from lelp_jax.methods.base import Verdict
from lelp_jax.students.grid import Student
from lelp_jax.students.selection import choose
from lelp_jax.train.predict import predict
from lelp_jax.train.scheduler import Trained

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
    dataset: Dataset,
    inputs: Inputs,
    outcomes: Sequence[Outcome],
    session: Session,
) -> list[Outcome]:
    """Returns the outcomes with the test metrics of the selected students.

    Args:
        dataset: The data.
        inputs: What the students see of them.
        outcomes: As `select` gave them.
        session: The run.

    Raises:
        Interrupted: The run was asked to stop.
    """
    labels = dataset.labels[dataset.test]
    teachers = {
        outcome.student.replicate.teacher.fingerprint: outcome.student.replicate.teacher
        for outcome in outcomes
        if outcome.selected
    }
    logits = {
        name: teacher.class_logits(dataset.test) if teacher.answers_test else None
        for name, teacher in teachers.items()
    }
    teacher_test = {
        name: None if known is None else metrics.evaluate(known, labels)
        for name, known in logits.items()
    }
    selected: dict[str, list[int]] = {}
    for place, outcome in enumerate(outcomes):
        if outcome.selected:
            selected.setdefault(outcome.student.trial.method, []).append(place)
    result = list(outcomes)
    for places in selected.values():
        session.interrupts.check()
        predicted = _predict(dataset, inputs, [outcomes[place] for place in places])
        for place, values in zip(places, predicted, strict=True):
            teacher = outcomes[place].student.replicate.teacher.fingerprint
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


def _predict(dataset: Dataset, inputs: Inputs, outcomes: Sequence[Outcome]) -> np.ndarray:
    """Exports one method's students and returns their test logits, [students, rows, classes]."""
    spec = outcomes[0].student.spec
    params = []
    for outcome in outcomes:
        student = outcome.student
        params.append(outcome.trained.load(spec, inputs.values))
        export.save(
            student_folder(outcome.trained),
            method=student.trial.method,
            hyperparameters=student.trial.traced,
            model=student.network.settings,
            num_outputs=student.num_outputs,
            inputs=inputs,
            params=params[-1],
            constants=student.constants,
            class_names=dataset.class_names,
            facts={
                "settings": student.trial.hyperparameters,
                "replicate": student.replicate.number,
                "validation": outcome.trained.validation,
                "fingerprint": outcome.trained.fingerprint,
            },
        )
    first = outcomes[0].student
    hyperparameters = {
        name: np.array([o.student.trial.traced[name] for o in outcomes], np.float32)
        for name in first.trial.traced
    }
    constants = {
        name: np.stack([o.student.constants[name] for o in outcomes]) for name in first.constants
    }
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    logits, _ = predict(spec, stacked, hyperparameters, constants, inputs.values[dataset.test])
    return logits


def student_folder(trained: Trained) -> Path:
    """Returns the folder of a student of its own; it is there for selected students."""
    return trained.folder / f"member{trained.position:04d}"


def result_lines(
    name: str,
    root: Path,
    config: Config,
    outcomes: Sequence[Outcome],
    verdicts: Mapping[str, Verdict],
) -> list[dict[str, Any]]:
    """Returns the lines of `results.jsonl`, in the order of the methods in the comparison.

    Args:
        name: The experiment's name.
        root: The workdir, to which the students' folders are relative.
        config: The experiment.
        outcomes: The students.
        verdicts: What was known of methods before; those refused have a line per replicate, and
            those that equal another method repeat its lines.
    """
    trained: dict[str, list[dict[str, Any]]] = {method: [] for method in config.methods}
    teachers = {}
    for outcome in outcomes:
        student = outcome.student
        teachers[student.replicate.number] = student.replicate.teacher_number
        note = verdicts[student.trial.method].note if student.trial.method in verdicts else None
        trained[student.trial.method].append(_line(name, root, config, outcome, note))
    lines = []
    for method in config.methods:
        verdict = verdicts.get(method, Verdict("ok", None, ""))
        if verdict.kind == "same_as":
            assert verdict.method is not None
            changes = {"method": method, "status": verdict.status, "note": verdict.note}
            lines += [
                line | (changes if line["status"] == "ok" else {"method": method})
                for line in trained[verdict.method]
            ]
        elif verdict.kind == "refused":
            lines += [
                _refused(name, method, replicate, teachers.get(replicate), verdict.note)
                for replicate in range(config.replicates)
            ]
        else:
            lines += trained[method]
    return lines


def _line(
    name: str, root: Path, config: Config, outcome: Outcome, note: str | None
) -> dict[str, Any]:
    student, trained = outcome.student, outcome.trained
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": name,
        "method": student.trial.method,
        "trial": student.trial.number,
        "replicate": student.replicate.number,
        "teacher": student.replicate.teacher_number,
        "selected": outcome.selected,
        "status": "diverged" if trained.diverged else "ok",
        "note": note,
        "settings": student.trial.hyperparameters,
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


def _refused(
    name: str, method: str, replicate: int, teacher: int | None, note: str
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": name,
        "method": method,
        "trial": 0,
        "replicate": replicate,
        "teacher": teacher,
        "selected": True,
        "status": "refused",
        "note": note,
        "settings": {},
        "num_outputs": None,
        "parameters": None,
        "steps": None,
        "train_seconds": None,
        "validation": None,
        "test": None,
        "teacher_test": None,
        "student": None,
        "fingerprint": None,
    }
