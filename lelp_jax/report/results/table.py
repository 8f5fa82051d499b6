"""The comparison as a table, in the terminal and in Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lelp_jax.report.results.comparison import EQUALS

# Shares are printed in percent; other metrics as they are.
_PERCENT = frozenset({"accuracy", "roc_auc", "pr_auc", "matthews"})
# How much of a reason stands in the table; the whole of it stands below.
_REASON_LENGTH = 32


def scale(metric: str) -> tuple[float, str]:
    """Returns the factor and the unit in which a metric is shown."""
    return (100.0, " %") if metric in _PERCENT else (1.0, "")


def known(value: float | None) -> bool:
    """Returns whether there is a number: not None, as files have it, nor NaN."""
    return value is not None and value == value


def columns(comparison: Mapping[str, Any]) -> list[str]:
    """Returns the headings."""
    _, unit = scale(comparison["metric"])
    cover = f"{100 * comparison['confidence']:g} %"
    return [
        "method",
        f"test {comparison['metric']}{unit}",
        f"minus {comparison['baseline']} [{cover} interval]",
        "p (Holm)",
        "wins",
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
    width = len(columns(comparison))
    result = []
    for row in comparison["methods"]:
        cells = [row["method"], *_outcome(row, factor)]
        if "value" in row:
            cells += [
                *_test(row),
                _number(row["nll"], 3),
                _number(row["ece"], 3),
                _number(row["agreement"], 1, 100),
                str(row["num_outputs"]),
                f"{row['parameters']:,}",
                _number(row["train_seconds"], 3),
            ]
        cells += [""] * (width - 1 - len(cells))
        result.append([*cells, _trials(row)])
    if known(comparison["teacher"]):
        name = f"teacher ({comparison['teachers']})"
        result.append([name, _number(comparison["teacher"], 2, factor), *[""] * (width - 2)])
    return result


def notes(comparison: Mapping[str, Any]) -> list[str]:
    """Returns what is to be said of single methods, one text each."""
    return [f"{row['method']}: {row['note']}" for row in comparison["methods"] if row["note"]]


def _outcome(row: Mapping[str, Any], factor: float) -> list[str]:
    """Returns the value and the difference, or why there is none."""
    if row["status"] == "refused":
        return ["refused", textwrap.shorten(row["note"] or "", _REASON_LENGTH, placeholder=" …")]
    same = f"= {row['status'].removeprefix(EQUALS)}" if row["status"].startswith(EQUALS) else ""
    if "value" not in row:
        return ["every trial diverged", same]
    value, difference = row["value"], row.get("difference")
    mean = _number(value["mean"], 2, factor)
    spread = f" ± {factor * value['std']:.2f}" if known(value["std"]) else ""
    return [mean + spread, same or (_interval(difference, factor) if difference else "")]


def _test(row: Mapping[str, Any]) -> list[str]:
    """Returns the corrected p-value and the wins of a method trained for itself."""
    if "p" not in row:
        return ["", ""]
    count = row["wins"] + row["losses"] + row["ties"]
    return [show_p(row["p"]), f"{row['wins']}/{count}"]


def show_p(value: float | None) -> str:
    """Returns a p-value as text, empty where there is none."""
    if value is None or not known(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _trials(row: Mapping[str, Any]) -> str:
    diverged = f" ({row['diverged']} diverged)" if row["diverged"] else ""
    return f"{row['trials']}{diverged}"


def _number(value: float | None, digits: int, factor: float = 1.0) -> str:
    """Returns a number as text, empty where it is not known."""
    return "" if value is None or not known(value) else f"{factor * value:.{digits}f}"


def _interval(value: Mapping[str, float], factor: float) -> str:
    if not known(value["mean"]):
        return ""
    if not known(value["low"]):
        return f"{factor * value['mean']:+.2f}"
    return (
        f"{factor * value['mean']:+.2f} "
        f"[{factor * value['low']:+.2f}, {factor * value['high']:+.2f}]"
    )


def show(comparison: Mapping[str, Any], title: str) -> None:
    """Prints the table on standard output, and below it the notes on single methods.

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
        table.add_row(*map(Text, row[:shown]))
    console.print(title, highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    for note in notes(comparison):
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def markdown(comparison: Mapping[str, Any]) -> str:
    """Returns the table in Markdown."""
    head = columns(comparison)
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [[cell(text) for text in row] for row in rows(comparison)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# What Markdown reads as more than text: code, emphasis, ends of cells, links, tags and entities. An
# underscore inside of a word is none of it.
_SIGNS = re.compile(r"[\\`*|]|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")


def cell(text: str) -> str:
    """Writes text as a cell of a Markdown table; names of classes may hold anything.

    It stays in one line and one cell, and nothing in it is markup.
    """
    return _SIGNS.sub(r"\\\g<0>", " ".join(text.split()))
