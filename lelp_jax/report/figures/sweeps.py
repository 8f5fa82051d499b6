"""Curves of the results over a value that differs between runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from lelp_jax.report.figures.plots import BASELINE, COLOURS, choose_limits
from lelp_jax.report.results.table import find_unit, is_known

Point = tuple[float | str, Mapping[str, Any]]

# Beyond this ratio of largest to smallest value, a linear axis crowds its left end.
_WIDE = 20
_OTHERS = [colour for colour in COLOURS if colour != BASELINE]
# 11 markers and 6 colours have no common divisor, so pairs of the two repeat after 66 methods.
_MARKERS = "osD^vP*X<>p"


def draw(path: Path, label: str, points: Sequence[Point]) -> None:
    """Draws the test metric of teachers and methods over a value that differs between runs.

    A second panel shows the paired difference to the baseline, if there is one. Methods are shifted
    sideways a little, so that their intervals do not overlap.

    Args:
        path: The file to write.
        label: Name of the value.
        points: The value and the comparison of each run; all with the same metric, baseline and
            confidence. Numbers are drawn to scale, on a log axis if the largest is more than 20
            times the smallest. Texts are drawn at equal distances and not joined by lines.
    """
    values = [value for value, _ in points]
    comparisons = [comparison for _, comparison in points]
    rows = [row for comparison in comparisons for row in comparison["methods"]]
    names = list(dict.fromkeys(row["method"] for row in rows if "value" in row))
    first = comparisons[0]
    factor, unit = find_unit(first["metric"])
    labels = {"value": f"test {first['metric']}{unit}"}
    if any("difference" in row for row in rows):
        labels["difference"] = f"minus {first['baseline']}, paired{unit and ' (points)'}"
    figure = Figure(
        figsize=(4.4 * len(labels) + 1.8, max(4.0, 0.6 + 0.19 * len(names))), layout="constrained"
    )
    panels = figure.subplots(1, len(labels), squeeze=False)[0]
    joined = not any(isinstance(value, str) for value in values)
    for axes, key in zip(panels, labels, strict=True):
        places = _scale_axis(axes, values)
        ends = []
        for number, name in enumerate(names):
            means = _collect_means(comparisons, name, key, factor)
            if not means:
                continue
            ends += [end for low, _, high in means.values() for end in (low, high)]
            # Shift in inches on paper rather than in data units, which differ on a log axis.
            offset = (number - (len(names) - 1) / 2) * min(3.0, 30 / len(names)) / 72
            is_baseline = name == first["baseline"]
            axes.errorbar(
                [places[run] for run in means],
                [mean for _, mean, _ in means.values()],
                yerr=np.array([(mean - low, high - mean) for low, mean, high in means.values()]).T,
                transform=axes.transData + ScaledTranslation(offset, 0, figure.dpi_scale_trans),
                label=name,
                color=BASELINE if is_baseline else _OTHERS[number % len(_OTHERS)],
                marker=_MARKERS[number % len(_MARKERS)],
                ms=4.5,
                ls="-" if joined else "none",
                lw=2 if is_baseline else 1.2,
                elinewidth=0.8,
                zorder=3 if is_baseline else 2,
            )
        if ends:
            # Matplotlib ignores artists with a shifted transform when it chooses limits.
            axes.update_datalim([(place, end) for place in places for end in choose_limits(ends)])
            axes.autoscale_view()
        axes.set_ylabel(labels[key])
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
    _draw_teachers(panels[0], places, comparisons, factor, joined)
    if "difference" in labels:
        panels[-1].axhline(0, color=BASELINE, lw=1)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    text = f"{label}; mean"
    scopes = dict.fromkeys(comparison["scope"] for comparison in comparisons)
    known = [scope for scope in scopes if scope != "too few replicates"]
    if known:
        text += f" and {100 * first['confidence']:g} % interval for {' or '.join(known)}"
    figure.supxlabel(text, fontsize=10)
    figure.savefig(path, dpi=150)


def _draw_teachers(
    axes: Axes,
    places: Sequence[float],
    comparisons: Sequence[Mapping[str, Any]],
    factor: float,
    joined: bool,
) -> None:
    """Draws the mean of the common teachers of each run, where it is known."""
    means = [
        (place, factor * comparison["teacher"])
        for place, comparison in zip(places, comparisons, strict=True)
        if is_known(comparison["teacher"])
    ]
    if means:
        style = "--" if joined else "none"
        axes.plot(*zip(*means, strict=True), color="0.5", marker=".", ls=style, label="teacher")


def _collect_means(
    comparisons: Sequence[Mapping[str, Any]], name: str, key: str, factor: float
) -> dict[int, tuple[float, float, float]]:
    """Collects lower end, mean and upper end of a method, by the run's position."""
    result = {}
    for run, comparison in enumerate(comparisons):
        for row in comparison["methods"]:
            if row["method"] == name and key in row and is_known(row[key]["mean"]):
                mean = row[key]["mean"]
                ends = [
                    row[key][end] if is_known(row[key][end]) else mean for end in ("low", "high")
                ]
                result[run] = (factor * ends[0], factor * mean, factor * ends[1])
    return result


def _scale_axis(axes: Axes, values: Sequence[float | str]) -> list[float]:
    """Labels the axis with the values of the runs; returns the position of each on the axis."""
    if any(isinstance(value, str) for value in values):
        places = [float(place) for place in range(len(values))]
        rotation = 0
    else:
        places = [float(value) for value in values]
        rotation = 45 if len(values) > 4 else 0
        if min(places) > 0 and max(places) > _WIDE * min(places):
            axes.set_xscale("log")
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    axes.set_xticks(places, texts, fontsize=8, rotation=rotation)
    axes.minorticks_off()
    axes.margins(x=0.12)
    return places
