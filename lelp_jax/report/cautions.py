"""Sentences on what a reader should know before trusting a comparison.

They compare with the references, and look at the ends of the training curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lelp_jax.core import metrics
from lelp_jax.core.curves import read_curves
from lelp_jax.experiment.run import Run
from lelp_jax.references.stage import LINEAR, LINEAR_ALL, MAJORITY
from lelp_jax.report.results.table import find_unit, format_metric, is_known
from lelp_jax.students.selection import Outcome
from lelp_jax.teachers.base import Teacher
from lelp_jax.teachers.trained import TrainedTeachers
from lelp_jax.train import optimizer
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.scheduler import Trained

# Share of the way from the majority class to a perfect result. Below the first a result is near the
# majority; below the second it is if its interval reaches down to the majority, too.
_NEAR, _MAYBE_NEAR = 0.1, 0.25
# The fall of a loss over the last tenth of training counts from this share of its whole fall on, if
# it is this many standard errors.
_LEAST_FALL, _LEAST_ERRORS = 0.05, 3
_LEAST_POINTS = 3
_MOST_NAMES = 8


def find_cautions(
    run: Run,
    teachers: Sequence[Teacher],
    selected: Sequence[Outcome],
    comparison: Mapping[str, Any],
) -> list[str]:
    """Finds what a reader should know before trusting the comparison.

    Args:
        run: The run.
        teachers: The teachers.
        selected: The selected students.
        comparison: The result of `comparison.compare`.

    Returns:
        Sentences in Markdown.
    """
    return [
        *compare_with_linear(comparison),
        *compare_with_majority(comparison),
        *judge_training(run, teachers, selected),
    ]


def compare_with_linear(comparison: Mapping[str, Any]) -> list[str]:
    """Finds teachers and methods that are no better than logistic regression on their rows."""
    values = _collect_values(comparison["references"])
    direction = metrics.find_direction(comparison["metric"])
    sentences = []
    linear, teacher = values.get(LINEAR_ALL), comparison["teacher"]
    if linear is not None and is_known(teacher) and direction * (linear - teacher) >= 0:
        sentences.append(
            f"The teacher ({_format(comparison, teacher)}) is no better than logistic regression "
            f"on the same rows (`{LINEAR_ALL}`, {_format(comparison, linear)}). Tune the "
            "teacher before you compare its students, or do without one."
        )
    linear, students = values.get(LINEAR), _collect_values(comparison["methods"])
    if linear is not None and students:
        best = max(students, key=lambda name: direction * students[name])
        if direction * (linear - students[best]) >= 0:
            sentences.append(
                "No method's students are better than logistic regression on the same rows "
                f"(`linear`, {_format(comparison, linear)}); the best are those of `{best}` "
                f"({_format(comparison, students[best])})."
            )
    return sentences


def compare_with_majority(comparison: Mapping[str, Any]) -> list[str]:
    """Finds teachers and methods that are hardly better than answering the most frequent class."""
    metric = comparison["metric"]
    majority = _collect_values(comparison["references"]).get(MAJORITY)
    direction = metrics.find_direction(metric)
    perfect = 1.0 if direction > 0 else 0.0
    # Answers that ignore the row are calibrated perfectly, so that error tells nothing here.
    if majority is None or metric == "ece" or majority == perfect:
        return []
    results: list[tuple[str, float | None, Mapping[str, float | None]]] = [
        (f"`{row['method']}`", row["value"]["mean"], row["value"])
        for row in comparison["methods"]
        if "value" in row
    ]
    results.append(("the teacher", comparison["teacher"], {}))
    below, near = [], []
    for name, value, interval in results:
        if value is None or not is_known(value):
            continue
        share = (value - majority) / (perfect - majority)
        text = f"{name} ({_format(comparison, value)})"
        if share < 0:
            below.append(text)
        elif share < _NEAR or (share < _MAYBE_NEAR and _reaches(interval, direction, majority)):
            near.append(text)
    shown = f"`majority` ({_format(comparison, majority)})"
    parts = [
        f"{words} {shown}: {_list(names)}."
        for words, names in (("Worse than", below), ("Hardly better than", near))
        if names
    ]
    if not parts:
        return []
    advice = "Check the labels, what the inputs tell of them, and the training."
    return [" ".join([*parts, advice])]


def _reaches(interval: Mapping[str, float | None], direction: int, majority: float) -> bool:
    """Checks whether an interval reaches to the majority class's value."""
    end = interval.get("low" if direction > 0 else "high")
    return end is not None and direction * (end - majority) <= 0


