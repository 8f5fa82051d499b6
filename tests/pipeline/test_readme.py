"""Every documented command runs, made small."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import teacher_errors
from lelp_jax import data
from lelp_jax.cli.config_file import load_config
from lelp_jax.core import metrics
from lelp_jax.data import Split
from lelp_jax.data.sources.digits import Digits
from lelp_jax.deploy import export
from lelp_jax.main import main
from lelp_jax.methods import METHODS
from tests.helpers import recompute, tiny
from tests.pipeline import test_image_configs, test_text_configs

ROOT = tiny.ROOT
FOLDERS = ("configs", "experiments")
# Its command runs with every method.
EVERY = "digits_baselines"
SMALL_TEACHER = (
    "--config.teacher.count=1",
    "--config.teacher.model.hidden=(8,)",
    "--config.teacher.train.steps=1",
    "--config.teacher.train.batch_size=8",
)
SMALL = (
    "--config.student.model.hidden=(4,)",
    "--config.student.train.steps=1",
    "--config.student.train.batch_size=8",
    "--config.replicates=1",
)
KEPT = ("kd", "lelp", "soft_kmeans")


def documented_commands() -> list[str]:
    """Returns the launch lines of the README and of the configs' headers, without placeholders.

    Those of texts and images are left out: they are run on data and checkpoints of their own, and
    those of a teacher of PyTorch by `tests/answering`.
    """
    texts = [ROOT / "README.md"]
    texts += [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))]
    elsewhere = [*test_text_configs.commands(), *test_image_configs.commands()]
    elsewhere.append("own_teacher.py:texts")
    found = []
    for path in texts:
        for line in path.read_text().splitlines():
            match = re.match(r"\s+(python -m lelp_jax\.main .*)", line)
            if match and "NAME" not in line and not any(name in line for name in elsewhere):
                found.append(re.sub(r"\s+#.*|\s*\[--[^\]]*\]", "", match[1]))
    return sorted(set(found))


@pytest.fixture
def own_data() -> None:
    """Writes, into the current folder, the files that the documented commands name."""
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 90)
    inputs = random.standard_normal((90, 6)) + label[:, None]
    lines = [
        ",".join([*(f"{v:.3f}" for v in row), str(y)]) for row, y in zip(inputs, label, strict=True)
    ]
    text = "\n".join([",".join([*"abcdef", "label"]), *lines]) + "\n"
    for name in ("train", "validation", "test"):
        Path(f"{name}.csv").write_text(text)
        np.savez(f"{name}.npz", inputs=inputs, labels=label)
    logits = np.stack([np.zeros(90), inputs.sum(axis=1) - 3], axis=1)
    np.savez("teacher.npz", embeddings=inputs, logits=logits)
    digits = Digits().parts().train.labels
    embeddings = random.standard_normal((len(digits), 6)) + digits[:, None]
    for number in range(teacher_errors.TEACHERS):
        logits = np.stack([np.zeros(len(digits)), embeddings.sum(axis=1) - 3], axis=1)
        np.savez(f"teacher_{number}.npz", embeddings=embeddings, logits=logits)


def test_commands_are_documented_at_all() -> None:
    assert len(documented_commands()) >= 4


def made_small(line: str) -> list[str]:
    """Returns a documented command's arguments, with some methods and one step."""
    arguments = [
        re.sub(r"^--config=(?=\w+/)", f"--config={ROOT}/", argument)
        for argument in shlex.split(line)[3:]
    ]
    [path] = [re.sub("--config=", "", a) for a in arguments if a.startswith("--config=")]
    file, colon, argument = path.partition(":")
    config = load_config(Path(file), [argument] if colon else [])
    own_teacher = config.teacher.source == "arrays"
    arguments += SMALL if own_teacher else (*SMALL_TEACHER, *SMALL)
    for name, values in config.methods.items():
        arguments.append(f"--config.methods.{name}.trials={int(name in KEPT or EVERY in file)}")
        if "num_subclasses" in values:
            arguments.append(f"--config.methods.{name}.num_subclasses=2")
        if "sample_size" in values:
            arguments.append(f"--config.methods.{name}.sample_size=60")
    if "sweep" in config:
        small = {"data.transfer_size": (60,), "student.train.steps": (1,)}
        values = small.get(config.sweep["key"], config.sweep["values"][:1])
        arguments.append(f"--config.sweep.values={values}")
    return arguments


@pytest.mark.usefixtures("own_data")
@pytest.mark.parametrize("line", [line for line in documented_commands() if EVERY not in line])
def test_a_documented_command_runs(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["main", *made_small(line)]) == 0, capfd.readouterr().err
    assert "minus kd" in capfd.readouterr().out


def test_every_method_runs_under_one_protocol(tmp_path: Path) -> None:
    [line] = [line for line in documented_commands() if EVERY in line]
    more = ["--config.replicates=2", "--config.student.train.steps=3", f"--workdir={tmp_path}"]
    assert main(["main", *made_small(line), *more]) == 0
    lines = tiny.results(tmp_path)
    assert {line["method"] for line in lines} == set(METHODS)
    status = {line["method"]: line["status"] for line in lines if line["selected"]}
    special = {"dkd": "equals:kd", "logit_standardization": "refused"}
    assert status == dict.fromkeys(METHODS, "ok") | special
    for line in lines:
        assert (line["note"] is not None) == (line["method"] in (*special, "dist", "nkd"))
    raw = Digits().parts().train.inputs
    dataset = data.load(Digits(), Split((0.6, 0.2, 0.2), 0))
    for line in lines:
        if line["student"] is not None:
            student = export.load(tmp_path / line["student"])
            found = metrics.evaluate(
                student.class_logits(raw[dataset.test]), dataset.labels[dataset.test]
            )
            assert found["nll"] == pytest.approx(line["test"]["nll"], rel=1e-4), line["method"]
    # The table follows from the results alone.
    table = json.loads(subprocess.check_output([sys.executable, recompute.__file__, str(tmp_path)]))
    report = (tmp_path / "report" / "report.md").read_text()
    shown = {row.split(" | ")[0]: row for row in report.splitlines() if row.startswith("| ")}
    for name, row in table["methods"].items():
        if "value" in row:
            assert f" {100 * row['value']['mean']:.2f} " in shown[f"| {name}"]
        if row.get("p") is not None:
            assert f" {row['p']:.3f} " in shown[f"| {name}"]
    assert "p" in table["methods"]["lelp"]


def test_the_readme_shows_the_files_of_a_workdir() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("results.jsonl", "report/report.md", "metrics.jsonl", "run.json"):
        assert f"`{name}`" in readme


def test_the_readme_lists_every_method() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("## The methods")[2].partition("## ")[0]
    first_cells = re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(first_cells))) == sorted(METHODS)
