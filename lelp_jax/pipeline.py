"""The stages of a run in order: data, teachers, banks, projections, students, exports, report.

Every stage is a function from inputs to artifacts that are stored under a fingerprint of these
inputs. A relaunch goes through the same stages and loads what is there already.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lelp_jax import data
from lelp_jax.bank import stage as bank
from lelp_jax.core import artifacts, files, seeds
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import Damaged
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.data.few_labels import hide_labels
from lelp_jax.deploy import export
from lelp_jax.experiment import checks, sweep
from lelp_jax.experiment.config import Config, from_config_dict, resolve_steps
from lelp_jax.experiment.run import Run
from lelp_jax.experiment.sweep import Point
from lelp_jax.references import stage as references
from lelp_jax.report import stage as report
from lelp_jax.report import swept
from lelp_jax.report.stage import Compared, Finished
from lelp_jax.storage import objects
from lelp_jax.students import grid, replicates, weighing
from lelp_jax.students.own_teachers import OwnTeachers
from lelp_jax.students.trials import enumerate_trials

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


class _Experiment(NamedTuple):
    """One experiment of a launch, after its config and data were checked.

    Attributes:
        name: The experiment's name.
        config: The config.
        dataset: The data; if labels are hidden, without those of any training row.
        known: The data as each teacher and its students know them.
        output: The folder to publish results to.
        raw: The config as its file gives it, to be written to `run.json`.
    """

    name: str
    config: Config
    dataset: Dataset
    known: tuple[Dataset, ...]
    output: Path
    raw: Mapping[str, Any]


def run(
    name: str, raw: Mapping[str, Any], root: Path, interrupts: Interrupts, reporter: Reporter
) -> list[Finished]:
    """Runs an experiment, reusing the valid artifacts of earlier launches.

    Args:
        name: The experiment's name.
        raw: The config as its file gives it, with overrides applied.
        root: The workdir.
        interrupts: Says whether the run was asked to stop.
        reporter: Shows progress.

    Returns:
        The result of the experiment; one per value if the config sweeps a value.

    Raises:
        UserError: The config is invalid or does not fit the data, or the workdir is in use.
        Interrupted: The run was asked to stop.
    """
    artifacts.check_root(root)
    points = sweep.expand(raw)
    # Check all points first: an error in the last one should not show up after hours of training.
    experiments = [_check(name, point, root) for point in points]
    with artifacts.lock(root):
        seconds = experiments[0].config.checkpoint.every_seconds
        session = Session(reporter, interrupts, CurveLog(root / "metrics.jsonl"), seconds)
        results = [
            _rebuild_damaged(functools.partial(_run_experiment, root, experiment, session))
            for experiment in experiments
        ]
        finished = [report for report, _ in results]
        # `metrics.jsonl` has the curves of the fleets of this launch's config and no others.
        session.curves.publish(folder for _, fleets in results for folder in fleets)
        if points[0].key:
            _write_run(root, name, raw, {"points": [point.name for point in points]})
            swept.write(root, name, points, finished)
        return finished


def _check(name: str, point: Point, root: Path) -> _Experiment:
    """Builds the config of one experiment, reads its data and checks that they fit together."""
    config = from_config_dict(point.raw)
    loaded = data.load(config.data.source, config.data.splitting)
    # A teacher's labels do not depend on how many other teachers there are.
    draws = [
        seeds.derive(config.seed, "labelled", number) for number in range(config.teacher.count)
    ]
    dataset, known = hide_labels(loaded, config.data.labelled_rows, draws)
    # Durations in epochs become steps, which needs the number of training rows.
    config = resolve_steps(config, known[0])
    checks.check(config, known[0], hidden=known[0] is not dataset)
    title = f"{name}/{point.name}" if point.name else name
    return _Experiment(title, config, dataset, known, point.folder(root), point.raw)


def _rebuild_damaged(function: Callable[[], Result]) -> Result:
    """Calls a function, and calls it again whenever it finds a damaged artifact.

    Large artifacts are not checked when they are opened but while they are read. A damaged one is
    deleted, so that the next call builds it again; all others are reused.

    Args:
        function: The function to call.

    Returns:
        Its result.

    Raises:
        Damaged: An artifact was damaged again after it was rebuilt, as by a failing disk.
    """
    seen = set()
    while True:
        try:
            return function()
        except Damaged as damage:
            if damage.location in seen:
                raise
            seen.add(damage.location)
            _LOG.warning("%s; building it again", damage.problem)
            objects.delete_tree(damage.location)


def _run_experiment(
    root: Path, experiment: _Experiment, session: Session
) -> tuple[Finished, list[Path]]:
    """Runs all stages of one experiment; returns its result and the folders of its fleets."""
    name, config, dataset, known, output, raw = experiment
    labelled = f" ({config.data.labelled_rows} with their label)" if known[0] is not dataset else ""
    session.reporter.log(
        f"{name}: {len(dataset.train)} training{labelled}, {len(dataset.validation)} validation, "
        f"{len(dataset.test)} test rows, classes {', '.join(dataset.class_names)}"
    )
    # Methods that cannot be trained on this data, or that equal another method, cost no training.
    verdicts = grid.find_verdicts(config, dataset)
    entries = weighing.add_first(
        {
            method: entry
            for method, entry in config.methods.items()
            if method not in verdicts or verdicts[method].kind == "ok"
        }
    )
    trials = {name: enumerate_trials(entry, config.seed) for name, entry in entries.items()}
    inputs = config.view.ensure(root, dataset, session)
    run = Run(name, root, output, config, dataset, known, inputs, session)
    teachers = config.teacher.ensure(root, dataset, known, config.seed, session)
    with session.reporter.show_stage(bank.STAGE, len(teachers), "banks"):
        banks, viewed = [], replicates.make_views(run)
        for teacher, each in zip(teachers, known, strict=True):
            banks.append(bank.ensure(root, config.bank, teacher, each, session, viewed))
            session.reporter.advance(1)
    drawn = replicates.draw(run, teachers, banks, viewed)
    plain = references.ensure(run, drawn)
    students = grid.build_grid(
        run,
        {name: entry.method for name, entry in entries.items()},
        trials,
        OwnTeachers(run, drawn, viewed).replicates,
    )
    _write_run(output, name, raw, {"trials": {key: len(value) for key, value in trials.items()}})
    labels = {"classes": dataset.class_names, "fine_labels": dataset.fine_names}
    files.write_json(output / "labels.json", labels)
    outcomes = weighing.train(run, students)
    exported = export.ensure(run, outcomes)
    finished = report.ensure(run, Compared(teachers, outcomes, plain, exported, verdicts, banks[0]))
    networks = [
        teacher.network
        for teacher in (*teachers, *(outcome.student.replicate.teacher for outcome in outcomes))
    ]
    fleets = [network.trained.folder for network in networks if network]
    return finished, [*fleets, *(outcome.trained.folder for outcome in outcomes)]


def _write_run(output: Path, name: str, raw: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Writes `run.json`: the config, the versions of packages, the devices and the plan."""
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
