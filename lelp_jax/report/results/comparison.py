"""Computes the comparison of methods from the published files.

Nothing but the lines of `results.jsonl` and what follows from `report/test_predictions.npz` is
used, so that anyone can recompute the published table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lelp_jax.core import files, metrics
from lelp_jax.report.results import statistics

Line = Mapping[str, Any]
# What each test row contributes to the metric, [rows], by method and replicate.
Contributions = Mapping[tuple[str, int], np.ndarray]
EQUALS = "equals:"
# Status of what is shown beside the methods without being one.
REFERENCE = "reference"
# The method whose head is as wide as those of other splits, but holds no information.
CONTROL = "random_split"


@dataclasses.dataclass(frozen=True)
class _Results:
    """The test results of one method's selected students.

    Attributes:
        lines: Their lines, by replicate.
        contributions: What each test row contributes to the metric, [rows], by replicate.
        metric: The metric.
        confidence: Coverage of the intervals.
    """

    lines: Mapping[int, Line]
    contributions: Mapping[int, np.ndarray]
    metric: str
    confidence: float

    def value(self, replicate: int) -> float:
        """Reads the metric of a replicate; an undefined one, null in files, becomes NaN."""
        value = self.lines[replicate]["test"][self.metric]
        return float("nan") if value is None else float(value)

    def average(self, key: str) -> float:
        """Computes the mean of a test metric; NaN if one value is unknown."""
        values = [line["test"][key] for line in self.lines.values()]
        if None in values:
            return float("nan")
        return float(statistics.average(np.array(values), self.teachers(self.lines)))

    def teachers(self, replicates: Iterable[int]) -> np.ndarray:
        """Lists the teacher of each replicate, by which the statistics cluster students."""
        return np.array([self.lines[replicate]["teacher"] for replicate in replicates])


def compare(
    lines: Sequence[Line],
    contributions: Contributions,
    baseline: str,
    metric: str,
    confidence: float,
) -> dict[str, Any]:
    """Computes each method's test metrics and its paired difference to the baseline.

    A row of `methods` has `method`, `status` ("ok", "diverged" if every trial has a diverged
    student, "refused" or "equals:NAME"), `note`, `trials` and `diverged`, the number of diverged
    students. If a trial was selected, it also has `value`, `nll`, `ece`, `agreement`, `settings`,
    `num_outputs`, `parameters`, `train_seconds`, `teacher` (mean metric of the method's teachers)
    and `own_teacher` (whether these differ from the common teachers). If the baseline has selected
    lines too, `difference`, `wins`, `losses` and `ties` compare the method's students with the
    baseline's of the same replicates. Methods that were trained themselves, rather than copied from
    a method with the same loss, also have `p_raw`, the p-value of the difference, and `p`, the same
    after Holm's correction over all methods. `control_difference` and `control_p` compare with the
    random split in the same way, if it was trained; that p-value is not corrected. Rows of
    `references` have the status "reference" and neither trials nor p-values.

    Args:
        lines: All lines of `results.jsonl`.
        contributions: What each test row contributes to the metric of each selected student.
        baseline: The method that the others are compared to.
        metric: The test metric to compare.
        confidence: Coverage of the intervals.

    Returns:
        JSON-like: `methods` and `references`, in the order of the lines; `scope`, of whom the
        intervals speak; `compared`, the number of p-values; `teacher`, the mean metric of the
        common teachers; and what the comparison was made with.
    """
    by_method: dict[str, list[Line]] = {line["method"]: [] for line in lines}
    for line in sorted(lines, key=lambda line: line["replicate"]):
        by_method[line["method"]].append(line)
    common = _find_common_teachers(by_method, baseline)
    results = {
        name: _select_results(members, contributions, metric, confidence)
        for name, members in by_method.items()
    }
    rows = []
    for name, members in by_method.items():
        row = _summarise_status(name, members)
        if results[name].lines:
            row |= _summarise_metrics(members, results[name], common)
            if name != baseline and baseline in results:
                row |= _compare_to_baseline(results[name], results[baseline])
            if name != CONTROL and CONTROL in results:
                row |= _compare_to_control(results[name], results[CONTROL])
        rows.append(row)
    # Each further method is one more chance to beat the baseline by luck, so the p-values are
    # corrected together, once all of them are known.
    tested = [row for row in rows if "p_raw" in row]
    corrected = statistics.correct_p_values([row["p_raw"] for row in tested])
    for row, p_value in zip(tested, corrected, strict=True):
        row["p"] = p_value
    taught = {line["replicate"]: line["teacher"] for line in lines if line["teacher"] is not None}
    return {
        "metric": metric,
        "baseline": baseline,
        "confidence": confidence,
        "replicates": len({line["replicate"] for line in lines}),
        "teachers": len(set(taught.values())),
        "test_rows": max((len(rows) for rows in contributions.values()), default=0),
        "scope": statistics.find_scope(np.array(list(taught.values()))),
        "teacher": _average(common.values(), metric) if common else None,
        "compared": len(tested),
        "methods": [row for row in rows if row["status"] != REFERENCE],
        "references": [row for row in rows if row["status"] == REFERENCE],
    }


def _summarise_status(name: str, members: Sequence[Line]) -> dict[str, Any]:
    """Summarises what is known of every method, trained or not."""
    selected = [line for line in members if line["selected"]]
    statuses = {line["status"] for line in members}
    equals = [status for status in statuses if status.startswith(EQUALS)]
    if statuses & {"refused", REFERENCE}:
        (status,) = statuses
    elif equals:
        status = equals[0]
    else:
        status = "ok" if selected else "diverged"
    notes = dict.fromkeys(line["note"] for line in selected or members if line["note"])
    return {
        "method": name,
        "status": status,
        "note": "; ".join(notes) or None,
        "trials": len({x["trial"] for x in members if x["status"] not in ("refused", REFERENCE)}),
        "diverged": sum(line["status"] == "diverged" for line in members),
    }


def _summarise_metrics(
    members: Sequence[Line], results: _Results, common: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """Averages a method's test metrics over its replicates."""
    teachers = _collect_teachers(results.lines.values())
    replicates = list(results.lines)
    values = np.stack([results.contributions[replicate] for replicate in replicates])
    interval, _ = statistics.estimate(values, results.teachers(replicates), results.confidence)
    first = results.lines[replicates[0]]
    return {
        "value": interval._asdict(),
        **{key: results.average(key) for key in ("nll", "ece", "agreement")},
        **{key: first[key] for key in ("settings", "num_outputs", "parameters")},
        # Trials train together in fleets, so the time is averaged over all of them.
        "train_seconds": float(np.mean([line["train_seconds"] for line in members])),
        "teacher": _average(teachers.values(), results.metric) if teachers else None,
        # Cleaned on both sides, so that a NaN equals itself.
        "own_teacher": any(
            files.clean(test) != files.clean(common.get(number, test))
            for number, test in teachers.items()
        ),
    }


def _compare_to_baseline(results: _Results, baseline: _Results) -> dict[str, Any]:
    """Compares a method's students with the baseline's students of the same replicates."""
    paired = [replicate for replicate in results.lines if replicate in baseline.lines]
    if not paired:
        return {}
    direction = metrics.find_direction(results.metric)
    gains = [direction * (results.value(r) - baseline.value(r)) for r in paired]
    interval, p_value = _estimate_difference(results, baseline, paired)
    row: dict[str, Any] = {
        "difference": interval._asdict(),
        "wins": sum(gain > 0 for gain in gains),
        "losses": sum(gain < 0 for gain in gains),
        "ties": sum(gain == 0 for gain in gains),
    }
    # Neither a copy of another method's lines nor a reference is a further hypothesis; testing it
    # would only make the correction stricter for the others.
    if all(results.lines[r]["status"] == "ok" for r in paired):
        row["p_raw"] = p_value
    return row


def _compare_to_control(results: _Results, control: _Results) -> dict[str, Any]:
    """Compares a method's students with those of the random split in the same replicates."""
    paired = [replicate for replicate in results.lines if replicate in control.lines]
    if not paired:
        return {}
    interval, p_value = _estimate_difference(results, control, paired)
    return {"control_difference": interval._asdict(), "control_p": p_value}


def _estimate_difference(
    results: _Results, other: _Results, paired: Sequence[int]
) -> tuple[statistics.Interval, float]:
    """Estimates the mean difference of two methods' students in the same replicates.

    Students of one replicate share rows, initial weights and teacher, and all students share the
    test rows. Their differences vary far less than the values do, so paired differences need fewer
    replicates to show an effect.
    """
    # Two infinite losses differ by NaN.
    with np.errstate(invalid="ignore"):
        difference = np.stack([results.contributions[r] - other.contributions[r] for r in paired])
    return statistics.estimate(difference, results.teachers(paired), results.confidence)


def _select_results(
    members: Sequence[Line], contributions: Contributions, metric: str, confidence: float
) -> _Results:
    """Selects the lines of the selected trial that have test metrics; refused methods have none."""
    lines = {
        line["replicate"]: line for line in members if line["selected"] and line["test"] is not None
    }
    # A method that equals another one has no students, and so no predictions, of its own.
    found = {
        replicate: contributions[line["status"].removeprefix(EQUALS), replicate]
        if line["status"].startswith(EQUALS)
        else contributions[line["method"], replicate]
        for replicate, line in lines.items()
    }
    return _Results(lines, found, metric, confidence)


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


def _average(tests: Iterable[Mapping[str, Any]], metric: str) -> float:
    """Computes the mean of a metric; NaN if one value is unknown."""
    values = [test[metric] for test in tests]
    return float("nan") if None in values else float(np.mean(values))
