"""What the report's pictures show, gathered from a run, and where they are put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.core.curves import read_curves
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.config import Config
from lelp_jax.projection import PROJECTORS
from lelp_jax.report.figures import plots, sensitivity
from lelp_jax.report.results.markdown import Picture
from lelp_jax.students import projections
from lelp_jax.students.selection import Outcome
from lelp_jax.teachers.base import Teacher
from lelp_jax.train.scheduler import Trained


def draw(
    folder: Path,
    dataset: Dataset,
    teachers: Sequence[Teacher],
    selected: Sequence[Outcome],
    comparison: Mapping[str, Any],
) -> list[Picture]:
    """Draws the comparison, the training curves and an embedding.

    Args:
        folder: Where the pictures are put.
        dataset: The data.
        teachers: The teachers.
        selected: The students of every chosen trial.
        comparison: The comparison.

    Returns:
        The pictures that there was something to draw for.
    """
    result = []
    if plots.methods(folder / "methods.png", comparison):
        result.append(
            Picture("methods.png", "Every method on the test rows (filled: Holm p below 0.05)")
        )
    losses = collect_losses(teachers, selected)
    if losses:
        plots.curves(folder / "curves.png", losses)
        result.append(Picture("curves.png", "Training losses of the chosen students"))
    if _embedding(folder / "embedding.png", dataset, selected):
        colour = "class" if dataset.fine_labels is None else "fine label"
        result.append(
            Picture(
                "embedding.png",
                "The teacher's embedding of the validation rows in LELP's subspace of each class, "
                f"coloured by {colour}",
            )
        )
    return result


def draw_sensitivity(
    folder: Path, config: Config, lines: Sequence[Mapping[str, Any]]
) -> list[Picture]:
    """Draws how the validation metric depends on settings, one picture per method.

    Args:
        folder: Where the pictures are put.
        config: The experiment.
        lines: All lines of `results.jsonl`.

    Returns:
        The pictures; none where no method tried enough combinations of two settings.
    """
    metric = config.report.selection_metric
    result = []
    for method, grids in sensitivity.grids(lines, metric).items():
        name = f"sensitivity_{method}.png"
        sensitivity.draw(folder / name, method, grids, metric, metrics.direction(metric))
        result.append(Picture(name, method))
    return result


def collect_losses(
    teachers: Sequence[Teacher], selected: Sequence[Outcome]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Collects steps and losses per panel: the teachers, and each method's selected students.

    Args:
        teachers: The teachers.
        selected: The students of every chosen trial.

    Returns:
        Per panel the steps, [points], and the losses, [members, points].
    """
    members: dict[str, list[Trained]] = {}
    networks = [teacher.network.trained for teacher in teachers if teacher.network]
    if networks:
        members["teacher"] = networks
    for outcome in selected:
        members.setdefault(outcome.student.trial.method, []).append(outcome.trained)
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
        # Fleets of different size may log at different steps; those of the first are shown.
        steps = curves[0][0]
        if steps:
            kept = [np.interp(steps, s, losses) for s, losses in curves if len(s)]
            result[panel] = (np.array(steps), np.array(kept))
    return result


def _embedding(path: Path, dataset: Dataset, selected: Sequence[Outcome]) -> bool:
    """Draws the validation embedding of the first replicate; returns whether there was one."""
    for outcome in selected:
        student = outcome.student
        if student.trial.method != "lelp" or student.projection is None:
            continue
        if student.projection.column_mask.shape[1] < 2:
            continue
        rows = dataset.validation
        scores = projections.score_rows(
            PROJECTORS["lelp"], student.projection, dataset, student.replicate.bank, rows
        )
        labels = dataset.labels[rows]
        fine = dataset.fine_labels
        colour, names = (
            (labels, dataset.class_names) if fine is None else (fine[rows], dataset.fine_names)
        )
        plots.embedding(path, scores, labels, colour, dataset.class_names, names)
        return True
    return False
