"""The report stage: evaluates, writes the files that others read, and puts them in place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts as stages
from lelp_jax.core import files
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.config import Config
from lelp_jax.inputs import Inputs
from lelp_jax.methods.base import Verdict
from lelp_jax.report import survey
from lelp_jax.report.results import evaluation, markdown, table
from lelp_jax.report.results.comparison import compare
from lelp_jax.report.results.evaluation import Outcome
from lelp_jax.report.results.markdown import Picture, Section
from lelp_jax.students.grid import Student
from lelp_jax.teachers.base import Teacher
from lelp_jax.train.scheduler import Trained

STAGE = "reports"
_SENSITIVITY = (
    "Mean over replicates and over all else that was tried with a pair of values. Grey: not tried; "
    "div: a student diverged in each trial."
)
RESULTS = "results.jsonl"
_VERSION = 4


class Experiment(NamedTuple):
    """What is reported on.

    Attributes:
        name: Its name.
        config: Its config.
        dataset: Its data.
        output: Where `results.jsonl`, `run.json` and `report/` lie.
        raw: The config as JSON-like content.
    """

    name: str
    config: Config
    dataset: Dataset
    output: Path
    raw: Mapping[str, Any]


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
    root: Path,
    experiment: Experiment,
    seen: Inputs,
    teachers: Sequence[Teacher],
    students: Sequence[Student],
    trained: Sequence[Trained],
    verdicts: Mapping[str, Verdict],
    bank: Bank,
    session: Session,
) -> Finished:
    """Writes `results.jsonl` and `report/` and returns the comparison.

    Args:
        root: The workdir.
        experiment: What is reported on.
        seen: What the students see of the data.
        teachers: The teachers.
        students: All students.
        trained: What came of them, in the same order.
        verdicts: What was known of methods before they were trained.
        bank: The first teacher's, for the picture of its embedding and what it promises.
        session: The run.
    """
    name, config, dataset, output, _ = experiment
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
        "verdicts": {
            method: [verdict.status, verdict.note] for method, verdict in verdicts.items()
        },
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
            outcomes = evaluation.evaluate(dataset, seen, outcomes, session)
        lines = evaluation.result_lines(name, root, config, outcomes, verdicts)
        comparison = compare(
            lines, config.report.baseline, config.report.selection_metric, config.report.confidence
        )
        chosen = [outcome for outcome in outcomes if outcome.selected]
        text = "".join(json.dumps(files.clean(line)) + "\n" for line in lines)
        files.write_atomic(folder / RESULTS, text)
        _write_predictions(folder / "test_predictions.npz", dataset, chosen)
        surveyed = survey.ensure(root, dataset, bank)
        parts = _parts(folder, config, dataset, seen, teachers, chosen, lines, comparison, session)
        _write_report(folder, name, parts, surveyed, comparison)
        return comparison

    def load(folder: Path, facts: Mapping[str, Any]) -> Finished:
        publish(output, folder)
        return Finished(name, output, facts)

    return stages.run(root, STAGE, inputs, build, load)


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


def _write_predictions(path: Path, dataset: Dataset, chosen: Sequence[Outcome]) -> None:
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


def _parts(
    folder: Path,
    config: Config,
    dataset: Dataset,
    seen: Inputs,
    teachers: Sequence[Teacher],
    chosen: Sequence[Outcome],
    lines: Sequence[Mapping[str, Any]],
    comparison: Mapping[str, Any],
    session: Session,
) -> _Parts:
    """Draws the pictures and writes the sections."""
    # Drawing takes a second to import, which a finished run is spared.
    from lelp_jax.report.figures import pictures

    text = [
        markdown.student_inputs(dataset, seen),
        markdown.differences(comparison),
        markdown.notes(comparison),
        markdown.teachers(comparison),
        markdown.chosen_settings(comparison),
        markdown.projections(config),
    ]
    return _Parts(
        [markdown.overview(config, dataset, comparison), *text],
        pictures.draw(folder, dataset, teachers, chosen, comparison, session),
        pictures.draw_sensitivity(folder, config, lines),
    )


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
        [table.columns(comparison), *table.rows(comparison)],
        [*parts.text[1:], promise],
        [*parts.pictures, *parts.sensitivity],
        seen.points,
    )
