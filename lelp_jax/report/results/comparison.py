"""The numbers of the table, from result lines alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lelp_jax.core import files, metrics
from lelp_jax.report.results.statistics import holm, interval, p_value

Line = Mapping[str, Any]
EQUALS = "equals:"


def compare(lines: Sequence[Line], baseline: str, metric: str, confidence: float) -> dict[str, Any]:
    """Returns the comparison as JSON-like content.

    A row of `methods` has `method`, `status` ("ok", "diverged" where no trial was without a
    diverged student, "refused" or "equals:NAME"), `note`, `trials` and `diverged`, the number of
    students that did. Where a trial was selected it also has `value`, `nll`, `ece`, `agreement`,
    `settings`, `num_outputs`, `parameters`, `train_seconds`, `teacher`, the mean metric of the
    teachers it learnt from, and `own_teacher`, whether these are not the common ones. Where there
    are selected lines of the baseline, too, `difference`, `wins`, `losses` and `ties` say how its
    students do against the baseline's of the same replicates; for methods trained for themselves
    `p_raw` is the p-value of the difference and `p` the same after Holm's correction over all.

    Args:
        lines: All lines of `results.jsonl`.
        baseline: The method that the others are compared to.
        metric: The test metric compared.
        confidence: Coverage of the intervals.

    Returns:
        `methods`, a list in the order of the lines; `compared`, how many p-values there are; and
        `teacher`, the mean metric of the common teachers.
    """
    by_method: dict[str, list[Line]] = {line["method"]: [] for line in lines}
    for line in sorted(lines, key=lambda line: line["replicate"]):
        by_method[line["method"]].append(line)
    common = _common_teachers(by_method, baseline)
    reference = {
        line["replicate"]: _value(line, metric) for line in _evaluated(by_method.get(baseline, ()))
    }
    rows = []
    for name, members in by_method.items():
        row = _summary(name, members)
        selected = _evaluated(members)
        if selected:
            row |= _own_numbers(members, selected, metric, confidence, common)
            if name != baseline:
                row |= _against(reference, selected, metric, confidence)
        rows.append(row)
    tested = [row for row in rows if "p_raw" in row]
    for row, corrected in zip(tested, holm([row["p_raw"] for row in tested]), strict=True):
        row["p"] = corrected
    return {
        "metric": metric,
        "baseline": baseline,
        "confidence": confidence,
        "replicates": len({line["replicate"] for line in lines}),
        "teachers": len({line["teacher"] for line in lines} - {None}),
        "teacher": _mean(common.values(), metric) if common else None,
        "compared": len(tested),
        "methods": rows,
    }


def _summary(name: str, members: Sequence[Line]) -> dict[str, Any]:
    """Returns what is known of every method, trained or not."""
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


def _own_numbers(
    members: Sequence[Line],
    selected: Sequence[Line],
    metric: str,
    confidence: float,
    common: Mapping[int, Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns what a method's own lines say."""
    tests = [line["test"] for line in selected]
    own = _teachers(selected)
    return {
        "value": interval(
            np.array([_value(line, metric) for line in selected]), _taught_by(selected), confidence
        )._asdict(),
        **{key: _mean(tests, key) for key in ("nll", "ece", "agreement")},
        **{key: selected[0][key] for key in ("settings", "num_outputs", "parameters")},
        "train_seconds": float(np.mean([line["train_seconds"] for line in members])),
        "teacher": _mean(own.values(), metric) if own else None,
        "own_teacher": any(
            files.clean(test) != files.clean(common.get(number, test))
            for number, test in own.items()
        ),
    }


def _against(
    reference: Mapping[int, float], selected: Sequence[Line], metric: str, confidence: float
) -> dict[str, Any]:
    """Returns how a method's students do against the baseline's of the same replicates."""
    paired = [line for line in selected if line["replicate"] in reference]
    if not paired:
        return {}
    gain = np.array([_value(line, metric) - reference[line["replicate"]] for line in paired])
    better = metrics.direction(metric) * gain
    teacher = _taught_by(paired)
    row: dict[str, Any] = {
        "difference": interval(gain, teacher, confidence)._asdict(),
        "wins": int((better > 0).sum()),
        "losses": int((better < 0).sum()),
        "ties": int((better == 0).sum()),
    }
    if not any(line["status"].startswith(EQUALS) for line in paired):
        row["p_raw"] = p_value(gain, teacher)
    return row


def _evaluated(lines: Iterable[Line]) -> list[Line]:
    """Returns the lines of the selected trial; those of a refused method have no test."""
    return [line for line in lines if line["selected"] and line["test"] is not None]


def _teachers(lines: Iterable[Line]) -> dict[int, Mapping[str, Any]]:
    """Returns the test metrics of each teacher that is named by the lines, where they are known."""
    return {line["teacher"]: line["teacher_test"] for line in lines if line["teacher_test"]}


def _common_teachers(
    by_method: Mapping[str, Sequence[Line]], baseline: str
) -> dict[int, Mapping[str, Any]]:
    """Returns the baseline's teachers, or those of the first method that was trained."""
    for name in dict.fromkeys([baseline, *by_method]):
        known = _teachers(x for x in by_method.get(name, ()) if x["status"] == "ok")
        if known:
            return known
    return {}


def _taught_by(lines: Sequence[Line]) -> np.ndarray:
    return np.array([line["teacher"] for line in lines])


def _value(line: Line, metric: str) -> float:
    """Returns a test metric; NaN, which files hold as null, where it is not defined."""
    value = line["test"][metric]
    return float("nan") if value is None else float(value)


def _mean(tests: Iterable[Mapping[str, Any]], metric: str) -> float:
    """Returns the mean of a metric; NaN where one is not known."""
    values = [test[metric] for test in tests]
    return float("nan") if None in values else float(np.mean(values))
