"""Recomputes a run's table from its files, with none of the project's code.

    python tests/helpers/recompute.py WORKDIR

Reads `results.jsonl`, `run.json` and `report/test_predictions.npz` and prints the numbers of the
table as JSON, for the metrics accuracy, nll and brier.
"""

import json
import math
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import special, stats

SMALLER_IS_BETTER = ("nll", "brier", "ece")


def recompute(workdir: Path) -> dict:
    """Returns the numbers of the table of a workdir."""
    report = json.loads((workdir / "run.json").read_text())["config"]["report"]
    text = (workdir / "results.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    metric = report["selection_metric"]
    kept = np.load(workdir / "report" / "test_predictions.npz")
    students = zip(kept["method"].tolist(), kept["replicate"].tolist(), strict=True)
    scores = {
        student: score(logits.astype(float), kept["label"], metric)
        for student, logits in zip(students, kept["class_logits"], strict=True)
    }
    return table(lines, scores, report["baseline"], metric, report["confidence"])


def score(logits: np.ndarray, labels: np.ndarray, metric: str) -> np.ndarray:
    """Returns the metric of each test row."""
    if metric == "accuracy":
        return np.where(logits.argmax(axis=1) == labels, 1.0, 0.0)
    if metric not in ("nll", "brier"):
        raise SystemExit(
            f"{metric} is no mean over rows; this script knows accuracy, nll and brier"
        )
    probability = special.softmax(logits, axis=1)
    hit = probability[np.arange(len(labels)), labels]
    if metric == "nll":
        return -np.log(hit)
    return (probability**2).sum(axis=1) + 1 - 2 * hit


def table(lines: list[dict], scores: dict, baseline: str, metric: str, confidence: float) -> dict:
    """Returns the numbers of the table, by method; what is not known is None."""
    tests: dict = defaultdict(dict)
    for line in lines:
        if line["selected"] and line["test"]:
            tests[line["method"]][line["replicate"]] = line
    result: dict = {}
    raw = {}
    for method in dict.fromkeys(line["method"] for line in lines):
        own = [line for line in lines if line["method"] == method]
        entry: dict = {
            "trials": len({x["trial"] for x in own if x["status"] not in ("refused", "reference")}),
            "diverged": len([x for x in own if x["status"] == "diverged"]),
        }
        result[method] = entry
        chosen = tests[method]
        if not chosen:
            continue
        teacher = {r: line["teacher"] for r, line in chosen.items()}
        for name in ("nll", "ece", "agreement"):
            entry[name] = average({r: x["test"][name] for r, x in chosen.items()}, teacher)
        own_scores = {r: find(scores, line) for r, line in chosen.items()}
        entry["value"], _ = infer(own_scores, teacher, confidence)
        for other, key in (("random_split", "control_difference"), (baseline, "difference")):
            pairs = [r for r in chosen if r in tests[other]]
            if method == other or not pairs:
                continue
            gains = {r: own_scores[r] - find(scores, tests[other][r]) for r in pairs}
            entry[key], p = infer(gains, teacher, confidence)
            if key == "control_difference":
                entry["control_p"] = p
                continue
            sign = -1 if metric in SMALLER_IS_BETTER else 1
            changes = [
                sign * (number(chosen[r]["test"][metric]) - number(tests[other][r]["test"][metric]))
                for r in pairs
            ]
            entry["wins"] = len([gain for gain in changes if gain > 0])
            entry["losses"] = len([gain for gain in changes if gain < 0])
            entry["ties"] = len([gain for gain in changes if gain == 0])
            if any(line["status"] == "ok" for line in chosen.values()):
                raw[method] = entry["p_raw"] = p
                entry["p"] = None
    defined = {method: p for method, p in raw.items() if p is not None}
    for method, p in defined.items():
        # The step-down procedure: every p-value up to this one, times how many are as large or
        # larger than that one.
        steps = [q * sum(x >= q for x in defined.values()) for q in defined.values() if q <= p]
        result[method]["p"] = min(1.0, max(steps))
    return {"baseline": baseline, "metric": metric, "compared": len(raw), "methods": result}


def number(value: float | None) -> float:
    return math.nan if value is None else value


def find(scores: dict, line: dict) -> np.ndarray:
    """Returns the scores of a student; a copied line has those of the method it was copied from."""
    return scores[line["status"].partition(":")[2] or line["method"], line["replicate"]]


def average(values: dict, teacher: dict) -> float | None:
    """Returns the mean over teachers of the means over their replicates."""
    if None in values.values():
        return None
    groups = defaultdict(list)
    for replicate, value in values.items():
        groups[teacher[replicate]].append(value)
    return float(np.mean([np.mean(group) for group in groups.values()]))


def infer(scores: dict, teacher: dict, confidence: float) -> tuple[dict, float | None]:
    """Returns mean, standard deviation and interval, and the p-value, from scores of rows."""
    table = np.array(list(scores.values()))
    taught = np.array([teacher[replicate] for replicate in scores])
    result = dict.fromkeys(("mean", "std", "low", "high"))
    if np.isnan(table).any():
        return result, None
    names = sorted(set(taught))
    count, rows = table.shape
    result["mean"] = average({r: x.mean() for r, x in scores.items()}, teacher)
    if count > 1:
        result["std"] = float(table.mean(axis=1).std(ddof=1))
    if len(names) >= 3:
        table = np.array([table[taught == name].mean(axis=0) for name in names])
        taught = np.zeros(len(names))
    # Within teachers (or over teachers): residuals of students' means, and what is left in cells.
    groups = [table[taught == name] for name in sorted(set(taught))]
    degrees = len(table) - len(groups)
    if degrees < 2:
        return result, None
    squares = rest = shares = 0.0
    for group in groups:
        centred = group - group.mean(axis=0)
        squares += (centred.mean(axis=1) ** 2).sum() / degrees
        # Double centring by projection matrices.
        left = np.eye(len(group)) - 1 / len(group)
        right = np.eye(rows) - 1 / rows
        rest += ((left @ group @ right) ** 2).sum() / degrees / (rows - 1)
        shares += 1 / len(group) / len(groups) ** 2
    means = np.mean([group.mean(axis=0) for group in groups], axis=0)
    students = shares * squares
    sampled = max(means.var(ddof=1) / rows - shares * rest / rows, 0.0)
    error = math.sqrt(students + sampled)
    if error <= 1e-9 * np.abs(table).max():
        return result, None
    share = students / error**2
    student = stats.t(1 / (share / degrees + (1 - share) / (rows - 1)))
    width = student.ppf((1 + confidence) / 2) * error
    mean = result["mean"]
    assert mean is not None
    result |= {"low": mean - width, "high": mean + width}
    return result, float(2 * student.sf(abs(mean) / error))


if __name__ == "__main__":
    print(json.dumps(recompute(Path(sys.argv[1])), indent=2))
