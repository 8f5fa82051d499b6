"""Recomputes a run's table from its files, with none of the project's code.

    python tests/helpers/recompute.py WORKDIR

Reads `results.jsonl` and `run.json` and prints the numbers of the table as JSON. Intervals come
from other random draws than the table's, so their ends agree within a few percent of their width.
"""

import json
import math
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

SMALLER_IS_BETTER = ("nll", "brier", "ece")
RESAMPLES = 10_000


def recompute(workdir: Path) -> dict:
    """Returns the numbers of the table of a workdir."""
    report = json.loads((workdir / "run.json").read_text())["config"]["report"]
    text = (workdir / "results.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return table(lines, report["baseline"], report["selection_metric"], report["confidence"])


def table(lines: list[dict], baseline: str, metric: str, confidence: float) -> dict:
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
            "trials": len({x["trial"] for x in own if x["status"] != "refused"}),
            "diverged": len([x for x in own if x["status"] == "diverged"]),
        }
        result[method] = entry
        chosen = tests[method]
        if not chosen:
            continue
        for name in ("nll", "ece", "agreement"):
            entry[name] = average([line["test"][name] for line in chosen.values()])
        values = {r: number(line["test"][metric]) for r, line in chosen.items()}
        teacher = {r: line["teacher"] for r, line in chosen.items()}
        entry["value"] = spread(values, teacher, confidence)
        if method == baseline or not tests[baseline]:
            continue
        gains = {
            r: value - number(tests[baseline][r]["test"][metric])
            for r, value in values.items()
            if r in tests[baseline]
        }
        sign = -1 if metric in SMALLER_IS_BETTER else 1
        entry["difference"] = spread(gains, teacher, confidence)
        entry["wins"] = len([gain for gain in gains.values() if sign * gain > 0])
        entry["losses"] = len([gain for gain in gains.values() if sign * gain < 0])
        entry["ties"] = len([gain for gain in gains.values() if gain == 0])
        if any(line["status"] == "ok" for line in chosen.values()):
            raw[method] = entry["p_raw"] = test(gains, teacher)
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


def average(values: list) -> float | None:
    return None if None in values else sum(values) / len(values)


def spread(values: dict, teacher: dict, confidence: float) -> dict:
    """Returns mean, standard deviation and a bootstrap interval over replicates or teachers."""
    if any(math.isnan(value) for value in values.values()):
        return dict.fromkeys(("mean", "std", "low", "high"))
    array = np.array(list(values.values()))
    mean = float(array.mean())
    if len(array) == 1:
        return {"mean": mean, "std": None, "low": None, "high": None}
    groups = defaultdict(list)
    for replicate, value in values.items():
        groups[teacher[replicate]].append(value)
    if len(groups) < 3:
        groups = {None: list(values.values())}
    random = np.random.default_rng(12345)
    # How often each teacher is drawn, then how often each of its replicates is.
    often = random.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), RESAMPLES)
    total, count = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for times, group in zip(often.T, groups.values(), strict=True):
        size = len(group)
        total += random.multinomial(times * size, np.full(size, 1 / size)) @ np.array(group)
        count += times * size
    tail = (1 - confidence) / 2
    low, high = np.quantile(total / count, [tail, 1 - tail])
    return {
        "mean": mean,
        "std": math.sqrt(sum((x - mean) ** 2 for x in array) / (len(array) - 1)),
        "low": float(low),
        "high": float(high),
    }


def test(gains: dict, teacher: dict) -> float | None:
    """Returns the p-value of a regression on a constant, clustered by three teachers or more."""
    array = np.array(list(gains.values()))
    size = float(np.abs(array).max())
    if len(array) < 2 or math.isnan(size):
        return None
    if abs(array.mean()) <= 1e-9 * size:
        return 1.0
    if np.ptp(array) <= 1e-9 * size:
        return None
    taught = [teacher[replicate] for replicate in gains]
    if len(set(taught)) < 3:
        return float(stats.ttest_1samp(array, 0).pvalue)
    membership = np.array([[t == name for t in taught] for name in sorted(set(taught))], float)
    clusters = len(membership)
    scores = membership @ (array - array.mean())
    variance = clusters / (clusters - 1) * (scores @ scores) / len(array) ** 2
    if math.sqrt(variance) <= 1e-9 * size:
        return None
    return float(2 * stats.t.sf(abs(array.mean()) / math.sqrt(variance), clusters - 1))


if __name__ == "__main__":
    print(json.dumps(recompute(Path(sys.argv[1])), indent=2))
