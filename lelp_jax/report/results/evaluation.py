"""Evaluates the selected students on the test rows.

They are read after selection, once per selected student, so that no choice of hyperparameters can
depend on them. The references, which are predicted after their selection, too, are evaluated in
`reference_lines`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.experiment.run import Run
from lelp_jax.methods.base import Verdict
from lelp_jax.report.results import contributions
from lelp_jax.report.results.corrections import describe_corrections
from lelp_jax.students.prediction import predict_rows
from lelp_jax.students.replicates import Replicate
from lelp_jax.students.selection import Outcome

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Evaluated(Outcome):
    """A trained student with, if it is selected, its test metrics.

    Attributes:
        test: Test metrics; None for a student that is not selected.
        test_logits: Class logits of the test rows, [rows, classes]; None likewise.
        contributions: What each test row contributes to the metric of the comparison, [rows]; None
            likewise.
        teacher_test: Test metrics of its teacher; None if its test outputs are unknown.
    """

    test: Mapping[str, float] | None = None
    test_logits: np.ndarray | None = None
    contributions: np.ndarray | None = None
    teacher_test: Mapping[str, float] | None = None


class TeacherTest(NamedTuple):
    """A teacher on the test rows; all is None if its outputs for them are unknown.

    Attributes:
        logits: Class logits, [rows, classes].
        metrics: Test metrics.
    """

    logits: np.ndarray | None
    metrics: Mapping[str, float] | None


def evaluate_teachers(run: Run, replicates: Iterable[Replicate]) -> dict[str, TeacherTest]:
    """Evaluates the teachers of replicates on the test rows.

    Args:
        run: The run.
        replicates: The replicates.

    Returns:
        The result by the teacher's fingerprint.
    """
    test = run.dataset.test
    result = {}
    for teacher in {each.teacher.fingerprint: each.teacher for each in replicates}.values():
        # An imported teacher may come without outputs for the test rows.
        logits = teacher.class_logits(test) if teacher.answers_test else None
        known = None if logits is None else metrics.evaluate(logits, run.dataset.labels[test])
        result[teacher.fingerprint] = TeacherTest(logits, known)
    return result


def evaluate(
    run: Run, outcomes: Sequence[Outcome], teachers: Mapping[str, TeacherTest]
) -> list[Evaluated]:
    """Evaluates the selected students on the test rows.

    Args:
        run: The run.
        outcomes: All students; those that are not selected pass through without test metrics.
        teachers: Their teachers on the test rows, by fingerprint.

    Returns:
        All students, in the same order.

    Raises:
        Interrupted: The run was asked to stop.
    """
    test, metric = run.dataset.test, run.config.report.selection_metric
    labels = run.dataset.labels[test]
    # The replicates of a method share one network, so one batched call predicts for all of them.
    selected: dict[str, list[int]] = {}
    for position, outcome in enumerate(outcomes):
        if outcome.selected:
            selected.setdefault(outcome.student.trial.method, []).append(position)
    result = [Evaluated(o.student, o.trained, o.selected) for o in outcomes]
    for positions in selected.values():
        run.session.interrupts.check()
        predicted = predict_rows(run, [outcomes[position] for position in positions], test)
        for position, test_logits in zip(positions, predicted, strict=True):
            teacher = teachers[outcomes[position].student.replicate.teacher.fingerprint]
            result[position] = dataclasses.replace(
                result[position],
                test={
                    **metrics.evaluate(test_logits, labels),
                    **metrics.measure_agreement(test_logits, teacher.logits),
                },
                test_logits=test_logits,
                contributions=contributions.split(metric, test_logits, labels),
                teacher_test=teacher.metrics,
            )
        run.session.reporter.advance(len(positions))
    return result


def make_result_lines(
    run: Run,
    outcomes: Sequence[Evaluated],
    exported: Mapping[str, Path],
    verdicts: Mapping[str, Verdict],
) -> list[dict[str, Any]]:
    """Makes the lines of `results.jsonl`, in the config's order of methods.

    Args:
        run: The run.
        outcomes: The students.
        exported: The folder of each exported student, by the student's fingerprint.
        verdicts: Verdicts on methods that were found before training. A refused method has one line
            per replicate; a method that equals another one repeats its lines.
    """
    name, config = run.name, run.config
    trained: dict[str, list[dict[str, Any]]] = {method: [] for method in config.methods}
    teachers, corrections = {}, describe_corrections(outcomes)
    for outcome in outcomes:
        student, method = outcome.student, outcome.student.trial.method
        teachers[student.replicate.number] = student.replicate.teacher_number
        notes = [verdicts[method].note] if method in verdicts else []
        notes += [corrections[method]] if method in corrections else []
        trained[method].append(_make_line(run, outcome, exported, "; ".join(notes) or None))
    lines = []
    for method in config.methods:
        verdict = verdicts.get(method, Verdict("ok", None, ""))
        if verdict.kind == "same_as":
            assert verdict.method is not None
            # A diverged line keeps its status, so that diverged students are counted alike.
            changes = {"method": method, "status": verdict.status, "note": verdict.note}
            lines += [
                line | (changes if line["status"] == "ok" else {"method": method})
                for line in trained[verdict.method]
            ]
        elif verdict.kind == "refused":
            lines += [
                _make_refused_line(name, method, replicate, teachers.get(replicate), verdict.note)
                for replicate in range(config.replicates)
            ]
        else:
            lines += trained[method]
    return lines


def _make_line(
    run: Run, outcome: Evaluated, exported: Mapping[str, Path], note: str | None
) -> dict[str, Any]:
    """Makes the line of one student. Scripts rely on its keys and on their order."""
    student, trained = outcome.student, outcome.trained
    folder = exported.get(trained.fingerprint)
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": run.name,
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
        "steps": run.config.student.train.steps,
        "train_seconds": trained.train_seconds,
        "validation": trained.validation,
        "test": outcome.test,
        "teacher_test": outcome.teacher_test,
        "student": None if folder is None else folder.relative_to(run.root).as_posix(),
        "fingerprint": trained.fingerprint,
    }


def _make_refused_line(
    name: str, method: str, replicate: int, teacher: int | None, note: str
) -> dict[str, Any]:
    """Makes a line of a method that was not trained, with the same keys as any other line."""
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
