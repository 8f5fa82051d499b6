"""The report's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from lelp_jax.report.table import scale

# Okabe and Ito's colours, distinguishable with impaired colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def methods(path: Path, comparison: Mapping[str, Any]) -> None:
    """Draws each method's test metric with its interval, and the teachers' mean as a line."""
    rows = [row for row in comparison["methods"] if "value" in row]
    factor, unit = scale(comparison["metric"])
    figure = Figure(figsize=(7, 1.2 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        value = row["value"]
        colour = _COLOURS[1] if row["method"] == comparison["baseline"] else _COLOURS[0]
        axes.plot(factor * value["mean"], place, "o", color=colour)
        if value["low"] is not None and value["low"] == value["low"]:
            ends = [factor * value["low"], factor * value["high"]]
            axes.plot(ends, [place, place], "-", lw=2, color=colour)
    if comparison["teacher"] is not None:
        axes.axvline(factor * comparison["teacher"], color="0.4", ls="--", lw=1)
        axes.annotate(
            "teacher",
            (factor * comparison["teacher"], 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            color="0.4",
        )
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.9")
    axes.set_xlabel(
        f"test {comparison['metric']}{unit}: mean and {100 * comparison['confidence']:g} % interval"
        f", {comparison['replicates']} replicates"
    )
    figure.savefig(path, dpi=150)


def curves(path: Path, losses: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draws the training loss of each method, one panel each, since losses differ in scale.

    Args:
        path: The file.
        losses: Per panel the steps, [points], and the losses, [members, points].
    """
    across = min(4, len(losses))
    down = -(-len(losses) // across)
    figure = Figure(figsize=(3 * across, 2.4 * down), layout="constrained")
    for place, (name, (steps, values)) in enumerate(losses.items()):
        axes = figure.add_subplot(down, across, place + 1)
        low, middle, high = np.nanpercentile(values, [5, 50, 95], axis=0)
        axes.fill_between(steps, low, high, color=_COLOURS[0], alpha=0.25, lw=0)
        axes.plot(steps, middle, color=_COLOURS[0])
        axes.set_title(name, fontsize=10)
        axes.grid(color="0.92")
        axes.tick_params(labelsize=8)
    figure.supxlabel("step", fontsize=10)
    figure.supylabel("training loss: median and 5-95 % of members", fontsize=9)
    figure.savefig(path, dpi=150)


def embedding(
    path: Path,
    scores: np.ndarray,
    labels: np.ndarray,
    colour: np.ndarray,
    class_names: Sequence[str],
    colour_names: Sequence[str],
) -> None:
    """Draws the teacher's embedding in the first two directions of each class's subspace.

    Args:
        path: The file.
        scores: [rows, classes, subclasses] with at least two subclasses.
        labels: [rows].
        colour: What a point's colour says, [rows]: the fine label, or the class.
        class_names: One name per class.
        colour_names: One name per colour.
    """
    shown = class_names[:6]
    figure = Figure(
        figsize=(4.2 * min(3, len(shown)), 4 * -(-len(shown) // 3)), layout="constrained"
    )
    palette = colormaps["tab20" if len(colour_names) > 10 else "tab10"]
    for number, name in enumerate(shown):
        axes = figure.add_subplot(-(-len(shown) // 3), min(3, len(shown)), number + 1)
        member = labels == number
        for value in np.unique(colour[member]):
            points = scores[member & (colour == value), number]
            axes.scatter(
                points[:, 0],
                points[:, 1],
                s=14,
                color=palette(int(value) % palette.N),
                label=colour_names[value],
            )
        axes.set_title(f"class {name}", fontsize=10)
        axes.set_xlabel("direction 1")
        axes.set_ylabel("direction 2")
        axes.legend(fontsize=8, loc="best")
    figure.savefig(path, dpi=150)
