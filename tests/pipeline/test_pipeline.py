"""The stages together: files that others read, reuse, and a table that can be checked."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from lelp_jax import data
from lelp_jax.data.sources import digits
from lelp_jax.deploy import export
from tests.helpers import tiny

LINE_KEYS = [
    "schema_version", "experiment", "method", "trial", "replicate", "teacher", "selected", "status",
    "note", "settings", "num_outputs", "parameters", "steps", "train_seconds", "validation", "test",
    "teacher_test", "student", "fingerprint",
]  # fmt: skip


@pytest.fixture
def workdir(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def to_train(log: str) -> dict[str, tuple[int, int]]:
    """Returns how many networks of each kind the log says were trained and reused."""
    found = re.findall(r"(?:teachers|students): (\w+): (\d+) to train, (\d+) reused", log)
    return {name: (int(new), int(old)) for name, new, old in found}


def test_every_student_has_one_result_line_in_a_fixed_order(finished_run: Path) -> None:
    lines = tiny.results(finished_run)
    assert all(list(line) == LINE_KEYS for line in lines)
    order = [(line["method"], line["trial"], line["replicate"]) for line in lines]
    assert order == [(m, t, r) for m in tiny.METHODS for t in range(2) for r in range(2)]
    assert {line["status"] for line in lines} == {"ok"}
    assert all(line["teacher"] == line["replicate"] % 2 for line in lines)
    assert len({line["fingerprint"] for line in lines}) == len(lines)


def test_only_selected_lines_carry_test_metrics(finished_run: Path) -> None:
    lines = tiny.results(finished_run)
    for line in lines:
        assert (line["test"] is not None) == line["selected"]
        assert (line["teacher_test"] is not None) == line["selected"]
    selected = [line for line in lines if line["selected"]]
    assert len(selected) == len(tiny.METHODS) * 2
    for line in selected:
        assert 0 <= line["test"]["agreement"] <= 1
        assert line["test"]["nll"] > 0


def test_the_selected_trial_has_the_best_validation_mean(finished_run: Path) -> None:
    lines = tiny.results(finished_run)
    for method in tiny.METHODS:
        means = {}
        for trial in range(2):
            own = [x["validation"] for x in lines if (x["method"], x["trial"]) == (method, trial)]
            accuracy = np.mean([metrics["accuracy"] for metrics in own])
            means[trial] = (-round(accuracy, 12), np.mean([metrics["nll"] for metrics in own]))
        chosen = {x["trial"] for x in lines if x["method"] == method and x["selected"]}
        assert chosen == {min(means, key=lambda trial: means[trial])}


def test_the_table_follows_from_results_jsonl_alone(finished_run: Path) -> None:
    lines = tiny.results(finished_run)
    report = (finished_run / "report" / "report.md").read_text()
    value = {(x["method"], x["replicate"]): x["test"]["accuracy"] for x in lines if x["selected"]}
    for method in tiny.METHODS:
        own = np.array([value[method, r] for r in range(2)])
        cells = [
            c.strip() for c in re.search(rf"^\| {method} \|(.*)\|$", report, re.M)[1].split("|")
        ]
        assert cells[0] == f"{100 * own.mean():.2f} ± {100 * own.std(ddof=1):.2f}"
        if method != "kd":
            difference = own - np.array([value["kd", r] for r in range(2)])
            # Two replicates have no interval.
            assert cells[1] == f"{100 * difference.mean():+z.2f}"


def test_run_json_holds_config_versions_and_devices(finished_run: Path) -> None:
    run = json.loads((finished_run / "run.json").read_text())
    assert run["config"]["teacher"]["model"]["hidden"] == [16]
    assert run["plan"]["trials"] == dict.fromkeys(tiny.METHODS, 2)
    assert run["versions"]["jax"]
    assert run["devices"][0].startswith("cpu")


def test_training_curves_reach_the_last_step_of_every_fleet(finished_run: Path) -> None:
    lines = [json.loads(x) for x in (finished_run / "metrics.jsonl").read_text().splitlines()]
    last = {}
    for line in lines:
        assert line["step"] > last.get(line["fleet"], 0)
        last[line["fleet"]] = line["step"]
    assert sorted(set(last.values())) == [30, 60]
    assert all(math.isfinite(loss) for line in lines for loss in line["loss"])


def test_a_selected_student_is_loadable_on_its_own(finished_run: Path) -> None:
    dataset = data.load(digits.Digits(), data.Split((0.6, 0.2, 0.2), 0))
    raw = digits.Digits().parts().train.inputs[dataset.test]
    kept = np.load(finished_run / "report" / "test_predictions.npz")
    for line in tiny.results(finished_run):
        if line["selected"]:
            student = export.load(finished_run / line["student"])
            own = (kept["method"] == line["method"]) & (kept["replicate"] == line["replicate"])
            logits = student.class_logits(raw)
            np.testing.assert_allclose(logits, kept["class_logits"][own][0], atol=1e-4)
            accuracy = (logits.argmax(axis=1) == dataset.labels[dataset.test]).mean()
            assert accuracy == pytest.approx(line["test"]["accuracy"])
            assert student.class_names == ("even", "odd")
            assert student.card["settings"] == line["settings"]


def test_the_same_command_again_reuses_everything(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = tiny.snapshot(workdir)
    assert tiny.run(workdir) == 0
    output = capfd.readouterr()
    assert all(new == 0 for new, _ in to_train(output.err).values())
    assert "soft_kmeans" in output.out
    # Nothing is cut where the output is no terminal.
    assert "trials" in output.out
    assert "…" not in output.out
    after = tiny.snapshot(workdir)
    assert {name for name in after if after[name] != before.get(name)} <= {"run.json"}


def test_one_methods_setting_retrains_that_method_alone(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = tiny.results(workdir)
    assert tiny.run(workdir, "--config.methods.lelp.beta=0.7") == 0
    counts = to_train(capfd.readouterr().err)
    assert counts.pop("lelp")[0] > 0
    assert all(new == 0 for new, _ in counts.values()), counts
    new = tiny.results(workdir)
    assert [x for x in new if x["method"] != "lelp"] == [x for x in old if x["method"] != "lelp"]
    assert {x["settings"]["beta"] for x in new if x["method"] == "lelp"} == {0.7}


def test_changing_a_setting_back_is_free_and_restores_the_report(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = (workdir / "results.jsonl").read_bytes()
    report = (workdir / "report" / "report.md").read_bytes()
    assert tiny.run(workdir, "--config.methods.kd.temperature=3.0") == 0
    assert (workdir / "results.jsonl").read_bytes() != results
    capfd.readouterr()
    assert tiny.run(workdir) == 0
    assert all(new == 0 for new, _ in to_train(capfd.readouterr().err).values())
    assert (workdir / "results.jsonl").read_bytes() == results
    assert (workdir / "report" / "report.md").read_bytes() == report


def test_more_replicates_train_only_the_new_ones(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = {line["fingerprint"]: line["validation"] for line in tiny.results(workdir)}
    assert tiny.run(workdir, "--config.replicates=3") == 0
    counts = to_train(capfd.readouterr().err)
    assert counts == {"teacher": (0, 2)} | dict.fromkeys(tiny.METHODS, (2, 4))
    new = {line["fingerprint"]: line["validation"] for line in tiny.results(workdir)}
    assert len(new) == len(old) * 3 // 2
    assert all(new[name] == old[name] for name in old)


def test_more_teachers_keep_the_ones_there_are(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert tiny.run(workdir, "--config.teacher.count=3") == 0
    assert to_train(capfd.readouterr().err)["teacher"] == (1, 2)


def test_a_method_can_be_left_out(workdir: Path) -> None:
    assert tiny.run(workdir, "--config.methods.oracle.trials=0") == 0
    assert "oracle" not in {line["method"] for line in tiny.results(workdir)}


def test_a_diverged_setting_is_not_chosen_and_the_others_go_on(workdir: Path) -> None:
    rates = "--config.methods.kd.learning_rate=(1e-3, 1e30)"
    assert tiny.run(workdir, rates, "--config.methods.kd.temperature=2.0") == 0
    lines = [line for line in tiny.results(workdir) if line["method"] == "kd"]
    diverged = [line for line in lines if line["status"] == "diverged"]
    assert len(diverged) == 2
    assert all(line["settings"]["learning_rate"] == 1e30 for line in diverged)
    assert not any(line["selected"] for line in diverged)
    assert "2 (2 diverged)" in (workdir / "report" / "report.md").read_text()


def test_a_method_whose_every_trial_diverged_is_said_to_be_so(workdir: Path) -> None:
    assert tiny.run(workdir, "--config.methods.lelp.learning_rate=1e30") == 0
    lines = [line for line in tiny.results(workdir) if line["method"] == "lelp"]
    assert {(line["status"], line["selected"]) for line in lines} == {("diverged", False)}
    report = (workdir / "report" / "report.md").read_text()
    assert "| lelp | every trial diverged |" in report


def test_methods_start_from_the_same_trunk_within_a_replicate(tmp_path: Path) -> None:
    """At a learning rate of nearly 0 the exported parameters are those of the initialisation."""
    frozen = [
        f"--config.methods.{name}.{key}"
        for name in ("kd", "lelp")
        for key in ("learning_rate=1e-12", "weight_decay=0.0", "trials=1")
    ]
    left_out = ("labels", "soft_kmeans", "oracle", "random_split")
    overrides = [*frozen, *(f"--config.methods.{name}.trials=0" for name in left_out)]
    assert tiny.run(tmp_path / "run", *overrides) == 0
    trunk = {
        (line["method"], line["replicate"]): load_file(
            tmp_path / "run" / line["student"] / "parameters.safetensors"
        )["params.Dense_0.kernel"]
        for line in tiny.results(tmp_path / "run")
    }
    for replicate in range(2):
        np.testing.assert_allclose(trunk["kd", replicate], trunk["lelp", replicate], atol=1e-9)
    assert np.abs(trunk["kd", 0] - trunk["kd", 1]).max() > 0.1
