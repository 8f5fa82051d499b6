"""Every documented command runs, made small."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from lelp_jax.main import main
from tests import tiny

ROOT = tiny.ROOT
FOLDERS = ("configs", "experiments")
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
FEW = (
    *(f"--config.methods.{name}.trials=1" for name in ("kd", "lelp", "soft_kmeans")),
    *(f"--config.methods.{name}.trials=0" for name in ("labels", "random_split")),
)
SPLITS = tuple(f"--config.methods.{name}.num_subclasses=2" for name in ("lelp", "soft_kmeans"))


def documented_commands() -> list[str]:
    """Returns the launch lines of the README and of the configs' headers, without placeholders."""
    texts = [ROOT / "README.md"]
    texts += [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))]
    found = []
    for path in texts:
        for line in path.read_text().splitlines():
            match = re.match(r"\s+(python -m lelp_jax\.main .*)", line)
            if match and "NAME" not in line:
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


def test_commands_are_documented_at_all() -> None:
    assert len(documented_commands()) >= 4


@pytest.mark.usefixtures("own_data")
@pytest.mark.parametrize("line", documented_commands())
def test_a_documented_command_runs(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [
        re.sub(r"^--config=(?=\w+/)", f"--config={ROOT}/", argument)
        for argument in shlex.split(line)[3:]
    ]
    own_teacher = any(argument.startswith("--config.teacher.files") for argument in arguments)
    small = SMALL if own_teacher else (*SMALL_TEACHER, *SMALL)
    assert main(["main", *arguments, *small, *FEW, *SPLITS]) == 0, capfd.readouterr().err
    assert "minus kd" in capfd.readouterr().out


def test_the_readme_shows_the_files_of_a_workdir() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("results.jsonl", "report/report.md", "metrics.jsonl", "run.json"):
        assert f"`{name}`" in readme
