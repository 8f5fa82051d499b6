"""The report stage: evaluates, writes the files that others read, and puts them in place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax import files, stages
from lelp_jax.config import Config
from lelp_jax.data.dataset import Dataset
from lelp_jax.report import evaluation, table
from lelp_jax.report.comparison import compare
from lelp_jax.report.evaluation import Outcome
from lelp_jax.session import Session
from lelp_jax.students import Student
from lelp_jax.teachers.base import Teacher
from lelp_jax.train.stage import Trained

STAGE = "reports"
RESULTS = "results.jsonl"
_VERSION = 1


def ensure(
    root: Path,
    name: str,
    config: Config,
    dataset: Dataset,
    teachers: Sequence[Teacher],
    students: Sequence[Student],
    trained: Sequence[Trained],
    session: Session,
) -> Mapping[str, Any]:
    """Writes `results.jsonl` and `report/` into the workdir and returns the comparison.

    Args:
        root: The workdir.
        name: The experiment's name.
        config: The experiment.
        dataset: The data.
        teachers: The teachers.
        students: All students.
        trained: What came of them, in the same order.
        session: The run.
    """
    session.interrupts.check()
    inputs = {
        "version": _VERSION,
        "name": name,
        "data": dataset.digest,
        "teachers": [teacher.fingerprint for teacher in teachers],
        "students": [
            [s.trial.method, s.trial.number, s.replicate.number, t.fingerprint]
            for s, t in zip(students, trained, strict=True)
        ],
        "report": [
            config.report.baseline,
            config.report.selection_metric,
            config.report.confidence,
        ],
    }

    def build(folder: Path) -> Mapping[str, Any]:
        outcomes = evaluation.select(config, students, trained)
        selected = sum(outcome.selected for outcome in outcomes)
        with session.reporter.stage("report", selected, "students"):
            outcomes = evaluation.evaluate(config, dataset, teachers, outcomes, session)
        lines = [evaluation.result_line(name, root, config, outcome) for outcome in outcomes]
        comparison = compare(
            lines, config.report.baseline, config.report.selection_metric, config.report.confidence
        )
        _write(folder, name, config, dataset, teachers, outcomes, lines, comparison, session)
        return comparison

    def load(folder: Path, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        publish(root, folder)
        return facts

    return stages.run(root, STAGE, inputs, build, load)


def publish(root: Path, folder: Path) -> None:
    """Puts a report's files where they are looked for; first the results, then the rest."""
    target = root / "report"
    target.mkdir(exist_ok=True)
    for source in sorted(folder.iterdir(), key=lambda path: (path.name != RESULTS, path.name)):
        if source.name == "stage.json" or source.name.startswith("."):
            continue
        place = (root if source.name == RESULTS else target) / source.name
        content = source.read_bytes()
        if not place.is_file() or place.read_bytes() != content:
            files.write_atomic(place, content)


def _write(
    folder: Path,
    name: str,
    config: Config,
    dataset: Dataset,
    teachers: Sequence[Teacher],
    outcomes: Sequence[Outcome],
    lines: Sequence[Mapping[str, Any]],
    comparison: Mapping[str, Any],
    session: Session,
) -> None:
    from lelp_jax.report import plots

    text = "".join(json.dumps(files.clean(line)) + "\n" for line in lines)
    files.write_atomic(folder / RESULTS, text)
    selected = [outcome for outcome in outcomes if outcome.selected]
    if selected:
        with open(folder / "test_predictions.npz", "wb") as file:
            np.savez(
                file,
                index=dataset.test,
                label=dataset.labels[dataset.test],
                class_logits=np.stack([np.asarray(outcome.test_logits) for outcome in selected]),
                method=np.array([outcome.student.trial.method for outcome in selected]),
                replicate=np.array([outcome.student.replicate.number for outcome in selected]),
            )
    plots.methods(folder / "methods.png", comparison)
    plots.curves(folder / "curves.png", _losses(teachers, selected, session))
    scatter = _scatter(folder, dataset, selected)
    files.write_atomic(folder / "report.md", _markdown(name, config, dataset, comparison, scatter))


