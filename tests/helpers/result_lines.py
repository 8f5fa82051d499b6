"""Lines of `results.jsonl` made by hand or drawn, without a run."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lelp_jax.report.results.comparison import compare

# Test accuracy of each teacher.
TEACHERS = (0.9, 0.95, 0.92, 0.94)


def line(method: str, replicate: int, value: float | None, **changes: Any) -> dict[str, Any]:
    """Returns a line with every key; `value` is the test accuracy of a selected student."""
    test = None
    if value is not None:
        test = {"accuracy": value, "nll": 1 - value, "ece": value / 10, "agreement": value / 2}
    teacher = changes.get("teacher", replicate % 2)
    answers = TEACHERS[teacher]
    return {
        "schema_version": 1,
        "experiment": "made",
        "method": method,
        "trial": 0,
        "replicate": replicate,
        "teacher": teacher,
        "selected": value is not None,
        "status": "ok",
        "note": None,
        "settings": {"learning_rate": 0.1},
        "num_outputs": 2,
        "parameters": 10,
        "steps": 100,
        "train_seconds": 2.0,
        "validation": {"accuracy": 0.5, "nll": 0.5},
        "test": test,
        "teacher_test": None if test is None else {"accuracy": answers, "nll": 1 - answers},
        "student": f"students/made/member{replicate:04d}",
        "fingerprint": "made",
    } | changes


def refused(method: str, replicates: int, note: str) -> list[dict[str, Any]]:
    """Returns the lines of a refused method."""
    absent = ("num_outputs", "parameters", "steps", "train_seconds", "validation", "test")
    unknown = dict.fromkeys([*absent, "teacher_test", "student", "fingerprint"])
    changes = {"selected": True, "status": "refused", "note": note, "settings": {}, **unknown}
    return [line(method, replicate, None, **changes) for replicate in range(replicates)]


def copies(
    lines: Sequence[dict[str, Any]], source: str, method: str, note: str
) -> list[dict[str, Any]]:
    """Returns another method's lines under the name of one that equals it."""
    changes = {"method": method, "status": f"equals:{source}", "note": note}
    return [entry | changes for entry in lines if entry["method"] == source]


def beside(values: dict[str, float], replicates: int) -> list[dict[str, Any]]:
    """Returns the lines of references by their test accuracy."""
    changes = {"status": "reference", "settings": {"C": 0.1}, "steps": None, "student": None}
    return [line(name, r, values[name], **changes) for name in values for r in range(replicates)]


def drawn(
    gains: dict[str, float], replicates: int, teachers: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Returns a comparison in which each method gains about so much; trials vary three settings."""
    random = np.random.default_rng(seed)
    grid = list(itertools.product((2, 5, 10, 20), (0.25, 0.5, 1.0), (1.0, 4.0)))
    easy = (
        random.normal(0.9, 0.01, replicates)
        + random.normal(0, 0.01, teachers)[np.arange(replicates) % teachers]
    )
    result = []
    for method, gain in gains.items():
        score = easy + gain + random.normal(0, 0.004, replicates)
        for trial, (subclasses, beta, temperature) in enumerate(grid):
            loss = 0.01 * np.abs(np.log([subclasses / 10, beta / 0.5])).sum() + 0.001 * temperature
            for replicate in range(replicates):
                chosen = trial == 15
                value = round(float(score[replicate] * 500)) / 500 if chosen else None
                shown = float(score[replicate] - loss)
                result.append(
                    line(
                        method,
                        replicate,
                        value,
                        trial=trial,
                        teacher=replicate % teachers,
                        settings={
                            "learning_rate": 0.001,
                            "num_subclasses": subclasses,
                            "beta": beta,
                            "temperature": temperature,
                        },
                        validation={"accuracy": shown, "nll": 1 - shown},
                    )
                )
    return result


REASON = "With two classes the standardised logits are [1, -1] whatever the student says"
GAINS = {"labels": -0.02, "kd": 0.0, "lelp": 0.01, "oracle": 0.0}


def everything() -> list[dict[str, Any]]:
    """Returns lines of every status, three teachers and eight replicates."""
    made = drawn(GAINS, replicates=8, teachers=3)
    made += copies(made, "kd", "dkd", "The loss is that of kd")
    made += refused("standardised", 8, f"{REASON} | no gradient")
    made += [line("wild", r, None, status="diverged", teacher=r % 3) for r in range(8)]
    return made


def split(made: Sequence[dict[str, Any]], metric: str) -> dict[tuple[str, int], np.ndarray]:
    """Returns what each of four equal test rows contributes to the metric of a student."""
    return {
        (entry["method"], entry["replicate"]): np.full(
            4, np.nan if entry["test"][metric] is None else entry["test"][metric]
        )
        for entry in made
        if entry["test"] is not None and entry["status"] in ("ok", "reference")
    }


def compared(
    made: Sequence[dict[str, Any]],
    metric: str = "accuracy",
    baseline: str = "kd",
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Returns the comparison of lines whose students vary, but not the test rows."""
    return compare(made, split(made, metric), baseline, metric, confidence)
