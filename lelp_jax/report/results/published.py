"""Published values of methods beside those of this run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lelp_jax.experiment.config import PublishedConfig
from lelp_jax.report.results import table
from lelp_jax.report.results.markdown import Section


def compare_to_published(published: PublishedConfig, comparison: Mapping[str, Any]) -> Section:
    """Compares published values with those of this run, in a table.

    Args:
        published: The published values.
        comparison: The comparison.
    """
    metric, baseline = comparison["metric"], comparison["baseline"]
    factor, unit = table.find_unit(metric)
    theirs = {name: value / factor for name, value in published.methods.items()}
    ours = {row["method"]: row["value"]["mean"] for row in comparison["methods"] if "value" in row}
    # Methods in the order of the comparison, then those that were not compared.
    names = [row["method"] for row in comparison["methods"] if row["method"] in theirs]
    names += [name for name in theirs if name not in names]
    rows = [
        [
            name,
            *_format_pair(metric, theirs[name], ours.get(name)),
            *(_format_gain(metric, values, name, baseline) for values in (theirs, ours)),
        ]
        for name in names
    ]
    if published.teacher:
        pair = _format_pair(metric, published.teacher / factor, comparison["teacher"])
        rows.append(["teacher", *pair, "", ""])
    if not rows:
        return Section("", "")
    head = [
        "method",
        f"published {metric}{unit}",
        "ours",
        "ours minus published",
        f"published minus {baseline}",
        f"ours minus {baseline}",
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return Section(
        "Published and ours",
        f"Published: {table.escape_cell(published.source)}. A cell is empty if a value is not "
        "known.\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines),
    )


def _format_pair(metric: str, theirs: float, ours: float | None) -> list[str]:
    """Formats a published value, ours, and the difference."""
    known = ours is not None and table.is_known(ours)
    difference = ours - theirs if ours is not None and known else None
    return [
        table.format_metric(metric, theirs),
        table.format_metric(metric, ours),
        table.format_metric(metric, difference, signed=True),
    ]


def _format_gain(metric: str, values: Mapping[str, float], name: str, baseline: str) -> str:
    """Formats the gain of a method over the baseline, if both are known."""
    if name == baseline or not {name, baseline} <= values.keys():
        return ""
    return table.format_metric(metric, values[name] - values[baseline], signed=True)
