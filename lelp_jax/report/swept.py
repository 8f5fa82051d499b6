"""The report of a launch that sweeps a value: all results, and curves over the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lelp_jax.core import files, search_space
from lelp_jax.experiment.sweep import Point
from lelp_jax.report.results import markdown, table
from lelp_jax.report.results.markdown import Gallery, Picture, Section
from lelp_jax.report.stage import RESULTS, Finished

_PICTURE = "sweep.png"


def write(root: Path, name: str, points: Sequence[Point], finished: Sequence[Finished]) -> None:
    """Writes `results.jsonl` of all points and `report/` into the workdir.

    Args:
        root: The workdir.
        name: The name of the launch.
        points: The points of the sweep.
        finished: The result of each point, in the same order.
    """
    lines = "".join((each.output / RESULTS).read_text() for each in finished)
    files.write_atomic(root / RESULTS, lines)
    folder = root / "report"
    folder.mkdir(exist_ok=True)
    comparisons = [each.comparison for each in finished]
    _draw(folder / _PICTURE, points, comparisons)
    picture = Picture(_PICTURE, f"Results over {points[0].key}")
    sections = [
        Section("", _format_table(points, comparisons)),
        markdown.render_gallery(Gallery("Figure", [picture])),
        Section(
            "Reports of the single values",
            "\n".join(
                f"- [{point.name}](../{point.folder(Path())}/report/report.md)" for point in points
            ),
        ),
    ]
    files.write_atomic(folder / "report.md", markdown.render_document(name, sections))


def _draw(path: Path, points: Sequence[Point], comparisons: Sequence[Mapping[str, Any]]) -> None:
    # Importing Matplotlib takes a second, so it happens only when something is drawn.
    from lelp_jax.report.figures import sweeps

    values = [
        value if search_space.is_number(value := point.value) else str(value) for point in points
    ]
    sweeps.draw(path, points[0].key, list(zip(values, comparisons, strict=True)))


def _format_table(points: Sequence[Point], comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Formats a Markdown table: a row per point, a column for the teachers and each method."""
    first = comparisons[0]
    metric = first["metric"]
    _, unit = table.find_unit(metric)
    methods = dict.fromkeys(row["method"] for each in comparisons for row in each["methods"])
    head = [f"{points[0].key}", "teacher", *methods]
    body = [["---", *["---:"] * (len(methods) + 1)]]
    for point, comparison in zip(points, comparisons, strict=True):
        rows = {row["method"]: row for row in comparison["methods"]}
        teacher = table.format_metric(metric, comparison["teacher"])
        cells = [_format_cell(rows.get(name), metric) for name in methods]
        body.append([str(point.value), teacher, *cells])
    lines = "\n".join("| " + " | ".join(cells) + " |" for cells in [head, *body])
    return (
        f"Test {metric}{unit}: mean over replicates, and in parentheses the paired "
        f"difference to {first['baseline']} with its {100 * first['confidence']:g} % interval, if "
        f"there is one.\n\n{lines}\n\n{_explain_scopes(points, comparisons)}"
    )


def _explain_scopes(points: Sequence[Point], comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Explains of whom the intervals speak, which may depend on the point."""
    values: dict[str, list[str]] = {}
    for point, comparison in zip(points, comparisons, strict=True):
        values.setdefault(table.explain_scope(comparison), []).append(str(point.value))
    if len(values) == 1:
        return next(iter(values))
    return "\n".join(f"- {', '.join(names)}: {text}" for text, names in values.items())


def _format_cell(row: Mapping[str, Any] | None, metric: str) -> str:
    if row is None:
        return ""
    if "value" not in row:
        return str(row["status"])
    text = table.format_metric(metric, row["value"]["mean"]) or table.UNDEFINED
    difference = row.get("difference")
    # Without an interval, a difference adds nothing to the two means.
    if difference and table.is_known(difference["low"]):
        text += f" ({table.format_interval(metric, difference)})"
    return text
