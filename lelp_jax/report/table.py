"""The comparison as a table, in the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

# Shares are printed in percent; other metrics as they are.
_PERCENT = frozenset({"accuracy", "roc_auc", "pr_auc", "matthews"})


def scale(metric: str) -> tuple[float, str]:
    """Returns the factor and the unit in which a metric is shown."""
    return (100.0, " %") if metric in _PERCENT else (1.0, "")


def columns(comparison: Mapping[str, Any]) -> list[str]:
    """Returns the headings."""
    _, unit = scale(comparison["metric"])
    cover = f"{100 * comparison['confidence']:g} %"
    return [
        "method",
        f"test {comparison['metric']}{unit}",
        f"minus {comparison['baseline']} [{cover} interval]",
        "NLL",
        "ECE",
        "agreement %",
        "outputs",
        "parameters",
        "s/student",
        "trials",
    ]


def rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Returns one row per method, and the teachers' last."""
    factor, _ = scale(comparison["metric"])
    result = []
    for row in comparison["methods"]:
        if "value" not in row:
            result.append([row["method"], "every trial diverged", *[""] * 7, str(row["trials"])])
            continue
        value, difference = row["value"], row.get("difference")
        result.append(
            [
                row["method"],
                f"{factor * value['mean']:.2f}{_plus_minus(value['std'], factor)}",
                _interval(difference, factor) if difference else "",
                f"{row['nll']:.3f}",
                f"{row['ece']:.3f}",
                _agreement(row["agreement"]),
                str(row["num_outputs"]),
                f"{row['parameters']:,}",
                f"{row['train_seconds']:.3f}",
                f"{row['trials']}" + (f" ({row['diverged']} diverged)" if row["diverged"] else ""),
            ]
        )
    if comparison["teacher"] is not None:
        result.append(
            [f"teacher ({comparison['teachers']})", f"{factor * comparison['teacher']:.2f}"]
        )
    return [row + [""] * (10 - len(row)) for row in result]


def _agreement(value: float | None) -> str:
    return "" if value is None or value != value else f"{100 * value:.1f}"


def _plus_minus(std: float | None, factor: float) -> str:
    return "" if std is None or std != std else f" ± {factor * std:.2f}"


def _interval(value: Mapping[str, float], factor: float) -> str:
    if value["low"] is None or value["low"] != value["low"]:
        return f"{factor * value['mean']:+.2f}"
    return (
        f"{factor * value['mean']:+.2f} "
        f"[{factor * value['low']:+.2f}, {factor * value['high']:+.2f}]"
    )


def show(comparison: Mapping[str, Any], title: str) -> None:
    """Prints the table on standard output.

    A narrow terminal is spared the last columns, which the report has.

    Args:
        comparison: The comparison.
        title: Stands above it.
    """
    cells = [columns(comparison), *rows(comparison)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    # What a table takes that shows the columns up to each one.
    needed = [sum(widths[: n + 1]) + 3 * (n + 1) + 2 for n in range(len(widths))]
    console = Console()
    if not console.is_terminal:
        console = Console(width=needed[-1])
    shown = max(2, sum(width <= console.width for width in needed))
    table = Table(box=box.SIMPLE_HEAD)
    for number, name in enumerate(cells[0][:shown]):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    for row in cells[1:]:
        table.add_row(*row[:shown])
    console.print(title, highlight=False, markup=False, soft_wrap=True)
    console.print(table)


def markdown(comparison: Mapping[str, Any]) -> str:
    """Returns the table in Markdown."""
    head = columns(comparison)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows(comparison)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