def judge_training(run: Run, teachers: Sequence[Teacher], selected: Sequence[Outcome]) -> list[str]:
    """Finds trainings of which half or more ended while the loss was still falling."""
    sentences = []
    networks = [teacher.network.trained for teacher in teachers if teacher.network]
    if networks and isinstance(run.config.teacher, TrainedTeachers):
        falling = _count_falling(networks, run.config.teacher.train)
        if 2 * falling >= len(networks):
            sentences.append(
                f"The training loss of {falling} of {len(networks)} teachers was still falling at "
                "the end; train them for longer (config.teacher.train)."
            )
    members: dict[str, list[Trained]] = {}
    for outcome in selected:
        members.setdefault(outcome.student.trial.method, []).append(outcome.trained)
    counts = {
        method: (_count_falling(trained, run.config.student.train), len(trained))
        for method, trained in members.items()
    }
    named = [
        f"`{method}` ({falling} of {total})"
        for method, (falling, total) in counts.items()
        if 2 * falling >= total
    ]
    if named:
        sentences.append(
            "The training loss of selected students was still falling at the end: "
            f"{_list(named)}. Longer training (config.student.train) may change the order of "
            "the methods."
        )
    return sentences


def _count_falling(members: Sequence[Trained], config: TrainConfig) -> int:
    """Counts the networks whose training ended too early."""
    of_fleet: dict[Path, list[dict[str, Any]]] = {}
    progress = _measure_progress(config)
    count = 0
    for member in members:
        if member.folder not in of_fleet:
            of_fleet[member.folder] = read_curves(member.folder)
        lines, place = of_fleet[member.folder], member.position
        curve = {x["step"]: x["loss"][place] for x in lines if "loss" in x}
        scores = {x["step"]: x["validation"][place] for x in lines if "validation" in x}
        shares = progress[np.array(list(curve), int) - 1]
        if not is_still_falling(np.array(list(curve.values()), np.float64), shares):
            continue
        direction = metrics.find_direction(config.early_stopping.metric)
        known = {step: direction * score for step, score in scores.items() if is_known(score)}
        # Early stopping keeps the best parameters, and none of the last were better.
        if known and progress[max(known, key=lambda step: known[step]) - 1] <= 0.9:
            continue
        count += 1
    return count


def is_still_falling(losses: np.ndarray, progress: np.ndarray) -> bool:
    """Checks whether a training loss was still falling in the last tenth of training.

    Progress is measured by the learning rates spent rather than by steps: at the end of a schedule
    that decays to 0, a loss hardly falls however far it still is from its minimum.

    The mean of the last tenth has to be below that of the tenth before by more than three standard
    errors of the difference, and by more than 5 % of the fall since the start.

    Args:
        losses: Mean losses over stretches of steps, [points].
        progress: Share of the sum of all learning rates that was spent by the end of each stretch,
            [points].

    Returns:
        Whether it was; False if there are fewer than three points in one of the tenths.
    """
    last = losses[progress > 0.9]
    before = losses[(progress > 0.8) & (progress <= 0.9)]
    if min(len(last), len(before)) < _LEAST_POINTS or not np.isfinite(losses).all():
        return False
    fall = before.mean() - last.mean()
    error = np.sqrt(before.var(ddof=1) / len(before) + last.var(ddof=1) / len(last))
    return bool(fall > _LEAST_ERRORS * error and fall > _LEAST_FALL * (losses[0] - last.mean()))


def _measure_progress(config: TrainConfig) -> np.ndarray:
    """Computes the share of all learning rates that is spent after each step, [steps]."""
    steps = jnp.arange(config.steps)
    rates = optimizer.compute_rate(config.optimizer, config.steps, 1.0, steps)
    spent = np.cumsum(np.broadcast_to(rates, steps.shape), dtype=np.float64)
    return spent / spent[-1]


def _collect_values(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Collects the known mean test metrics."""
    return {
        row["method"]: row["value"]["mean"]
        for row in rows
        if "value" in row and is_known(row["value"]["mean"])
    }


def _list(names: Sequence[str]) -> str:
    """Lists names, and counts those beyond the first few."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _format(comparison: Mapping[str, Any], value: float) -> str:
    _, unit = find_unit(comparison["metric"])
    return format_metric(comparison["metric"], value) + unit
