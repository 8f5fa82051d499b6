"""What the report's pictures show, gathered from a run, and where they are put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.config import Config
from lelp_jax.report.figures import plots, sensitivity
from lelp_jax.report.results.evaluation import Outcome
from lelp_jax.report.results.markdown import Picture
from lelp_jax.students import projections as projections
from lelp_jax.teachers.base import Teacher
from lelp_jax.train.scheduler import Trained


def draw(
    folder: Path,
    dataset: Dataset,
    teachers: Sequence[Teacher],
    selected: Sequence[Outcome],
    comparison: Mapping[str, Any],
    session: Session,
) -> list[Picture]:
    """Draws the comparison, the training curves and an embedding.

    Args:
        folder: Where the pictures are put.
        dataset: The data.
        teachers: The teachers.
        selected: The students of every chosen trial.
        comparison: The comparison.
        session: The run, whose log of losses is drawn.

    Returns:
        The pictures that there was something to draw for.
    """
    result = []
    if plots.methods(folder / "methods.png", comparison):
        result.append(
            Picture("methods.png", "Every method on the test rows (filled: Holm p below 0.05)")
        )
    losses = training_losses(teachers, selected, session)
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


def training_losses(
    teachers: Sequence[Teacher], selected: Sequence[Outcome], session: Session
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns steps and losses per panel: the teachers, and each method's selected students.

    Args:
        teachers: The teachers.
        selected: The students of every chosen trial.
        session: The run.

    Returns:
        Per panel the steps, [points], and the losses, [members, points].
    """
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
            lines = by_fleet.get(member.folder.name, [])
            points = [line for line in lines if "loss" in line]
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
        scores = projections.scores(student.projection, dataset, student.replicate.bank, rows)
        labels = dataset.labels[rows]
        fine = dataset.fine_labels
        colour, names = (
            (labels, dataset.class_names) if fine is None else (fine[rows], dataset.fine_names)
        )
        plots.embedding(path, scores, labels, colour, dataset.class_names, names)
        return True
    return False
