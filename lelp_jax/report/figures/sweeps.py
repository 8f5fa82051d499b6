"""How results depend on a quantity that differs between runs, as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from lelp_jax.report.figures.plots import BASELINE, COLOURS, limits
from lelp_jax.report.results.table import known, scale

Point = tuple[float | str, Mapping[str, Any]]

# Beyond this ratio points on a linear axis crowd at its left end.
_WIDE = 20
_OTHERS = [colour for colour in COLOURS if colour != BASELINE]
# As many as share no divisor with the colours, so that pairs repeat late.
_MARKERS = "osD^vP*X<>p"


def draw(path: Path, label: str, points: Sequence[Point]) -> None:
    """Draws the test metric of every method over a quantity that differs between runs.

    Beside it stands the paired difference to the baseline, where there is one. Methods are moved a
    little apart, so that their intervals can be told from each other.

    Args:
        path: The file.
        label: What differs between the runs.
        points: Its value in each run, with the run's comparison; all of one metric, baseline and
            confidence. Numbers are drawn at their place, on a log axis if the largest is more than
            20 times the smallest; texts stand side by side and are not joined by lines.
    """
    values = [value for value, _ in points]
    comparisons = [comparison for _, comparison in points]
    rows = [row for comparison in comparisons for row in comparison["methods"]]
    names = list(dict.fromkeys(row["method"] for row in rows if "value" in row))
    first = comparisons[0]
    factor, unit = scale(first["metric"])
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
            means = _means(comparisons, name, key, factor)
            if not means:
                continue
            ends += [end for low, _, high in means.values() for end in (low, high)]
            # In points on paper, which are the same on every kind of axis.
            offset = (number - (len(names) - 1) / 2) * min(3.0, 30 / len(names)) / 72
            own = name == first["baseline"]
            axes.errorbar(
                [places[run] for run in means],
                [mean for _, mean, _ in means.values()],
                yerr=np.array([(mean - low, high - mean) for low, mean, high in means.values()]).T,
                transform=axes.transData + ScaledTranslation(offset, 0, figure.dpi_scale_trans),
                label=name,
                color=BASELINE if own else _OTHERS[number % len(_OTHERS)],
                marker=_MARKERS[number % len(_MARKERS)],
                ms=4.5,
                ls="-" if joined else "none",
                lw=2 if own else 1.2,
                elinewidth=0.8,
                zorder=3 if own else 2,
            )
        if ends:
            # What is moved on paper is not seen by the automatic limits.
            axes.update_datalim([(place, end) for place in places for end in limits(ends)])
            axes.autoscale_view()
        axes.set_ylabel(labels[key])
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
    if "difference" in labels:
        panels[-1].axhline(0, color=BASELINE, lw=1)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    cover = f"{label}; mean and {100 * first['confidence']:g} % interval"
    figure.supxlabel(cover, fontsize=10)
    figure.savefig(path, dpi=150)


def _means(
    comparisons: Sequence[Mapping[str, Any]], name: str, key: str, factor: float
) -> dict[int, tuple[float, float, float]]:
    """Returns lower end, mean and upper end of a method in each run that has them."""
    result = {}
    for run, comparison in enumerate(comparisons):
        for row in comparison["methods"]:
            if row["method"] == name and key in row and known(row[key]["mean"]):
                mean = row[key]["mean"]
                ends = [row[key][end] if known(row[key][end]) else mean for end in ("low", "high")]
                # Narrow intervals of skewed values need not hold the mean.
                low, high = min(ends[0], mean), max(ends[1], mean)
                result[run] = (factor * low, factor * mean, factor * high)
    return result


def _scale_axis(axes: Axes, values: Sequence[float | str]) -> list[float]:
    """Labels the axis with the values of the runs and returns where each is drawn."""
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
