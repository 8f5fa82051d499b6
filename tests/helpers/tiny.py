"""The whole pipeline on a tiny scale, in this process."""

import json
from pathlib import Path

from lelp_jax.main import main
from tests.helpers.paths import ROOT

METHODS = ("labels", "kd", "lelp", "soft_kmeans", "oracle", "random_split")
OVERRIDES = (
    "--config.teacher.count=2",
    "--config.teacher.model.hidden=(16,)",
    "--config.teacher.train.steps=60",
    "--config.student.model.hidden=(8,)",
    "--config.student.train.steps=30",
    "--config.replicates=2",
    *(f"--config.methods.{name}.trials=2" for name in METHODS),
    "--config.methods.lelp.num_subclasses=3",
    "--config.methods.soft_kmeans.num_subclasses=3",
)


def run(workdir: Path, *overrides: str) -> int:
    """Runs the digits config, made tiny, and returns main's exit code."""
    return launch(f"{ROOT}/configs/digits.py:quick", workdir, *OVERRIDES, *overrides)


def launch(config: Path | str, workdir: Path, *overrides: str) -> int:
    """Runs a config and returns main's exit code."""
    return main(["main", f"--config={config}", f"--workdir={workdir}", *overrides])


def results(workdir: Path) -> list[dict]:
    """Returns the lines of students; see `references`."""
    return [line for line in _read(workdir) if line["status"] != "reference"]


def references(workdir: Path) -> list[dict]:
    """Returns the lines of what the students are shown beside."""
    return [line for line in _read(workdir) if line["status"] == "reference"]


def _read(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns the content of all files below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
