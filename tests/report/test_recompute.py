"""The table recomputed without the project's code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.core import files
from lelp_jax.report.results.comparison import compare
from tests.helpers import recompute
from tests.helpers.result_lines import GAINS, compared, copies, drawn, line, refused


def assert_same(one: Any, other: Any, width: float) -> None:
    """Compares numbers closely, and ends of intervals by their width."""
    for key, value in other.items():
        if isinstance(value, dict):
            span = (value.get("high") or 0) - (value.get("low") or 0)
            assert_same(one[key], value, span)
        elif value is None or isinstance(value, str):
            assert one.get(key) == value, key
        else:
            allowed = 0.06 * width if key in ("low", "high") else 1e-9
            assert one[key] == pytest.approx(value, rel=1e-9, abs=allowed), key


@pytest.mark.parametrize("teachers", [1, 2, 3, 8])
@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_the_table_is_the_same_without_the_projects_code(teachers: int, metric: str) -> None:
    made = drawn({**GAINS, "a": 0.003, "b": 0.002}, replicates=8, teachers=min(teachers, 4))
    made = [x | {"teacher": x["replicate"] % teachers} for x in made]
    # Shares of few rows would make ends of intervals jump.
    random = np.random.default_rng(0)
    for entry in made:
        if entry["test"]:
            noise = random.normal(0, 0.003)
            entry["test"] = {name: value + noise for name, value in entry["test"].items()}
    made += copies(made, "kd", "dkd", "same") + refused("no", 8, "why")
    made += [line("wild", r, None, status="diverged") for r in range(8)]
    made += [line("flat", r, 0.5) for r in range(8)]
    read = json.loads(json.dumps(files.clean(made)))
    ours = files.clean(compare(made, "kd", metric, 0.9))
    theirs = recompute.table(read, "kd", metric, 0.9)
    assert theirs["compared"] == ours["compared"] == 6
    rows = {row["method"]: row for row in ours["methods"]}
    assert list(rows) == list(theirs["methods"])
    assert_same(rows, theirs["methods"], 0)


def test_recomputed_table_of_known_answers() -> None:
    """Gains 1, 2 and 3 have t = 2 sqrt(3) on 2 degrees: p = 1 - sqrt(12 / 14)."""
    made = [line("kd", r, 0.5, teacher=0) for r in range(3)]
    made += [line("a", r, 0.5 + 0.01 * (r + 1), teacher=0) for r in range(3)]
    made += [line("b", r, 0.5 + 0.01 * (r - 1), teacher=0) for r in range(3)]
    Path("results.jsonl").write_text("".join(json.dumps(x) + "\n" for x in made))
    report = {"baseline": "kd", "selection_metric": "accuracy", "confidence": 0.95}
    Path("run.json").write_text(json.dumps({"config": {"report": report}}))
    script = subprocess.run(
        [sys.executable, recompute.__file__, "."], check=True, capture_output=True, text=True
    )
    printed = json.loads(script.stdout)
    a, b = printed["methods"]["a"], printed["methods"]["b"]
    exact = 1 - np.sqrt(12 / 14)
    assert a["difference"]["mean"] == pytest.approx(0.02)
    assert a["difference"]["std"] == pytest.approx(0.01)
    assert (a["p_raw"], b["p_raw"]) == pytest.approx((exact, 1))
    assert (a["p"], b["p"]) == pytest.approx((2 * exact, 1))
    assert [(x["wins"], x["losses"], x["ties"]) for x in (a, b)] == [(3, 0, 0), (1, 1, 1)]
    ours = {row["method"]: row for row in compared(made)["methods"]}
    assert ours["a"]["p"] == pytest.approx(2 * exact)
