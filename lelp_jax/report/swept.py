"""The report on a launch that sweeps a value: all results, and curves over the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lelp_jax.core import files, search_space
from lelp_jax.experiment.sweep import Point
from lelp_jax.report.results import markdown, table
from lelp_jax.report.results.markdown import Picture, Section
from lelp_jax.report.stage import RESULTS, Finished

_PICTURE = "sweep.png"


def write(root: Path, name: str, points: Sequence[Point], finished: Sequence[Finished]) -> None:
    """Writes `results.jsonl` of all points and `report/` into the workdir.

    Args:
        root: The workdir.
        name: The name of the launch.
        points: What was swept.
        finished: What came of each.
    """
    lines = "".join((each.output / RESULTS).read_text() for each in finished)
    files.write_atomic(root / RESULTS, lines)
    folder = root / "report"
    folder.mkdir(exist_ok=True)
    comparisons = [each.comparison for each in finished]
    _draw(folder / _PICTURE, points, comparisons)
    sections = [
        Section("", _table(points, comparisons)),
        markdown.pictures("Picture", [Picture(_PICTURE, f"Results over {points[0].key}")]),
        Section(
            "Reports",
            "\n".join(
                f"- [{point.name}](../{point.folder(Path())}/report/report.md)" for point in points
            ),
        ),
    ]
    files.write_atomic(folder / "report.md", markdown.document(name, sections))


def _draw(path: Path, points: Sequence[Point], comparisons: Sequence[Mapping[str, Any]]) -> None:
    # Drawing takes a second to import.
    from lelp_jax.report.figures import sweeps

    values = [
        value if search_space.is_number(value := point.value) else str(value) for point in points
    ]
    sweeps.draw(path, points[0].key, list(zip(values, comparisons, strict=True)))


def _table(points: Sequence[Point], comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Returns every method's metric and its difference to the baseline at every point."""
    first = comparisons[0]
    factor, unit = table.scale(first["metric"])
    methods = dict.fromkeys(row["method"] for each in comparisons for row in each["methods"])
    head = [f"{points[0].key}", *methods]
    body = [["---", *["---:"] * len(methods)]]
    for point, comparison in zip(points, comparisons, strict=True):
        rows = {row["method"]: row for row in comparison["methods"]}
        body.append([str(point.value), *(_cell(rows.get(name), factor) for name in methods)])
    lines = "\n".join("| " + " | ".join(cells) + " |" for cells in [head, *body])
    return (
        f"Test {first['metric']}{unit}: mean over replicates, and the paired difference to "
        f"{first['baseline']} with its {100 * first['confidence']:g} % interval.\n\n{lines}"
    )


def _cell(row: Mapping[str, Any] | None, factor: float) -> str:
    if row is None:
        return ""
    if "value" not in row:
        return str(row["status"])
    text = f"{factor * row['value']['mean']:.2f}"
    difference = row.get("difference")
    if difference and table.known(difference["low"]):
        low, mean, high = (factor * difference[key] for key in ("low", "mean", "high"))
        text += f" ({mean:+.2f} [{low:+.2f}, {high:+.2f}])"
    return text
