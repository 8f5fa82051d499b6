"""The table recomputed without the project's code."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lelp_jax.core import files, metrics
from lelp_jax.report.results import contributions
from lelp_jax.report.results.comparison import compare
from tests.helpers import recompute, tiny
from tests.helpers.result_lines import GAINS, beside, copies, drawn, line, refused


def assert_same(one: Any, other: Any) -> None:
    """Compares nested numbers."""
    for key, value in other.items():
        if isinstance(value, dict):
            assert_same(one[key], value)
        elif value is None or isinstance(value, str):
            assert one.get(key) == value, key
        else:
            assert one[key] == pytest.approx(value, rel=1e-8, abs=1e-12), key


def answer(made: Sequence[dict[str, Any]], metric: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Gives every evaluated student test logits, and its line the metrics of these.

    Returns:
        What each row contributes to the metric, and the arrays of `test_predictions.npz`.
    """
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 90)
    hard = random.normal(size=(90, 2)) + 1.5 * np.eye(2)[label]
    shares, kept = {}, []
    for entry in made:
        if entry["test"] is None or entry["status"] not in ("ok", "reference"):
            continue
        teacher = np.random.default_rng(entry["teacher"]).normal(0, 0.2, size=(90, 2))
        logits = hard + teacher + random.normal(0, 0.4, size=(90, 2))
        if entry["method"] == "flat":
            logits = np.tile([0.0, 1.0], (90, 1))
        logits = logits.astype(np.float32)
        teacher_logits = random.normal(size=(90, 2))
        agreement = metrics.measure_agreement(logits, teacher_logits)
        entry["test"] = metrics.evaluate(logits, label) | agreement
        student = entry["method"], entry["replicate"]
        shares[student] = contributions.split(metric, logits, label)
        kept.append((*student, logits))
    methods, replicates, stacked = (np.array(x) for x in zip(*kept, strict=True))
    arrays = {"label": label, "class_logits": stacked, "method": methods, "replicate": replicates}
    return shares, arrays


@pytest.mark.parametrize(("replicates", "teachers"), [(2, 1), (8, 1), (8, 2), (8, 3), (8, 8)])
@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_the_table_is_the_same_without_the_projects_code(
    replicates: int, teachers: int, metric: str
) -> None:
    gains = {**GAINS, "a": 0.003, "random_split": 0.002}
    made = drawn(gains, replicates=replicates, teachers=1)
    made += [line("wild", r, None, status="diverged") for r in range(replicates)]
    made += [line("flat", r, 0.5) for r in range(replicates)]
    made += beside({"majority": 0.5, "linear": 0.7}, replicates)
    made = [x | {"teacher": x["replicate"] % teachers} for x in made]
    shares, arrays = answer(made, metric)
    made += copies(made, "kd", "dkd", "same") + refused("no", replicates, "why")
    Path("report").mkdir()
    np.savez("report/test_predictions.npz", **arrays)
    Path("results.jsonl").write_text("".join(json.dumps(files.clean(x)) + "\n" for x in made))
    report = {"baseline": "kd", "selection_metric": metric, "confidence": 0.9}
    Path("run.json").write_text(json.dumps({"config": {"report": report}}))
    ours = files.clean(compare(made, shares, "kd", metric, 0.9))
    theirs = recompute.recompute(Path())
    assert theirs["compared"] == ours["compared"] == 6
    rows = {row["method"]: row for row in [*ours["methods"], *ours["references"]]}
    assert rows.keys() == theirs["methods"].keys()
    assert_same(rows, theirs["methods"])
    assert_same(theirs["methods"], {name: pick(row) for name, row in rows.items()})
    known = rows["a"]["difference"]["low"] is not None
    assert known == (replicates > 2)


def pick(row: dict[str, Any]) -> dict[str, Any]:
    """Returns what is recomputed of a row of the table."""
    names = ("value", "difference", "control_difference", "control_p", "p_raw", "p", "wins")
    return {name: row[name] for name in names if name in row}


@pytest.mark.slow
def test_a_relaunch_recomputes_the_publication_without_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also after the report's version has risen; four replicates of three teachers."""
    few = [f"--config.methods.{name}.trials=0" for name in ("labels", "lelp", "oracle")]
    sizes = ("--config.teacher.count=3", "--config.replicates=4")
    assert tiny.run(tmp_path, *few, *sizes) == 0
    assert "speak of new students, new teachers and new test rows" in capfd.readouterr().out
    published = [*(tmp_path / "report").iterdir(), tmp_path / "results.jsonl"]
    before = {path: path.read_bytes() for path in published}
    (marker,) = tmp_path.glob("reports/*/stage.json")
    comparison = json.loads(marker.read_text())["facts"]["comparison"]
    rows = {row["method"]: row for row in comparison["methods"] + comparison["references"]}
    assert_same(rows, recompute.recompute(tmp_path)["methods"])
    assert rows["soft_kmeans"]["difference"]["low"] is not None
    shutil.rmtree(tmp_path / "report")
    shutil.rmtree(tmp_path / "reports")
    (tmp_path / "results.jsonl").unlink()
    assert tiny.run(tmp_path, *few, *sizes) == 0
    trained = re.findall(r"(\d+) to train, (\d+) reused", capfd.readouterr().err)
    assert trained
    assert all(new == "0" != old for new, old in trained)
    assert {path: path.read_bytes() for path in before} == before


def test_recomputed_table_of_known_answers() -> None:
    """Two rows; the students' gains 1/2, 1 and 1 of teachers 0, 1 and 2 have t = 5."""
    right, wrong = [0.0, 9.0], [9.0, 0.0]
    made = [line(name, r, 0.5, teacher=r) for name in ("kd", "a") for r in range(3)]
    logits = [[wrong, wrong]] * 3 + [[right, wrong], [right, right], [right, right]]
    Path("report").mkdir()
    np.savez(
        "report/test_predictions.npz",
        label=np.array([1, 1]),
        class_logits=np.array(logits, np.float32),
        method=np.array([entry["method"] for entry in made]),
        replicate=np.array([entry["replicate"] for entry in made]),
    )
    for entry, answers in zip(made, logits, strict=True):
        entry["test"]["accuracy"] = float(np.mean([x == right for x in answers]))
    Path("results.jsonl").write_text("".join(json.dumps(x) + "\n" for x in made))
    report = {"baseline": "kd", "selection_metric": "accuracy", "confidence": 0.95}
    Path("run.json").write_text(json.dumps({"config": {"report": report}}))
    script = subprocess.run(
        [sys.executable, recompute.__file__, "."], check=True, capture_output=True, text=True
    )
    found = json.loads(script.stdout)["methods"]["a"]
    # Means of rows (1, 2/3) have the variance 1/18, all of which is due to the one cell without a
    # gain. So the rows add nothing, and it is the t-test of (1/2, 1, 1) with two degrees.
    exact = 1 - 5 / np.sqrt(27)
    width = stats.t.ppf(0.975, 2) / 6
    assert found["difference"]["mean"] == pytest.approx(5 / 6)
    assert found["difference"]["low"] == pytest.approx(5 / 6 - width)
    assert (found["p_raw"], found["p"]) == pytest.approx((exact, exact))
    assert (found["wins"], found["losses"], found["ties"]) == (3, 0, 0)
