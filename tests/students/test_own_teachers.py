"""Methods that train teachers of their own, and methods that are not trained at all."""

import json
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.core.metrics import accuracy
from lelp_jax.data import Split
from lelp_jax.data.sources.digits import Digits
from lelp_jax.deploy import export
from tests.helpers import tiny
from tests.helpers.config_files import changing

NAMES = ("kd", "dkd", "dist", "logit_standardization", "subclass_distillation", "subclass_matched")
CONFIG = changing(
    "digits",
    f"""
    config.methods = methods.default_config(*{NAMES}, trials=2)
    config.teacher.model.hidden = (16,)
    config.teacher.train.steps = 60
    config.student.model.hidden = (8,)
    config.student.train.steps = 300
    config.methods.subclass_matched.num_subclasses = (3,)
    """,
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(CONFIG)
    assert tiny.launch(folder / "own.py", folder / "run") == 0
    return folder / "run"


def chosen(workdir: Path, method: str) -> list[dict]:
    lines = [line for line in tiny.results(workdir) if line["method"] == method]
    return [line for line in lines if line["selected"]]


@pytest.mark.slow
def test_every_chosen_line_says_what_became_of_its_method(workdir: Path) -> None:
    status = {
        name: {(line["status"], bool(line["note"])) for line in chosen(workdir, name)}
        for name in NAMES
    }
    assert status == {
        "kd": {("ok", False)},
        "dkd": {("equals:kd", True)},
        "dist": {("ok", True)},
        "logit_standardization": {("refused", True)},
        "subclass_distillation": {("ok", False)},
        "subclass_matched": {("ok", False)},
    }
    for line in chosen(workdir, "logit_standardization"):
        assert line["test"] is None
        assert line["student"] is None
    assert len(chosen(workdir, "logit_standardization")) == 2
    report = (workdir / "report" / "report.md").read_text()
    assert "refused" in report


@pytest.mark.slow
def test_a_method_that_equals_another_repeats_its_lines(workdir: Path) -> None:
    lines = tiny.results(workdir)
    own = [line for line in lines if line["method"] == "kd"]
    other = [line for line in lines if line["method"] == "dkd"]
    assert len(own) == len(other) == 4
    for first, second in zip(own, other, strict=True):
        changed = {key for key in first if first[key] != second[key]}
        assert changed == {"method", "status", "note"}


@pytest.mark.slow
def test_own_teachers_are_measured_and_named(workdir: Path) -> None:
    common = {line["teacher"]: line["teacher_test"] for line in chosen(workdir, "kd")}
    assert {line["teacher"]: line["teacher_test"] for line in chosen(workdir, "dist")} == common
    for name, outputs in (("subclass_distillation", 20), ("subclass_matched", 6)):
        for line in chosen(workdir, name):
            assert line["num_outputs"] == outputs
            assert line["teacher_test"] != common[line["teacher"]]
            assert line["teacher_test"]["accuracy"] > 0.55
    # Two teachers, two trained anew, and two heads in fleets of their own.
    teachers = [
        json.loads(path.read_text())["facts"]["members"]
        for path in (workdir / "teachers").glob("*/stage.json")
    ]
    assert sorted(map(len, teachers)) == [1, 1, 2, 2]
    assert len(list((workdir / "banks").iterdir())) == 6


@pytest.mark.slow
def test_a_student_of_an_own_teacher_is_loadable_on_its_own(workdir: Path) -> None:
    source, split = Digits(), Split((0.6, 0.2, 0.2), 0)
    dataset = data.load(source, split)
    raw = source.parts().train.inputs[dataset.test]
    for name in ("subclass_distillation", "subclass_matched"):
        line = chosen(workdir, name)[0]
        student = export.load(workdir / line["student"])
        logits = student.class_logits(raw)
        assert accuracy(logits, dataset.labels[dataset.test]) == line["test"]["accuracy"]


@pytest.mark.slow
def test_an_own_teacher_answers_online_as_in_its_bank(workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CONFIG)
    others = [f"--config.methods.{name}.trials=0" for name in NAMES if "subclass" not in name]
    found = {}
    for where in ("bank", "online"):
        overrides = [
            *others,
            "--config.report.baseline=subclass_matched",
            f"--config.student.teacher_outputs={where}",
        ]
        assert tiny.launch(tmp_path / "own.py", tmp_path / "run", *overrides) == 0
        found[where] = {
            (line["method"], line["trial"], line["replicate"]): line["validation"]["nll"]
            for line in tiny.results(tmp_path / "run")
        }
    assert len(found["bank"]) == 8
    for key, value in found["bank"].items():
        assert found["online"][key] == pytest.approx(value, rel=1e-3), key


def test_a_refused_baseline_is_a_mistake(tmp_path: Path, capsys) -> None:
    (tmp_path / "own.py").write_text(CONFIG)
    flag = "--config.report.baseline=logit_standardization"
    assert tiny.launch(tmp_path / "own.py", tmp_path / "run", flag) == 2
    message = capsys.readouterr().err
    assert "config.report.baseline 'logit_standardization' cannot be trained: " in message
    assert not (tmp_path / "run").exists()


BROUGHT = changing(
    "own_teacher",
    """
    config.methods = methods.default_config("kd", "subclass_distillation", trials=1)
    config.student.train.batch_size = 8
    config.data.train, config.teacher.files = "data.npz", ("teacher.npz",)
    """,
)


def test_a_teacher_from_elsewhere_is_not_retrained(tmp_path: Path, capsys) -> None:
    inputs = np.random.default_rng(0).standard_normal((60, 3))
    labels = np.arange(60) % 2
    np.savez("data.npz", inputs=inputs, labels=labels)
    np.savez("teacher.npz", embeddings=inputs, logits=np.eye(2)[labels])
    Path("own.py").write_text(BROUGHT)
    assert tiny.launch("own.py", tmp_path / "run") == 2
    message = capsys.readouterr().err
    assert "config.methods.subclass_distillation retrains the teacher" in message
    assert "subclass_matched" in message
    assert not (tmp_path / "run").exists()
