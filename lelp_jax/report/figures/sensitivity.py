"""Heat maps of a method's validation metric over pairs of its hyperparameters."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lelp_jax.report.results.comparison import EQUALS
from lelp_jax.report.results.table import find_unit

# These pairs come first, all others in the order of the hyperparameters.
_FIRST = (("num_subclasses", "beta"), ("beta", "temperature"))
_MOST_GRIDS = 6
# A grid with fewer of its cells tried shows which trials were drawn rather than their effect.
_LEAST_TRIED = 0.6


@dataclasses.dataclass(frozen=True)
class Grid:
    """A metric over the values of two hyperparameters.

    Attributes:
        row_name: The hyperparameter of the rows.
        column_name: The hyperparameter of the columns.
        row_values: Values of the rows, sorted.
        column_values: Values of the columns, sorted.
        mean: Mean over the trials of each cell and their replicates, [rows, columns]; NaN if the
            cell was not tried or every trial in it diverged.
        tried: Whether the cell has a trial, [rows, columns] bool.
    """

    row_name: str
    column_name: str
    row_values: tuple[Any, ...]
    column_values: tuple[Any, ...]
    mean: np.ndarray
    tried: np.ndarray


def make_grids(lines: Sequence[Mapping[str, Any]], metric: str) -> dict[str, list[Grid]]:
    """Makes the grids of each method whose trials vary at least two hyperparameters.

    Args:
        lines: All lines of `results.jsonl`.
        metric: The validation metric.

    Returns:
        At most six grids per method. Pairs with fewer than 60 % of their cells tried are left out,
        and so are methods without a grid.
    """
    result = {}
    for name in dict.fromkeys(line["method"] for line in lines if line["status"] != "refused"):
        members = [line for line in lines if line["method"] == name]
        # A copy of another method's lines would show the same picture again.
        if any(line["status"].startswith(EQUALS) for line in members):
            continue
        grids = _tabulate([line["settings"] for line in members], _average_trials(members, metric))
        if grids:
            result[name] = grids
    return result


def draw(path: Path, title: str, grids: Sequence[Grid], metric: str, sign: int) -> None:
    """Draws a method's validation metric over pairs of its hyperparameters; brighter is better.

    All panels share one colour scale. Cells that were not tried are grey; "div" marks a cell in
    which every trial diverged.

    Args:
        path: The file to write.
        title: The title above the panels.
        grids: One grid per panel.
        metric: The metric's name.
        sign: 1 for a metric to maximise, -1 for one to minimise.
    """
    factor, unit = find_unit(metric)
    finite = np.concatenate([grid.mean[np.isfinite(grid.mean)] for grid in grids])
    low, high = (factor * finite.min(), factor * finite.max()) if finite.size else (0.0, 1.0)
    across = min(3, len(grids))
    down = -(-len(grids) // across)
    cells = [max(grid.mean.shape[axis] for grid in grids) for axis in (0, 1)]
    size = (0.6 * cells[1] + 1.2) * across, (0.34 * cells[0] + 1.0) * down + 0.4
    figure = Figure(
        figsize=(max(4.5, size[0]), size[1]), layout=ConstrainedLayoutEngine(wspace=0.08)
    )
    palette = colormaps["viridis" if sign > 0 else "viridis_r"]
    for number, grid in enumerate(grids):
        axes = figure.add_subplot(down, across, number + 1)
        axes.imshow(factor * grid.mean, cmap=palette, vmin=low, vmax=high, aspect="auto")
        axes.set_facecolor("0.92")
        for (row, column), mean in np.ndenumerate(grid.mean):
            text = f"{factor * mean:z.4g}"
            if np.isnan(mean):
                text = "div" if grid.tried[row, column] else ""
            # White text on dark cells, black text on bright ones.
            share = (factor * mean - low) / (high - low) if high > low else 1.0
            dark = np.isfinite(mean) and (share if sign > 0 else 1 - share) < 0.55
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
        for axis, name, values in (
            (axes.xaxis, grid.column_name, grid.column_values),
            (axes.yaxis, grid.row_name, grid.row_values),
        ):
            axis.set_ticks(
                range(len(values)), [_format_value(value) for value in values], fontsize=8
            )
            axis.set_label_text(name, fontsize=9)
    figure.suptitle(f"{title}: mean validation {metric}{unit}", fontsize=10)
    figure.savefig(path, dpi=150)


def _average_trials(lines: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """Computes, for each line, the mean over its trial; NaN if a replicate of it diverged.

    A trial with a diverged replicate cannot be selected, so its other replicates do not count here.
    """
    values: dict[int, list[float]] = {}
    for line in lines:
        value = None if line["status"] == "diverged" else line["validation"][metric]
        values.setdefault(line["trial"], []).append(float("nan") if value is None else value)
    means = {trial: float(np.mean(replicates)) for trial, replicates in values.items()}
    return np.array([means[line["trial"]] for line in lines])


def _tabulate(settings: Sequence[Mapping[str, Any]], values: np.ndarray) -> list[Grid]:
    """Tabulates values, one per line, over every pair of hyperparameters that vary."""
    varied = {
        name: chosen
        for name in settings[0]
        if len(chosen := sorted({entry[name] for entry in settings}, key=_make_sort_key)) > 1
    }
    pairs = [pair for pair in _FIRST if varied.keys() >= set(pair)]
    # A pair and its transpose are the same picture.
    pairs += [p for p in itertools.combinations(varied, 2) if {*p} not in map(set, pairs)]
    result = []
    for pair in pairs:
        rows, columns = (varied[name] for name in pair)
        sums, counts = np.zeros((2, len(rows), len(columns)))
        tried = np.zeros(sums.shape, bool)
        for entry, value in zip(settings, values, strict=True):
            cell = rows.index(entry[pair[0]]), columns.index(entry[pair[1]])
            tried[cell] = True
            if np.isfinite(value):
                sums[cell] += value
                counts[cell] += 1
        if tried.mean() >= _LEAST_TRIED:
            mean = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            result.append(Grid(*pair, tuple(rows), tuple(columns), mean, tried))
    return result[:_MOST_GRIDS]


def _make_sort_key(value: Any) -> tuple[bool, Any]:
    """Makes a key that sorts numbers before texts, which do not compare with each other."""
    return (True, value) if isinstance(value, str) else (False, value)


def _format_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
