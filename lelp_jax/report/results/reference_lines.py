"""Evaluates the references on the test rows and makes their lines of `results.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.experiment.run import Run
from lelp_jax.references.stage import Reference
from lelp_jax.report.results import contributions
from lelp_jax.report.results.comparison import REFERENCE
from lelp_jax.report.results.evaluation import SCHEMA_VERSION, TeacherTest


class EvaluatedReference(NamedTuple):
    """A reference of one replicate.

    Attributes:
        line: Its line of `results.jsonl`.
        test_logits: Class logits of the test rows, [rows, classes]; None if it was not fitted.
        contributions: What each test row contributes to the metric of the comparison, [rows]; None
            likewise.
    """

    line: dict[str, Any]
    test_logits: np.ndarray | None
    contributions: np.ndarray | None


def evaluate_references(
    run: Run, references: Sequence[Reference], teachers: Mapping[str, TeacherTest]
) -> list[EvaluatedReference]:
    """Evaluates references on the test rows.

    Args:
        run: The run.
        references: The references.
        teachers: The teachers of their replicates on the test rows, by fingerprint.

    Returns:
        One result for every reference and replicate.
    """
    labels, metric = run.dataset.labels[run.dataset.test], run.config.report.selection_metric
    result = []
    for reference in references:
        for place, replicate in enumerate(reference.replicates):
            teacher = teachers[replicate.teacher.fingerprint]
            if not reference.fits:
                line = _make_line(run, reference, place, None, teacher)
                result.append(EvaluatedReference(line, None, None))
                continue
            logits = reference.fits[place].test_logits
            test = {
                **metrics.evaluate(logits, labels),
                **metrics.measure_agreement(logits, teacher.logits),
            }
            line = _make_line(run, reference, place, test, teacher)
            shares = contributions.split(metric, logits, labels)
            result.append(EvaluatedReference(line, logits, shares))
    return result


def _make_line(
    run: Run,
    reference: Reference,
    place: int,
    test: Mapping[str, float] | None,
    teacher: TeacherTest,
) -> dict[str, Any]:
    """Makes the line of a replicate, with the keys of a student's and in the same order."""
    replicate = reference.replicates[place]
    fit = reference.fits[place] if reference.fits else None
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": run.name,
        "method": reference.name,
        "trial": 0,
        "replicate": replicate.number,
        "teacher": replicate.teacher_number,
        "selected": True,
        "status": REFERENCE,
        "note": reference.note or None,
        "settings": reference.hyperparameters,
        "num_outputs": run.dataset.num_classes,
        "parameters": fit.parameters if fit else None,
        "steps": None,
        "train_seconds": fit.train_seconds if fit else None,
        "validation": fit.validation if fit else None,
        "test": test,
        "teacher_test": teacher.metrics,
        "student": None,
        "fingerprint": reference.fingerprint,
    }
