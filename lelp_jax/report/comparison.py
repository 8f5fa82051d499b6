"""The numbers of the table, from result lines alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lelp_jax.report.statistics import interval

Line = Mapping[str, Any]


def compare(lines: Sequence[Line], baseline: str, metric: str, confidence: float) -> dict[str, Any]:
    """Returns the comparison as JSON-like content.

    Args:
        lines: All lines of `results.jsonl`.
        baseline: The method that the others are compared to.
        metric: The test metric compared.
        confidence: Coverage of the intervals.

    Returns:
        `methods`, a list in the order of the lines, and `teacher`, the teachers' mean metric.
    """
    by_method: dict[str, list[Line]] = {line["method"]: [] for line in lines}
    for line in sorted(lines, key=lambda line: line["replicate"]):
        by_method[line["method"]].append(line)
    reference = _values([x for x in by_method[baseline] if x["selected"]], metric)
    methods = []
    for name, members in by_method.items():
        selected = [line for line in members if line["selected"]]
        row: dict[str, Any] = {
            "method": name,
            "trials": len({line["trial"] for line in members}),
            "diverged": sum(line["status"] == "diverged" for line in members),
        }
        if selected:
            values = _values(selected, metric)
            teacher = np.array([line["teacher"] for line in selected])
            row |= {
                "value": interval(values, teacher, confidence)._asdict(),
                "nll": _mean(selected, "nll"),
                "ece": _mean(selected, "ece"),
                "agreement": _mean(selected, "agreement"),
                "settings": selected[0]["settings"],
                "num_outputs": selected[0]["num_outputs"],
                "parameters": selected[0]["parameters"],
                "train_seconds": float(np.mean([line["train_seconds"] for line in members])),
            }
            if name != baseline and len(reference):
                difference = interval(values - reference, teacher, confidence)
                row["difference"] = difference._asdict()
                row["wins"] = int((values > reference).sum())
                row["losses"] = int((values < reference).sum())
        methods.append(row)
    teachers = {line["teacher"]: line["teacher_test"] for line in lines if line["teacher_test"]}
    return {
        "metric": metric,
        "baseline": baseline,
        "confidence": confidence,
        "replicates": len({line["replicate"] for line in lines}),
        "teachers": len({line["teacher"] for line in lines}),
        "teacher": float(np.mean([test[metric] for test in teachers.values()]))
        if teachers
        else None,
        "methods": methods,
    }


def _values(lines: Sequence[Line], metric: str) -> np.ndarray:
    return np.array([line["test"][metric] for line in lines])


def _mean(lines: Sequence[Line], metric: str) -> float:
    """Returns the mean of a metric; NaN where the teacher's test answers are not known."""
    return float(np.mean([line["test"][metric] for line in lines]))
