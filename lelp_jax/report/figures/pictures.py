"""Draws the report's pictures: collects their data from a run and writes the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.core.curves import read_curves
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.config import Config
from lelp_jax.report.figures import plots, sensitivity, sheets
from lelp_jax.report.results.disagreement import Disputed, join_names
from lelp_jax.report.results.markdown import Gallery, Picture
from lelp_jax.report.results.table import escape_cell
from lelp_jax.students import projections
from lelp_jax.students.selection import Outcome
from lelp_jax.teachers.base import Teacher
from lelp_jax.train.scheduler import Trained

# Sheets of more classes, or of more rows, would make the page heavy.
_MOST_CLASSES = 10
_MOST_DISPUTED = 24


def draw(
    folder: Path,
    dataset: Dataset,
    teachers: Sequence[Teacher],
    selected: Sequence[Outcome],
    comparison: Mapping[str, Any],
) -> list[Picture]:
    """Draws the comparison, the training curves and an embedding.

    Args:
        folder: The folder to write the pictures to.
        dataset: The data.
        teachers: The teachers.
        selected: The selected students.
        comparison: The comparison.

    Returns:
        The pictures that were drawn; one without data is left out.
    """
    result = []
    if plots.draw_methods(folder / "methods.png", comparison):
        result.append(
            Picture(
                "methods.png",
                f"Test {comparison['metric']} of each method, and its paired difference to "
                f"{comparison['baseline']}",
            )
        )
    losses = collect_losses(teachers, selected)
    if losses:
        plots.draw_curves(folder / "curves.png", losses)
        result.append(Picture("curves.png", "Training loss of the teachers and selected students"))
    if _draw_embedding(folder / "embedding.png", dataset, selected):
        colour = "class" if dataset.fine_labels is None else "fine label"
        result.append(
            Picture(
                "embedding.png",
                "Validation rows of each class in the first two directions of its LELP subspace, "
                f"coloured by {colour}",
            )
        )
    return result


def draw_sensitivity(
    folder: Path, config: Config, lines: Sequence[Mapping[str, Any]]
) -> list[Picture]:
    """Draws how the validation metric depends on hyperparameters, one picture per method.

    Args:
        folder: The folder to write the pictures to.
        config: The experiment.
        lines: All lines of `results.jsonl`.

    Returns:
        The pictures; none for a method that tried too few combinations of two hyperparameters.
    """
    metric = config.report.selection_metric
    result = []
    for method, grids in sensitivity.make_grids(lines, metric).items():
        name = f"sensitivity_{method}.png"
        sensitivity.draw(folder / name, method, grids, metric, metrics.find_direction(metric))
        result.append(Picture(name, method))
    return result


def draw_nearest(folder: Path, dataset: Dataset, facts: Mapping[str, Any]) -> Gallery:
    """Draws the images nearest to each pseudo-subclass, one sheet per class.

    Args:
        folder: The folder to write the pictures to.
        dataset: The data, of images.
        facts: The result of `diagnosis.diagnose`, or the same read from JSON.
    """
    drawn = [(label, each) for label, each in enumerate(facts["classes"]) if each["nearest"]]
    result = []
    for label, entry in drawn[:_MOST_CLASSES]:
        file = f"nearest_{label}.png"
        rows = [dataset.inputs[each["rows"]] for each in entry["nearest"]]
        titles = [
            _describe_subclass(number, each, dataset.fine_names)
            for number, each in enumerate(entry["nearest"])
        ]
        sheets.draw_rows(folder / file, rows, titles)
        name = escape_cell(entry["name"])
        parts = f"{len(rows)} pseudo-subclass{'es' * (len(rows) != 1)}"
        caption = f"Class {name}: images nearest to its {parts}"
        result.append(Picture(file, caption))
    introduction = (
        "Each row shows the validation images that score highest in one pseudo-subclass of LELP, "
        "the highest first, with the share of the class's images that it holds"
    )
    introduction += "." if dataset.fine_labels is None else " and their most frequent fine label."
    if len(drawn) > _MOST_CLASSES:
        introduction += f" The first {_MOST_CLASSES} of {len(drawn)} classes are shown."
    return Gallery("Images nearest to the pseudo-subclasses", result, introduction)


def _describe_subclass(number: int, entry: Mapping[str, Any], fine_names: Sequence[str]) -> str:
    text = f"{number + 1}: {100 * entry['share']:.1f} %"
    if entry["fine"] is None:
        return text
    name = plots.shorten_line(fine_names[entry["fine"]])
    return f"{text}\nfine label {name}\n({100 * entry['fine_share']:.1f} % of them)"


def draw_disputed(folder: Path, dataset: Dataset, disputed: Sequence[Disputed]) -> Gallery:
    """Draws the test images on which methods disagree most.

    Args:
        folder: The folder to write the picture to.
        dataset: The data, of images.
        disputed: The images, the most disputed first.
    """
    shown = disputed[:_MOST_DISPUTED]
    title, file = "Test images on which methods disagree", "disagreement.png"
    if not shown:
        return Gallery(title, [])
    names, labels = dataset.class_names, dataset.labels
    examples = [
        sheets.Example(
            dataset.inputs[row],
            names[labels[row]],
            [
                sheets.Caption(f"{names[label]}: {join_names(methods)}", label == labels[row])
                for label, methods in answers
            ],
        )
        for row, answers in shown
    ]
    sheets.draw_examples(folder / file, examples)
    caption = (
        f"The {len(shown)} most disputed of {len(disputed):,} test images, each with its class and "
        "the methods' answers (green: right, orange: wrong)"
    )
    return Gallery(title, [Picture(file, caption)])


def collect_losses(
    teachers: Sequence[Teacher], selected: Sequence[Outcome]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Collects the loss curves of the teachers and of each method's selected students.

    Args:
        teachers: The teachers.
        selected: The selected students.

    Returns:
        For each panel, the steps, [points], and the losses, [members, points].
    """
    members: dict[str, list[Trained]] = {}
    networks = [teacher.network.trained for teacher in teachers if teacher.network]
    if networks:
        members["teacher"] = networks
    for outcome in selected:
        members.setdefault(outcome.student.trial.method, []).append(outcome.trained)
    # One file holds the curves of a whole fleet, so it is read once for all of its members.
    result, of_fleet = {}, dict[Path, list[dict[str, Any]]]()
    for panel, trained in members.items():
        curves = []
        for member in trained:
            if member.folder not in of_fleet:
                of_fleet[member.folder] = [x for x in read_curves(member.folder) if "loss" in x]
            points = of_fleet[member.folder]
            steps = [line["step"] for line in points]
            losses = [line["loss"][member.position] for line in points]
            curves.append((steps, np.array(losses, float)))
        # Fleets of different size may log at different steps: interpolate to those of the first.
        steps = curves[0][0]
        if steps:
            kept = [np.interp(steps, s, losses) for s, losses in curves if len(s)]
            result[panel] = (np.array(steps), np.array(kept))
    return result


def _draw_embedding(path: Path, dataset: Dataset, selected: Sequence[Outcome]) -> bool:
    """Draws the validation embedding of the first LELP student; returns whether there is one."""
    for outcome in selected:
        student = outcome.student
        if student.trial.method != "lelp" or student.projection is None:
            continue
        # One direction per class is not enough for a scatter plot.
        if student.projection.column_mask.shape[1] < 2:
            continue
        rows = dataset.validation
        scores = projections.score_rows(student.projection, student.replicate, rows)
        labels = dataset.labels[rows]
        fine = dataset.fine_labels
        colour, names = (
            (labels, dataset.class_names) if fine is None else (fine[rows], dataset.fine_names)
        )
        plots.draw_embedding(path, scores, labels, colour, dataset.class_names, names)
        return True
    return False
