"""The report stage: evaluates the selected students, writes the report and publishes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts, files
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.run import Run
from lelp_jax.methods.base import Verdict
from lelp_jax.report import survey
from lelp_jax.report.results import evaluation, markdown
from lelp_jax.report.results.comparison import compare
from lelp_jax.report.results.evaluation import Evaluated
from lelp_jax.report.results.markdown import Gallery, Section
from lelp_jax.students.selection import Outcome
from lelp_jax.teachers.base import Teacher

STAGE = "reports"
_SENSITIVITY = (
    "Each cell is the mean over all trials with its pair of values and over their replicates. Grey "
    "cells were not tried; `div` marks cells in which a student of every trial diverged."
)
RESULTS = "results.jsonl"
_VERSION = 6


class Finished(NamedTuple):
    """The result of an experiment.

    Attributes:
        name: The experiment's name.
        output: The folder of its published files.
        comparison: The comparison of its methods.
    """

    name: str
    output: Path
    comparison: Mapping[str, Any]


def ensure(
    run: Run,
    teachers: Sequence[Teacher],
    outcomes: Sequence[Outcome],
    exported: Mapping[str, Path],
    verdicts: Mapping[str, Verdict],
    bank: Bank,
) -> Finished:
    """Evaluates the selected students, writes the report and publishes it.

    Args:
        run: The run.
        teachers: The teachers.
        outcomes: All students after training.
        exported: The folder of each exported student, by the student's fingerprint.
        verdicts: Verdicts on methods that were found before training.
        bank: The first teacher's outputs, for the diagnostics and the explorer.

    Returns:
        The result of the experiment.

    Raises:
        Interrupted: The run was asked to stop.
    """
    run.session.interrupts.check()
    choices = run.config.report
    inputs = {
        "version": _VERSION,
        "name": run.name,
        "data": run.dataset.digest,
        "teachers": [teacher.fingerprint for teacher in teachers],
        "students": [
            [
                outcome.student.trial.method,
                outcome.student.trial.number,
                outcome.student.replicate.number,
                outcome.trained.fingerprint,
            ]
            for outcome in outcomes
        ],
        "exported": sorted(folder.name for folder in exported.values()),
        "verdicts": {
            method: [verdict.status, verdict.note] for method, verdict in verdicts.items()
        },
        "report": [choices.baseline, choices.selection_metric, choices.confidence],
    }

    def build(folder: Path) -> Mapping[str, Any]:
        selected = sum(outcome.selected for outcome in outcomes)
        with run.session.reporter.show_stage("report", selected, "students"):
            evaluated = evaluation.evaluate(run, outcomes)
        lines = evaluation.make_result_lines(run, evaluated, exported, verdicts)
        chosen = [outcome for outcome in evaluated if outcome.selected]
        comparison = compare(
            lines,
            {
                (outcome.student.trial.method, outcome.student.replicate.number): shares
                for outcome in chosen
                if (shares := outcome.contributions) is not None
            },
            choices.baseline,
            choices.selection_metric,
            choices.confidence,
        )
        text = "".join(json.dumps(files.clean(line)) + "\n" for line in lines)
        files.write_atomic(folder / RESULTS, text)
        _write_predictions(folder / "test_predictions.npz", run.dataset, chosen)
        surveyed = survey.ensure(run.root, run.dataset, bank)
        galleries = _draw_galleries(folder, run, teachers, chosen, comparison, lines)
        sections = _write_sections(run, comparison)
        _write_report(folder, run.name, sections, galleries, surveyed, comparison)
        return comparison

    def load(folder: Path, facts: Mapping[str, Any]) -> Finished:
        # Also for a report from an earlier launch: another config may have been published since.
        publish(run.output, folder)
        return Finished(run.name, run.output, facts)

    return artifacts.run(run.root, STAGE, inputs, build, load)


def publish(output: Path, folder: Path) -> None:
    """Copies a report's files to their documented paths and deletes outdated pictures.

    Writes `results.jsonl` first: it is what other scripts read, and the rest follows from it. Files
    with the right content already are left alone.

    Args:
        output: The folder to publish to.
        folder: The folder of the report artifact.
    """
    target = output / "report"
    target.mkdir(parents=True, exist_ok=True)
    for stale in target.glob("*.png"):
        if not (folder / stale.name).exists():
            stale.unlink()
    for source in sorted(folder.iterdir(), key=lambda path: (path.name != RESULTS, path.name)):
        if source.name == "stage.json" or source.name.startswith("."):
            continue
        path = (output if source.name == RESULTS else target) / source.name
        content = source.read_bytes()
        if not path.is_file() or path.read_bytes() != content:
            files.write_atomic(path, content)


def _write_predictions(path: Path, dataset: Dataset, chosen: Sequence[Evaluated]) -> None:
    """Writes the test logits of the selected students; no file if no method has any."""
    if not chosen:
        return
    with open(path, "wb") as file:
        np.savez(
            file,
            index=dataset.test,
            label=dataset.labels[dataset.test],
            class_logits=np.stack([np.asarray(outcome.test_logits) for outcome in chosen]),
            method=np.array([outcome.student.trial.method for outcome in chosen]),
            replicate=np.array([outcome.student.replicate.number for outcome in chosen]),
        )


def _write_sections(run: Run, comparison: Mapping[str, Any]) -> list[Section]:
    """Writes the sections before the diagnostics, the overview first."""
    return [
        markdown.write_overview(run.config, run.dataset, comparison),
        markdown.describe_inputs(run.dataset, run.inputs),
        markdown.explain_differences(comparison),
        markdown.list_notes(comparison),
        markdown.list_teachers(comparison),
        markdown.list_hyperparameters(comparison),
        markdown.describe_projections(run.config),
    ]


def _draw_galleries(
    folder: Path,
    run: Run,
    teachers: Sequence[Teacher],
    chosen: Sequence[Evaluated],
    comparison: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
) -> list[Gallery]:
    """Draws the pictures of the comparison and of the hyperparameters."""
    # Importing Matplotlib takes a second, which the relaunch of a finished run should not cost.
    from lelp_jax.report.figures import pictures

    return [
        Gallery("Figures", pictures.draw(folder, run.dataset, teachers, chosen, comparison)),
        Gallery(
            "Hyperparameter sensitivity",
            pictures.draw_sensitivity(folder, run.config, lines),
            _SENSITIVITY,
        ),
    ]


def _write_report(
    folder: Path,
    name: str,
    sections: Sequence[Section],
    galleries: Sequence[Gallery],
    surveyed: survey.Survey,
    comparison: Mapping[str, Any],
) -> None:
    """Writes `report.md` and `report.html` from the same sections and pictures."""
    from lelp_jax.report.diagnostics import diagnosis
    from lelp_jax.report.explorer import page

    promise = Section(
        "Will LELP help here?", "\n".join(diagnosis.render(surveyed.facts, comparison))
    )
    rendered = [markdown.render_gallery(gallery) for gallery in galleries]
    text = markdown.render_document(name, [*sections, promise, *rendered])
    files.write_atomic(folder / "report.md", text)
    overview, *others = sections
    page.write(
        folder / "report.html",
        name,
        overview.text,
        [*others, promise],
        galleries,
        surveyed.points,
    )
