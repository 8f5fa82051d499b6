"""Computes the comparison of methods from the lines of `results.jsonl` alone.

Nothing else is read, so that anyone can recompute the published table from the published file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lelp_jax.core import files, metrics
from lelp_jax.report.results.statistics import (
    bootstrap_interval,
    compute_p_value,
    correct_p_values,
)

Line = Mapping[str, Any]
EQUALS = "equals:"


def compare(lines: Sequence[Line], baseline: str, metric: str, confidence: float) -> dict[str, Any]:
    """Computes each method's test metrics and its paired difference to the baseline.

    A row of `methods` has `method`, `status` ("ok", "diverged" if every trial has a diverged
    student, "refused" or "equals:NAME"), `note`, `trials` and `diverged`, the number of diverged
    students. If a trial was selected, it also has `value`, `nll`, `ece`, `agreement`, `settings`,
    `num_outputs`, `parameters`, `train_seconds`, `teacher` (mean metric of the method's teachers)
    and `own_teacher` (whether these differ from the common teachers). If the baseline has selected
    lines too, `difference`, `wins`, `losses` and `ties` compare the method's students with the
    baseline's of the same replicates. Methods that were trained themselves, rather than copied from
    a method with the same loss, also have `p_raw`, the p-value of the difference, and `p`, the same
    after Holm's correction over all methods.

    Args:
        lines: All lines of `results.jsonl`.
        baseline: The method that the others are compared to.
        metric: The test metric to compare.
        confidence: Coverage of the intervals.

    Returns:
        JSON-like: `methods`, in the order of the lines; `compared`, the number of p-values;
        `teacher`, the mean metric of the common teachers; and what the comparison was made with.
    """
    by_method: dict[str, list[Line]] = {line["method"]: [] for line in lines}
    for line in sorted(lines, key=lambda line: line["replicate"]):
        by_method[line["method"]].append(line)
    common = _find_common_teachers(by_method, baseline)
    reference = {
        line["replicate"]: _read_metric(line, metric)
        for line in _select_evaluated(by_method.get(baseline, ()))
    }
    rows = []
    for name, members in by_method.items():
        row = _summarise_status(name, members)
        selected = _select_evaluated(members)
        if selected:
            row |= _summarise_metrics(members, selected, metric, confidence, common)
            if name != baseline:
                row |= _compare_to_baseline(reference, selected, metric, confidence)
        rows.append(row)
    # Each further method is one more chance to beat the baseline by luck, so the p-values are
    # corrected together, once all of them are known.
    tested = [row for row in rows if "p_raw" in row]
    corrected = correct_p_values([row["p_raw"] for row in tested])
    for row, p_value in zip(tested, corrected, strict=True):
        row["p"] = p_value
    return {
        "metric": metric,
        "baseline": baseline,
        "confidence": confidence,
        "replicates": len({line["replicate"] for line in lines}),
        "teachers": len({line["teacher"] for line in lines} - {None}),
        "teacher": _average(common.values(), metric) if common else None,
        "compared": len(tested),
        "methods": rows,
    }


def _summarise_status(name: str, members: Sequence[Line]) -> dict[str, Any]:
    """Summarises what is known of every method, trained or not."""
    selected = [line for line in members if line["selected"]]
    statuses = {line["status"] for line in members}
    equals = [status for status in statuses if status.startswith(EQUALS)]
    if "refused" in statuses:
        status = "refused"
    elif equals:
        status = equals[0]
    else:
        status = "ok" if selected else "diverged"
    notes = dict.fromkeys(line["note"] for line in selected or members if line["note"])
    return {
        "method": name,
        "status": status,
        "note": "; ".join(notes) or None,
        "trials": 0 if status == "refused" else len({line["trial"] for line in members}),
        "diverged": sum(line["status"] == "diverged" for line in members),
    }


def _summarise_metrics(
    members: Sequence[Line],
    selected: Sequence[Line],
    metric: str,
    confidence: float,
    common: Mapping[int, Mapping[str, Any]],
) -> dict[str, Any]:
    """Averages a method's test metrics over its replicates."""
    tests = [line["test"] for line in selected]
    teachers = _collect_teachers(selected)
    values = np.array([_read_metric(line, metric) for line in selected])
    return {
        "value": bootstrap_interval(values, _list_clusters(selected), confidence)._asdict(),
        **{key: _average(tests, key) for key in ("nll", "ece", "agreement")},
        **{key: selected[0][key] for key in ("settings", "num_outputs", "parameters")},
        # Trials train together in fleets, so the time is averaged over all of them.
        "train_seconds": float(np.mean([line["train_seconds"] for line in members])),
        "teacher": _average(teachers.values(), metric) if teachers else None,
        # Cleaned on both sides, so that a NaN equals itself.
        "own_teacher": any(
            files.clean(test) != files.clean(common.get(number, test))
            for number, test in teachers.items()
        ),
    }


def _compare_to_baseline(
    reference: Mapping[int, float], selected: Sequence[Line], metric: str, confidence: float
) -> dict[str, Any]:
    """Compares a method's students with the baseline's students of the same replicates.

    Students of one replicate share rows, initial weights and teacher. Their differences vary far
    less than the values do, so paired differences need fewer replicates to show an effect.
    """
    paired = [line for line in selected if line["replicate"] in reference]
    if not paired:
        return {}
    difference = np.array(
        [_read_metric(line, metric) - reference[line["replicate"]] for line in paired]
    )
    gain = metrics.find_direction(metric) * difference
    clusters = _list_clusters(paired)
    row: dict[str, Any] = {
        "difference": bootstrap_interval(difference, clusters, confidence)._asdict(),
        "wins": int((gain > 0).sum()),
        "losses": int((gain < 0).sum()),
        "ties": int((gain == 0).sum()),
    }
    # A copy of another method's lines is no further hypothesis; testing it would only make the
    # correction stricter for the others.
    if not any(line["status"].startswith(EQUALS) for line in paired):
        row["p_raw"] = compute_p_value(difference, clusters)
    return row


def _select_evaluated(lines: Iterable[Line]) -> list[Line]:
    """Selects the lines of the selected trial that have test metrics; refused methods have none."""
    return [line for line in lines if line["selected"] and line["test"] is not None]


def _collect_teachers(lines: Iterable[Line]) -> dict[int, Mapping[str, Any]]:
    """Collects the known test metrics of the teachers in the lines, by teacher number."""
    return {line["teacher"]: line["teacher_test"] for line in lines if line["teacher_test"]}


def _find_common_teachers(
    by_method: Mapping[str, Sequence[Line]], baseline: str
) -> dict[int, Mapping[str, Any]]:
    """Finds the baseline's teachers, or those of the first trained method without a baseline."""
    for name in dict.fromkeys([baseline, *by_method]):
        teachers = _collect_teachers(x for x in by_method.get(name, ()) if x["status"] == "ok")
        if teachers:
            return teachers
    return {}


def _list_clusters(lines: Sequence[Line]) -> np.ndarray:
    """Lists the teacher number of each line, by which the statistics cluster students."""
    return np.array([line["teacher"] for line in lines])


def _read_metric(line: Line, metric: str) -> float:
    """Reads a test metric; an undefined one, null in files, becomes NaN."""
    value = line["test"][metric]
    return float("nan") if value is None else float(value)


def _average(tests: Iterable[Mapping[str, Any]], metric: str) -> float:
    """Computes the mean of a metric; NaN if one value is unknown."""
    values = [test[metric] for test in tests]
    return float("nan") if None in values else float(np.mean(values))
