"""The story of a run: data, teachers, banks, projections, students, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lelp_jax import data
from lelp_jax.bank import stage as bank
from lelp_jax.core import artifacts as stages
from lelp_jax.core import files
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.experiment import checks, sweep
from lelp_jax.experiment.config import from_config_dict, in_steps
from lelp_jax.report import stage as report
from lelp_jax.report import swept
from lelp_jax.report.stage import Experiment, Finished
from lelp_jax.students import grid as students
from lelp_jax.students import replicates
from lelp_jax.students import training as student_fleets
from lelp_jax.students.own_teachers import OwnTeachers
from lelp_jax.students.trials import enumerate_trials


def run(
    name: str, raw: Mapping[str, Any], root: Path, interrupts: Interrupts, reporter: Reporter
) -> list[Finished]:
    """Runs an experiment, reusing whatever an earlier launch left that still holds.

    Args:
        name: The experiment's name.
        raw: The config as its file gives it, with overrides applied.
        root: The workdir.
        interrupts: Whether to stop.
        reporter: Shows progress.

    Returns:
        The comparison of the methods; several where the config sweeps a value.

    Raises:
        UserError: The config and the data do not fit, or the workdir is in use.
        Interrupted: The run was asked to stop.
    """
    points = sweep.points(raw)
    experiments = []
    # All of them are checked before the first one trains.
    for point in points:
        title = f"{name}/{point.name}" if point.name else name
        config = from_config_dict(point.raw)
        dataset = data.load(config.data.source, config.data.splitting)
        config = in_steps(config, dataset)
        checks.check(config, dataset)
        experiments.append(Experiment(title, config, dataset, point.folder(root), point.raw))
    if root.exists() and not root.is_dir():
        raise UserError(f"--workdir={root} is a file; give a folder")
    with stages.lock(root):
        session = Session(
            reporter,
            interrupts,
            CurveLog(root / "metrics.jsonl"),
            experiments[0].config.checkpoint.every_seconds,
        )
        if points[0].key:
            _write_run(root, name, raw, {"points": [point.name for point in points]})
        finished = [_run(experiment, root, session) for experiment in experiments]
        if points[0].key:
            swept.write(root, name, points, finished)
        return finished


def _run(experiment: Experiment, root: Path, session: Session) -> Finished:
    config, dataset, reporter = experiment.config, experiment.dataset, session.reporter
    verdicts = students.verdicts(config, dataset)
    trials = {
        name: enumerate_trials(entry, config.seed)
        for name, entry in config.methods.items()
        if name not in verdicts or verdicts[name].status == "ok"
    }
    reporter.log(
        f"{experiment.name}: {len(dataset.train)} training, {len(dataset.validation)} validation, "
        f"{len(dataset.test)} test rows, classes {', '.join(dataset.class_names)}"
    )
    seen = config.view.ensure(root, dataset, session)
    teachers = config.teacher.ensure(root, dataset, config.seed, session)
    with reporter.stage(bank.STAGE, len(teachers), "banks"):
        banks = []
        for teacher in teachers:
            banks.append(bank.ensure(root, config.bank, teacher, dataset, session))
            reporter.advance(1)
    drawn = replicates.draw(config, dataset, teachers, banks)
    own = OwnTeachers(root, config, dataset, drawn, session)
    wanted = students.wanted(root, config, dataset, seen, trials, own.replicates, session)
    plan = {"trials": {key: len(value) for key, value in trials.items()}}
    _write_run(experiment.output, experiment.name, experiment.raw, plan)
    labels = {"classes": dataset.class_names, "fine_labels": dataset.fine_names}
    files.write_json(experiment.output / "labels.json", labels)
    trained = student_fleets.ensure(root, config, dataset, seen, wanted, session)
    return report.ensure(
        root, experiment, seen, teachers, wanted, trained, verdicts, banks[0], session
    )


def _write_run(output: Path, name: str, raw: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Writes `run.json`: what was asked for, with which versions, on which devices."""
    import importlib.metadata
    import platform

    import jax

    versions = {
        package: importlib.metadata.version(package)
        for package in (
            "jax",
            "flax",
            "optax",
            "orbax-checkpoint",
            "numpy",
            "scikit-learn",
            "tokenizers",
        )
    }
    content = {
        "schema_version": 1,
        "experiment": name,
        "config": raw,
        "versions": {"python": platform.python_version(), **versions},
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "plan": plan,
    }
    output.mkdir(parents=True, exist_ok=True)
    files.write_json(output / "run.json", content)
