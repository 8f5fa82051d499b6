"""Small runs of the real command, killed and resumed, and what they must agree in."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.paths import ROOT

CONFIG = (
    f"--config={ROOT}/configs/digits.py:quick",
    "--config.teacher.count=2",
    "--config.teacher.model.hidden=(16,)",
    "--config.teacher.train.steps=50",
    "--config.student.model.hidden=(8,)",
    "--config.student.train.steps=50",
    "--config.replicates=2",
    "--config.checkpoint.every_seconds=0",
    *(f"--config.methods.{name}.trials=1" for name in ("kd", "lelp")),
    *(
        f"--config.methods.{name}.trials=0"
        for name in ("labels", "soft_kmeans", "oracle", "random_split")
    ),
)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}


def command(
    point: str, count: int, workdir: Path, name: str = "SIGKILL", config: Sequence[str] = CONFIG
) -> list[str]:
    driver = str(Path(__file__).parent / "fault_driver.py")
    return [sys.executable, driver, point, str(count), name, f"--workdir={workdir}", *config]


def run(
    point: str, count: int, workdir: Path, name: str = "SIGKILL", config: Sequence[str] = CONFIG
) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(point, count, workdir, name, config),
        env=environment(),
        capture_output=True,
        text=True,
    )


def run_killed(point: str, count: int, workdir: Path, config: Sequence[str] = CONFIG) -> str:
    """Runs until the process kills itself; returns what it had logged."""
    result = run(point, count, workdir, config=config)
    assert result.returncode == -signal.SIGKILL, (point, result.returncode, result.stderr)
    return result.stderr


def results(workdir: Path) -> list[dict]:
    """Returns the lines of results.jsonl without what is a time."""
    lines = [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]
    for line in lines:
        del line["train_seconds"]
    return lines


def curves(workdir: Path) -> list[str]:
    return sorted((workdir / "metrics.jsonl").read_text().splitlines())


def predictions(workdir: Path) -> bytes:
    return (workdir / "report" / "test_predictions.npz").read_bytes()


def assert_same(workdir: Path, reference: Path) -> None:
    """Asserts that a killed and resumed run left the very bits of an uninterrupted one."""
    assert results(workdir) == results(reference)
    assert curves(workdir) == curves(reference)
    assert predictions(workdir) == predictions(reference)
    assert (workdir / "report" / "report.md").exists()
