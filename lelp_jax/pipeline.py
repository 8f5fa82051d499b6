"""The story of a run: data, teachers, banks, projections, students, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lelp_jax import checks, data, files, stages, student_fleets, students
from lelp_jax.bank import stage as bank
from lelp_jax.config import Config
from lelp_jax.curves import CurveLog
from lelp_jax.errors import UserError
from lelp_jax.interrupts import Interrupts
from lelp_jax.progress import Reporter
from lelp_jax.report import stage as report
from lelp_jax.session import Session
from lelp_jax.trials import enumerate_trials


def run(
    name: str,
    config: Config,
    root: Path,
    resolved: Mapping[str, Any],
    interrupts: Interrupts,
    reporter: Reporter,
) -> Mapping[str, Any]:
    """Runs an experiment, reusing whatever an earlier launch left that still holds.

    Args:
        name: The experiment's name.
        config: The experiment.
        root: The workdir.
        resolved: The config as JSON-like content, kept in `run.json`.
        interrupts: Whether to stop.
        reporter: Shows progress.

    Returns:
        The comparison of the methods.

    Raises:
        UserError: The config and the data do not fit, or the workdir is in use.
        Interrupted: The run was asked to stop.
    """
    if root.exists() and not root.is_dir():
        raise UserError(f"--workdir={root} is a file; give a folder")
    trials = {name: enumerate_trials(entry, config.seed) for name, entry in config.methods.items()}
    dataset = data.load(config.source, config.split)
    checks.check(config, dataset)
    reporter.log(
        f"data: {len(dataset.train)} training, {len(dataset.validation)} validation, "
        f"{len(dataset.test)} test rows, classes {', '.join(dataset.class_names)}"
    )
    with stages.lock(root):
        session = Session(
            reporter, interrupts, CurveLog(root / "metrics.jsonl"), config.checkpoint.every_seconds
        )
        teachers = config.teacher.ensure(root, dataset, config.seed, session)
        with reporter.stage(bank.STAGE, len(teachers), "banks"):
            banks = []
            for teacher in teachers:
                banks.append(bank.ensure(root, config.bank, teacher, dataset, session))
                reporter.advance(1)
        replicates = students.replicates(config, dataset, teachers, banks)
        wanted = students.wanted(root, config, dataset, trials, replicates, session)
        _write_run(root, name, resolved, {key: len(value) for key, value in trials.items()})
        trained_students = student_fleets.ensure(root, config, dataset, wanted, session)
        return report.ensure(
            root, name, config, dataset, teachers, wanted, trained_students, session
        )


def _write_run(
    root: Path, name: str, resolved: Mapping[str, Any], trials: Mapping[str, int]
) -> None:
    """Writes `run.json`: what was asked for, with which versions, on which devices."""
    import importlib.metadata
    import platform

    import jax

    versions = {
        package: importlib.metadata.version(package)
        for package in ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")
    }
    content = {
        "schema_version": 1,
        "experiment": name,
        "config": resolved,
        "versions": {"python": platform.python_version(), **versions},
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "plan": {"trials": trials},
    }
    files.write_json(root / "run.json", content)
