"""The report's pictures of methods and their training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.report.results.table import known, scale

# Okabe and Ito's colours, distinguishable with impaired colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BASELINE = COLOURS[1]
_LEVEL = 0.05
_NAME_LENGTH = 40


def methods(path: Path, comparison: Mapping[str, Any]) -> bool:
    """Draws each method's test metric, and its paired difference to the baseline, with intervals.

    The teachers' mean is a line. A method is filled where its corrected p-value is below 0.05.

    Args:
        path: The file.
        comparison: The comparison.

    Returns:
        Whether there was a method to draw.
    """
    rows = [row for row in comparison["methods"] if "value" in row]
    if not rows:
        return False
    factor, unit = scale(comparison["metric"])
    paired = any("difference" in row for row in rows)
    # Many rows may stand closer: their names are read as a list.
    height = 1.4 + len(rows) * (0.4 if len(rows) <= 12 else 0.26)
    figure = Figure(figsize=(9 if paired else 7, height), layout="constrained")
    panels = figure.subplots(1, 1 + paired, sharey=True, squeeze=False)[0]
    _points(panels[0], rows, "value", factor, comparison["baseline"])
    panels[0].set_yticks(range(len(rows)), [row["method"] for row in rows])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    panels[0].set_xlabel(f"test {comparison['metric']}{unit}")
    teacher = comparison["teacher"]
    if known(teacher):
        panels[0].axvline(factor * teacher, color="0.4", ls="--", lw=1)
        panels[0].annotate(
            "teacher",
            (factor * teacher, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color="0.4",
            fontsize=9,
        )
    if paired:
        _points(panels[1], rows, "difference", factor, comparison["baseline"])
        panels[1].axvline(0, color=BASELINE, lw=1)
        panels[1].set_xlabel(f"minus {comparison['baseline']}, paired{unit and ' (points)'}")
    text = (
        f"mean and {100 * comparison['confidence']:g} % interval, "
        f"{comparison['replicates']} replicates"
    )
    if any("p" in row for row in rows):
        text += f"; filled: p below {_LEVEL:g} after Holm's correction"
    figure.supxlabel(text, fontsize=9, color="0.3")
    figure.savefig(path, dpi=150)
    return True


def _points(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, factor: float, baseline: str
) -> None:
    """Draws means with intervals, one row per method; the baseline and clear differences filled."""
    shown = {
        place: {name: factor * number for name, number in row[key].items() if known(number)}
        for place, row in enumerate(rows)
        if key in row and known(row[key]["mean"])
    }
    if not shown:
        return
    least, most = limits(
        [value[name] for value in shown.values() for name in value.keys() - {"std"}]
    )
    for place, value in shown.items():
        row, mean = rows[place], value["mean"]
        own = row["method"] == baseline
        colour = BASELINE if own else COLOURS[0]
        face = colour if own or (known(row.get("p")) and row["p"] < _LEVEL) else "white"
        if not least <= mean <= most:
            edge, marker, side = (least, "<", 1) if mean < least else (most, ">", -1)
            axes.plot(edge, place, marker, ms=5.5, mec=colour, mfc=face)
            axes.annotate(
                f"{mean:.2f}",
                (edge, place),
                xytext=(8 * side, 0),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=8,
            )
            continue
        if "low" in value:
            ends = np.clip([value["low"], value["high"]], least, most)
            axes.plot(ends, [place, place], "-", lw=1.8, color=colour)
        axes.plot(mean, place, "o", ms=5.5, mec=colour, mfc=face)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=7)
    for place in range(0, len(rows), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="0.97", lw=0, zorder=-1)


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Returns where an axis ends, so that a method far off does not press the others together.

    Args:
        values: Ends of all intervals; at least one.
    """
    low, high = np.quantile(values, [0.1, 0.9])
    span = high - low
    return max(min(values), low - span), min(max(values), high + span)


def curves(path: Path, losses: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draws the training loss of each method, one panel each, since losses differ in scale.

    Args:
        path: The file.
        losses: Per panel the steps, [points], and the losses, [members, points].
    """
    across = min(4 if len(losses) <= 8 else 5, len(losses))
    down = -(-len(losses) // across)
    figure = Figure(figsize=(2.6 * across, 2 * down + 0.4), layout="constrained")
    for place, (name, (steps, values)) in enumerate(losses.items()):
        axes = figure.add_subplot(down, across, place + 1)
        low, middle, high = np.nanpercentile(values, [5, 50, 95], axis=0)
        axes.fill_between(steps, low, high, color=COLOURS[0], alpha=0.25, lw=0)
        axes.plot(steps, middle, color=COLOURS[0])
        axes.set_title(name, fontsize=9)
        axes.grid(color="0.92")
        axes.tick_params(labelsize=8)
        axes.locator_params(nbins=4)
    figure.supxlabel("step", fontsize=10)
    figure.supylabel("training loss: median and 5-95 % of members", fontsize=9)
    figure.savefig(path, dpi=120)


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
        colour: What a point's colour says, [rows]: the fine label, -1 where unknown, or the class.
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
            known = value != UNLABELLED
            axes.scatter(
                points[:, 0],
                points[:, 1],
                s=14,
                color=palette(int(value) % palette.N) if known else "0.6",
                label=_name(colour_names[value]) if known else "unknown",
            )
        axes.set_title(_name(f"class {name}"), fontsize=10, parse_math=False)
        axes.set_xlabel("direction 1")
        axes.set_ylabel("direction 2")
        for text in axes.legend(fontsize=8, loc="best").get_texts():
            text.set_parse_math(False)
    figure.savefig(path, dpi=150)


def _name(text: str) -> str:
    """Returns the name of a class as a short line; a legend leaves out what starts with "_"."""
    line = " ".join(text.split())
    line = line if len(line) <= _NAME_LENGTH else line[:_NAME_LENGTH] + "…"
    return f" {line}" if line.startswith("_") else line
