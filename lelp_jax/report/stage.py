"""The report stage: evaluates the selected students, writes the report and publishes it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts, files
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.run import Run
from lelp_jax.methods.base import Verdict
from lelp_jax.references.stage import Reference
from lelp_jax.report import cautions, survey
from lelp_jax.report.results import disagreement, evaluation, markdown, reference_lines
from lelp_jax.report.results.comparison import compare
from lelp_jax.report.results.disagreement import Disagreement
from lelp_jax.report.results.evaluation import Evaluated
from lelp_jax.report.results.markdown import Gallery, Section
from lelp_jax.report.results.published import compare_to_published
from lelp_jax.report.results.reference_lines import EvaluatedReference
from lelp_jax.students.selection import Outcome
from lelp_jax.teachers.base import Teacher

_LOG = logging.getLogger(__name__)
STAGE = "reports"
_SENSITIVITY = (
    "Each cell is the mean over all trials with its pair of values and over their replicates. Grey "
    "cells were not tried; `div` marks cells in which a student of every trial diverged."
)
RESULTS = "results.jsonl"
_VERSION = 9


class Compared(NamedTuple):
    """What a report compares, and what goes with it.

    Attributes:
        teachers: The teachers.
        outcomes: All students after training.
        references: What the students are shown beside, one or more.
        exported: The folder of each exported student, by the student's fingerprint.
        verdicts: Verdicts on methods that were found before training.
        bank: The first teacher's outputs, for the diagnostics and the explorer.
    """

    teachers: Sequence[Teacher]
    outcomes: Sequence[Outcome]
    references: Sequence[Reference]
    exported: Mapping[str, Path]
    verdicts: Mapping[str, Verdict]
    bank: Bank


class _Predicted(NamedTuple):
    """What was predicted for the test rows, by a selected student or a reference.

    Attributes:
        method: Name of the method or reference.
        replicate: Number of the replicate.
        logits: Class logits, [rows, classes].
        contributions: What each row contributes to the metric of the comparison, [rows].
    """

    method: str
    replicate: int
    logits: np.ndarray
    contributions: np.ndarray


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


def ensure(run: Run, compared: Compared) -> Finished:
    """Evaluates the selected students, writes the report and publishes it.

    Args:
        run: The run.
        compared: What to compare.

    Returns:
        The result of the experiment.

    Raises:
        Interrupted: The run was asked to stop.
    """
    run.session.interrupts.check()
    choices, published = run.config.report, run.config.report.published
    teachers, outcomes, references, exported, verdicts, bank = compared
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
        "references": references[0].fingerprint,
        "exported": sorted(folder.name for folder in exported.values()),
        "verdicts": {
            method: [verdict.status, verdict.note] for method, verdict in verdicts.items()
        },
        "report": [choices.baseline, choices.selection_metric, choices.confidence],
        "published": [published.source, published.teacher, dict(published.methods)],
    }

    def build(folder: Path) -> Mapping[str, Any]:
        selected = sum(outcome.selected for outcome in outcomes)
        with run.session.reporter.show_stage("report", selected, "students"):
            replicates = [
                *(outcome.student.replicate for outcome in outcomes if outcome.selected),
                *references[0].replicates,
            ]
            teacher_tests = evaluation.evaluate_teachers(run, replicates)
            evaluated = evaluation.evaluate(run, outcomes, teacher_tests)
        beside = reference_lines.evaluate_references(run, references, teacher_tests)
        lines = evaluation.make_result_lines(run, evaluated, exported, verdicts)
        lines += [each.line for each in beside]
        chosen = [outcome for outcome in evaluated if outcome.selected]
        predicted = _collect_predictions(chosen, beside)
        comparison = compare(
            lines,
            {(each.method, each.replicate): each.contributions for each in predicted},
            choices.baseline,
            choices.selection_metric,
            choices.confidence,
        )
        found = cautions.find_cautions(run, teachers, chosen, comparison)
        text = "".join(json.dumps(files.clean(line)) + "\n" for line in lines)
        files.write_atomic(folder / RESULTS, text)
        _write_predictions(folder / "test_predictions.npz", run.dataset, predicted)
        surveyed = survey.ensure(run.root, run.known[0], bank)
        disputed = _find_disagreement(run.dataset, predicted, comparison)
        galleries = _draw_galleries(folder, run, teachers, chosen, comparison, lines)
        if run.dataset.of_images:
            galleries += _draw_sheets(folder, run.dataset, surveyed.facts, disputed)
        sections = _write_sections(run, comparison, found, disputed)
        _write_report(folder, run.name, sections, galleries, surveyed, comparison)
        return {"comparison": comparison, "cautions": found}

    def load(folder: Path, facts: Mapping[str, Any]) -> Finished:
        # Also for a report from an earlier launch: another config may have been published since.
        publish(run.output, folder)
        for caution in facts["cautions"]:
            _LOG.warning("%s: %s", run.name, caution)
        return Finished(run.name, run.output, facts["comparison"])

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


def _collect_predictions(
    chosen: Sequence[Evaluated], beside: Sequence[EvaluatedReference]
) -> list[_Predicted]:
    """Collects what was predicted for the test rows."""
    found = [
        (each.student.trial.method, each.student.replicate.number, each) for each in chosen
    ] + [(each.line["method"], each.line["replicate"], each) for each in beside]
    return [
        _Predicted(method, replicate, logits, shares)
        for method, replicate, each in found
        if (logits := each.test_logits) is not None and (shares := each.contributions) is not None
    ]


def _write_predictions(path: Path, dataset: Dataset, predicted: Sequence[_Predicted]) -> None:
    """Writes the test logits of the selected students and of the references."""
    with open(path, "wb") as file:
        np.savez(
            file,
            index=dataset.test,
            label=dataset.labels[dataset.test],
            class_logits=np.stack([each.logits for each in predicted]),
            method=np.array([each.method for each in predicted]),
            replicate=np.array([each.replicate for each in predicted]),
        )


def _find_disagreement(
    dataset: Dataset, predicted: Sequence[_Predicted], comparison: Mapping[str, Any]
) -> Disagreement:
    """Finds the test rows on which the compared methods disagree, without the references."""
    by_method: dict[str, list[np.ndarray]] = {row["method"]: [] for row in comparison["methods"]}
    for each in predicted:
        if each.method in by_method:
            by_method[each.method].append(each.logits)
    stacked = {method: np.stack(logits) for method, logits in by_method.items() if logits}
    return disagreement.find_disagreement(dataset.test, stacked)


def _write_sections(
    run: Run, comparison: Mapping[str, Any], found: Sequence[str], disputed: Disagreement
) -> list[Section]:
    """Writes the sections before the diagnostics, the overview first."""
    return [
        markdown.write_overview(run.config, run.dataset, comparison),
        Section("Cautions", "\n".join(f"- {caution}" for caution in found)),
        markdown.describe_inputs(run.dataset, run.inputs, run.config.student.train.augmentation),
        compare_to_published(run.config.report.published, comparison),
        markdown.explain_differences(comparison),
        disagreement.describe(disputed, run.dataset),
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


def _draw_sheets(
    folder: Path, dataset: Dataset, facts: Mapping[str, Any], disputed: Disagreement
) -> list[Gallery]:
    """Draws example images: those nearest to pseudo-subclasses, and those methods disagree on."""
    from lelp_jax.report.figures import pictures

    return [
        pictures.draw_nearest(folder, dataset, facts),
        pictures.draw_disputed(folder, dataset, disputed.disputed),
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
