"""Plots of the methods, of their training and of an embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.report.results.table import find_unit, is_known

# The palette of Okabe and Ito, which readers with impaired colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BASELINE = COLOURS[1]
# A corrected p-value below this level fills a method's marker.
_LEVEL = 0.05
_NAME_LENGTH = 40


def draw_methods(path: Path, comparison: Mapping[str, Any]) -> bool:
    """Draws each method's test metric and its paired difference to the baseline, with intervals.

    A dashed line shows the teachers' mean. Markers of methods whose corrected p-value is below 0.05
    are filled.

    Args:
        path: The file to write.
        comparison: The comparison.

    Returns:
        Whether there is a method to draw; without one, no file is written.
    """
    rows = [row for row in comparison["methods"] if "value" in row]
    if not rows:
        return False
    factor, unit = find_unit(comparison["metric"])
    paired = any("difference" in row for row in rows)
    # Beyond a dozen methods, rows move closer together to keep the figure on one screen.
    height = 1.4 + len(rows) * (0.4 if len(rows) <= 12 else 0.26)
    figure = Figure(figsize=(9 if paired else 7, height), layout="constrained")
    panels = figure.subplots(1, 1 + paired, sharey=True, squeeze=False)[0]
    _draw_points(panels[0], rows, "value", factor, comparison["baseline"])
    panels[0].set_yticks(range(len(rows)), [row["method"] for row in rows])
    # Upside down, so that the first method of the table is at the top.
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    panels[0].set_xlabel(f"test {comparison['metric']}{unit}")
    teacher = comparison["teacher"]
    if is_known(teacher):
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
        _draw_points(panels[1], rows, "difference", factor, comparison["baseline"])
        panels[1].axvline(0, color=BASELINE, lw=1)
        panels[1].set_xlabel(f"minus {comparison['baseline']}, paired{unit and ' (points)'}")
    replicates, scope = comparison["replicates"], comparison["scope"]
    if scope == "too few replicates":
        text = f"mean; {replicates} replicate{'s' * (replicates != 1)}: too few to compare methods"
    else:
        text = f"mean and {100 * comparison['confidence']:g} % interval for {scope}, "
        text += f"{replicates} replicates"
        if any("p" in row for row in rows):
            text += f"; filled: p below {_LEVEL:g} after Holm's correction"
    figure.supxlabel(text, fontsize=9, color="0.3")
    figure.savefig(path, dpi=150)
    return True


def _draw_points(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, factor: float, baseline: str
) -> None:
    """Draws means with intervals, one row per method.

    Markers of the baseline and of significant differences are filled. A mean outside the axis
    limits becomes an arrow at the edge with its value as text.
    """
    drawn = {
        place: {name: factor * number for name, number in row[key].items() if is_known(number)}
        for place, row in enumerate(rows)
        if key in row and is_known(row[key]["mean"])
    }
    if not drawn:
        return
    least, most = choose_limits(
        [value[name] for value in drawn.values() for name in value.keys() - {"std"}]
    )
    for place, value in drawn.items():
        row, mean = rows[place], value["mean"]
        is_baseline = row["method"] == baseline
        colour = BASELINE if is_baseline else COLOURS[0]
        face = colour if is_baseline or (is_known(row.get("p")) and row["p"] < _LEVEL) else "white"
        if not least <= mean <= most:
            edge, marker, side = (least, "<", 1) if mean < least else (most, ">", -1)
            axes.plot(edge, place, marker, ms=5.5, mec=colour, mfc=face)
            axes.annotate(
                f"{mean:z.4g}",
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


def choose_limits(values: Sequence[float]) -> tuple[float, float]:
    """Chooses axis limits that leave far outliers outside.

    One method that failed would otherwise squeeze all others into a few pixels. The limits extend
    the range between the first and the last decile by its length on either side, but not beyond the
    values.

    Args:
        values: Ends of all intervals, at least one.
    """
    low, high = np.quantile(values, [0.1, 0.9])
    span = high - low
    return max(min(values), low - span), min(max(values), high + span)


def draw_curves(path: Path, losses: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draws training losses, one panel per method because losses differ in scale.

    Args:
        path: The file to write.
        losses: For each panel, the steps, [points], and the losses, [members, points].
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


def draw_embedding(
    path: Path,
    scores: np.ndarray,
    labels: np.ndarray,
    colour: np.ndarray,
    class_names: Sequence[str],
    colour_names: Sequence[str],
) -> None:
    """Draws the teacher's embedding in the first two directions of each class's subspace.

    Args:
        path: The file to write.
        scores: Projected embedding, [rows, classes, subclasses], with at least two subclasses.
        labels: Classes, [rows].
        colour: What the colour shows, [rows]: the fine label, -1 if unknown, or the class.
        class_names: One name per class; the first six classes are drawn.
        colour_names: One name per colour.
    """
    drawn = class_names[:6]
    figure = Figure(
        figsize=(4.2 * min(3, len(drawn)), 4 * -(-len(drawn) // 3)), layout="constrained"
    )
    palette = colormaps["tab20" if len(colour_names) > 10 else "tab10"]
    for number, name in enumerate(drawn):
        axes = figure.add_subplot(-(-len(drawn) // 3), min(3, len(drawn)), number + 1)
        member = labels == number
        for value in np.unique(colour[member]):
            points = scores[member & (colour == value), number]
            labelled = value != UNLABELLED
            axes.scatter(
                points[:, 0],
                points[:, 1],
                s=14,
                color=palette(int(value) % palette.N) if labelled else "0.6",
                label=_shorten_name(colour_names[value]) if labelled else "unknown",
            )
        axes.set_title(_shorten_name(f"class {name}"), fontsize=10, parse_math=False)
        axes.set_xlabel("direction 1")
        axes.set_ylabel("direction 2")
        # Class names are data: a "$" in one must not start a formula.
        for text in axes.legend(fontsize=8, loc="best").get_texts():
            text.set_parse_math(False)
    figure.savefig(path, dpi=150)


def _shorten_name(text: str) -> str:
    """Shortens a name to one line. A blank protects a leading "_", which hides legend entries."""
    line = shorten_line(text)
    return f" {line}" if line.startswith("_") else line


def shorten_line(text: str) -> str:
    """Shortens a text to one line, with an ellipsis where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= _NAME_LENGTH else line[:_NAME_LENGTH] + "…"
