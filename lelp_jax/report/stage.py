"""The report stage: evaluates, writes the files that others read, and puts them in place."""

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
from lelp_jax.report.results import evaluation, markdown, table
from lelp_jax.report.results.comparison import compare
from lelp_jax.report.results.evaluation import Evaluated
from lelp_jax.report.results.markdown import Picture, Section
from lelp_jax.students.selection import Outcome
from lelp_jax.teachers.base import Teacher

STAGE = "reports"
_SENSITIVITY = (
    "Mean over replicates and over all else that was tried with a pair of values. Grey: not tried; "
    "div: a student diverged in each trial."
)
RESULTS = "results.jsonl"
_VERSION = 5


class Finished(NamedTuple):
    """What came of an experiment.

    Attributes:
        name: Its name.
        output: Where its files lie.
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
        exported: The folder of each selected student on its own, by its fingerprint.
        verdicts: What was known of methods before they were trained.
        bank: The first teacher's, for the picture of its embedding and what it promises.
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
        with run.session.reporter.stage("report", selected, "students"):
            evaluated = evaluation.evaluate(run, outcomes)
        lines = evaluation.make_result_lines(run, evaluated, exported, verdicts)
        comparison = compare(lines, choices.baseline, choices.selection_metric, choices.confidence)
        chosen = [outcome for outcome in evaluated if outcome.selected]
        text = "".join(json.dumps(files.clean(line)) + "\n" for line in lines)
        files.write_atomic(folder / RESULTS, text)
        _write_predictions(folder / "test_predictions.npz", run.dataset, chosen)
        surveyed = survey.ensure(run.root, run.dataset, bank)
        parts = _Parts(
            text=_write_sections(run, comparison),
            pictures=_draw(folder, run, teachers, chosen, comparison),
            sensitivity=_draw_sensitivity(folder, run, lines),
        )
        _write_report(folder, run.name, parts, surveyed, comparison)
        return comparison

    def load(folder: Path, facts: Mapping[str, Any]) -> Finished:
        publish(run.output, folder)
        return Finished(run.name, run.output, facts)

    return artifacts.run(run.root, STAGE, inputs, build, load)


def publish(output: Path, folder: Path) -> None:
    """Puts a report's files where they are looked for; first the results, then the rest.

    Pictures that an earlier report had and this one has not are taken away.
    """
    target = output / "report"
    target.mkdir(parents=True, exist_ok=True)
    for stale in target.glob("*.png"):
        if not (folder / stale.name).exists():
            stale.unlink()
    for source in sorted(folder.iterdir(), key=lambda path: (path.name != RESULTS, path.name)):
        if source.name == "stage.json" or source.name.startswith("."):
            continue
        place = (output if source.name == RESULTS else target) / source.name
        content = source.read_bytes()
        if not place.is_file() or place.read_bytes() != content:
            files.write_atomic(place, content)


def _write_predictions(path: Path, dataset: Dataset, chosen: Sequence[Evaluated]) -> None:
    """Writes the test logits of the chosen students, where there are any."""
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


class _Parts(NamedTuple):
    """What a report is made of.

    Attributes:
        text: Sections without pictures.
        pictures: Of the comparison.
        sensitivity: Of the settings.
    """

    text: Sequence[Section]
    pictures: Sequence[Picture]
    sensitivity: Sequence[Picture]


def _write_sections(run: Run, comparison: Mapping[str, Any]) -> list[Section]:
    return [
        markdown.overview(run.config, run.dataset, comparison),
        markdown.student_inputs(run.dataset, run.inputs),
        markdown.differences(comparison),
        markdown.notes(comparison),
        markdown.teachers(comparison),
        markdown.chosen_settings(comparison),
        markdown.projections(run.config),
    ]


def _draw(
    folder: Path,
    run: Run,
    teachers: Sequence[Teacher],
    chosen: Sequence[Evaluated],
    comparison: Mapping[str, Any],
) -> list[Picture]:
    # Drawing takes a second to import, which a finished run is spared.
    from lelp_jax.report.figures import pictures

    return pictures.draw(folder, run.dataset, teachers, chosen, comparison)


def _draw_sensitivity(folder: Path, run: Run, lines: Sequence[Mapping[str, Any]]) -> list[Picture]:
    from lelp_jax.report.figures import pictures

    return pictures.draw_sensitivity(folder, run.config, lines)


def _write_report(
    folder: Path,
    name: str,
    parts: _Parts,
    seen: survey.Survey,
    comparison: Mapping[str, Any],
) -> None:
    """Writes `report.md` and `report.html`."""
    from lelp_jax.report.diagnostics import signs as diagnostics
    from lelp_jax.report.explorer import page as explorer

    promise = Section(
        "Will LELP help here?", "\n".join(diagnostics.markdown(seen.facts, comparison))
    )
    sections = [
        *parts.text,
        promise,
        markdown.pictures("Pictures", parts.pictures),
        markdown.pictures("How settings matter", parts.sensitivity, _SENSITIVITY),
    ]
    files.write_atomic(folder / "report.md", markdown.document(name, sections))
    explorer.write(
        folder / "report.html",
        name,
        table.markdown(comparison),
        [*parts.text[1:], promise],
        [*parts.pictures, *parts.sensitivity],
        seen.points,
    )
