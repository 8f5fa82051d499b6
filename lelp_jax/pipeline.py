"""The story of a run: data, teachers, banks, projections, students, exports, report."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lelp_jax import data
from lelp_jax.bank import stage as bank
from lelp_jax.core import artifacts, files
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import Damaged, UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.deploy import export
from lelp_jax.experiment import checks, sweep
from lelp_jax.experiment.config import Config, from_config_dict, resolve_steps
from lelp_jax.experiment.run import Run
from lelp_jax.experiment.sweep import Point
from lelp_jax.report import stage as report
from lelp_jax.report import swept
from lelp_jax.report.stage import Finished
from lelp_jax.storage import objects
from lelp_jax.students import grid, replicates, training
from lelp_jax.students.own_teachers import OwnTeachers
from lelp_jax.students.selection import select
from lelp_jax.students.trials import enumerate_trials

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


class _Experiment(NamedTuple):
    """One experiment of a launch, checked: title, config, data, where it publishes, raw config."""

    name: str
    config: Config
    dataset: Dataset
    output: Path
    raw: Mapping[str, Any]


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
    points = sweep.list_points(raw)
    # All of them are checked before the first one trains.
    experiments = [_check(name, point, root) for point in points]
    if root.exists() and not root.is_dir():
        raise UserError(f"--workdir={root} is a file; give a folder")
    with artifacts.lock(root):
        seconds = experiments[0].config.checkpoint.every_seconds
        session = Session(reporter, interrupts, CurveLog(root / "metrics.jsonl"), seconds)
        ended = [
            _heal(functools.partial(_run_experiment, root, experiment, session))
            for experiment in experiments
        ]
        finished = [report for report, _ in ended]
        session.curves.publish(folder for _, fleets in ended for folder in fleets)
        if points[0].key:
            _write_run(root, name, raw, {"points": [point.name for point in points]})
            swept.write(root, name, points, finished)
        return finished


def _check(name: str, point: Point, root: Path) -> _Experiment:
    """Builds the config of one experiment, reads its data and checks both together."""
    config = from_config_dict(point.raw)
    dataset = data.load(config.data.source, config.data.splitting)
    config = resolve_steps(config, dataset)
    checks.check(config, dataset)
    title = f"{name}/{point.name}" if point.name else name
    return _Experiment(title, config, dataset, point.folder(root), point.raw)


def _heal(function: Callable[[], Result]) -> Result:
    """Calls a function again after every damage that it finds while it reads artifacts.

    Large artifacts are checked while they are read. One that turns out to be damaged is deleted, so
    that the next call builds it again and reuses all others.
    """
    seen = set()
    while True:
        try:
            return function()
        except Damaged as damage:
            if damage.location in seen:
                raise
            seen.add(damage.location)
            _LOG.warning("%s; it is built again", damage.problem)
            objects.delete_tree(damage.location)


def _run_experiment(
    root: Path, experiment: _Experiment, session: Session
) -> tuple[Finished, list[Path]]:
    """Runs one experiment; returns its comparison and the folders of the fleets it used."""
    name, config, dataset, output, raw = experiment
    session.reporter.log(
        f"{name}: {len(dataset.train)} training, {len(dataset.validation)} validation, "
        f"{len(dataset.test)} test rows, classes {', '.join(dataset.class_names)}"
    )
    verdicts = grid.find_verdicts(config, dataset)
    trials = {
        method: enumerate_trials(entry, config.seed)
        for method, entry in config.methods.items()
        if method not in verdicts or verdicts[method].kind == "ok"
    }
    inputs = config.view.ensure(root, dataset, session)
    run = Run(name, root, output, config, dataset, inputs, session)
    teachers = config.teacher.ensure(root, dataset, config.seed, session)
    with session.reporter.stage(bank.STAGE, len(teachers), "banks"):
        banks = []
        for teacher in teachers:
            banks.append(bank.ensure(root, config.bank, teacher, dataset, session))
            session.reporter.advance(1)
    drawn = replicates.draw(config, dataset, teachers, banks)
    students = grid.build_grid(run, trials, OwnTeachers(run, drawn).replicates)
    _write_run(output, name, raw, {"trials": {key: len(value) for key, value in trials.items()}})
    labels = {"classes": dataset.class_names, "fine_labels": dataset.fine_names}
    files.write_json(output / "labels.json", labels)
    trained = training.ensure(run, students)
    outcomes = select(students, trained, config.report.selection_metric)
    exported = export.ensure(run, outcomes)
    finished = report.ensure(run, teachers, outcomes, exported, verdicts, banks[0])
    networks = [
        teacher.network
        for teacher in (*teachers, *(outcome.student.replicate.teacher for outcome in outcomes))
    ]
    fleets = [network.trained.folder for network in networks if network]
    return finished, [*fleets, *(outcome.trained.folder for outcome in outcomes)]


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