def _losses(
    teachers: Sequence[Teacher], selected: Sequence[Outcome], session: Session
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns steps and losses per panel: the teachers, and each method's selected students."""
    by_fleet: dict[str, list[dict[str, Any]]] = {}
    for line in session.curves.read():
        by_fleet.setdefault(line["fleet"], []).append(line)
    members: dict[str, list[Trained]] = {}
    networks = [teacher.network.trained for teacher in teachers if teacher.network]
    if networks:
        members["teacher"] = networks
    for outcome in selected:
        members.setdefault(outcome.student.trial.method, []).append(outcome.trained)
    result = {}
    for panel, trained in members.items():
        curves = []
        for member in trained:
            points = by_fleet.get(member.folder.name, [])
            steps = [line["step"] for line in points]
            losses = [line["loss"][member.position] for line in points]
            curves.append((steps, np.array(losses, float)))
        # Fleets of different size may log at different steps; those of the first are shown.
        steps = curves[0][0]
        if steps:
            kept = [np.interp(steps, s, losses) for s, losses in curves if len(s)]
            result[panel] = (np.array(steps), np.array(kept))
    return result


def _scatter(folder: Path, dataset: Dataset, selected: Sequence[Outcome]) -> bool:
    """Draws the validation embedding of the first replicate; returns whether there was one."""
    from lelp_jax.projection import PROJECTORS
    from lelp_jax.projection import stage as projections
    from lelp_jax.report import plots

    for outcome in selected:
        student = outcome.student
        if student.projection is None or student.projection.kind != "lelp":
            continue
        if student.projection.column_mask.shape[1] < 2:
            continue
        rows = dataset.validation
        scores = projections.scores(
            PROJECTORS["lelp"], student.projection, dataset, student.replicate.bank, rows
        )
        labels = dataset.labels[rows]
        fine = dataset.fine_labels
        colour, names = (
            (labels, dataset.class_names) if fine is None else (fine[rows], dataset.fine_names)
        )
        plots.embedding(
            folder / "embedding.png", scores, labels, colour, dataset.class_names, names
        )
        return True
    return False


def _markdown(
    name: str, config: Config, dataset: Dataset, comparison: Mapping[str, Any], scatter: bool
) -> str:
    transfer = config.transfer_size or len(dataset.train)
    lines = [
        f"# {name}",
        "",
        f"{comparison['replicates']} replicates, {comparison['teachers']} teacher(s), "
        f"{transfer} of {len(dataset.train)} training rows seen by each student, "
        f"{len(dataset.test)} test rows.",
        "",
        table.markdown(comparison),
        "",
        f"Mean ± standard deviation over replicates. Differences are paired within replicates; "
        f"their {100 * comparison['confidence']:g} % intervals are bootstrapped over replicates"
        + (" within resampled teachers." if comparison["teachers"] >= 3 else "."),
        "Settings were chosen by mean validation "
        f"{config.report.selection_metric}; the test rows were read once, for the chosen "
        "settings.",
        "",
        "## Chosen settings",
        "",
    ]
    for row in comparison["methods"]:
        settings = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.get("settings", {}).items()
        )
        wins = ""
        if "wins" in row:
            wins = (
                f"; above {comparison['baseline']} in {row['wins']} of "
                f"{comparison['replicates']} replicates, below in {row['losses']}"
            )
        lines.append(f"- {row['method']}: {settings or 'every trial diverged'}{wins}")
    fitted = []
    for method, entry in config.methods.items():
        if "fit_on" in entry.values:
            fit_on = " or ".join(str(value) for value in entry.values["fit_on"])
            fitted.append(f"{method}: {fit_on}")
    lines += ["", "## What the projections saw", ""]
    lines.append(
        "Rows on which projections were fitted (train: all training rows, transfer: only those the "
        f"student sees): {'; '.join(fitted) or 'no method fits one'}."
    )
    lines += ["", "## Pictures", "", "![methods](methods.png)", "", "![curves](curves.png)"]
    if scatter:
        lines += [
            "",
            "The teacher's embedding of the validation rows in LELP's subspace of each class, "
            "coloured by " + ("fine label" if dataset.fine_labels is not None else "class") + ":",
            "",
            "![embedding](embedding.png)",
        ]
    return "\n".join(lines) + "\n"
