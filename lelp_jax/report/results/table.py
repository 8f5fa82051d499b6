"""The comparison as a table, in the terminal and in Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lelp_jax.core import terminal
from lelp_jax.references.stage import LINEAR_ALL
from lelp_jax.report.results.comparison import EQUALS, REFERENCE

# Metrics that are shares are printed in percent, all others as they are.
_PERCENT = frozenset({"accuracy", "roc_auc", "pr_auc", "matthews"})
# In place of a metric that the test rows do not define, such as areas without positive rows.
UNDEFINED = "undefined"
# The table shows the beginning of a reason; the notes below the table have the whole of it.
_REASON_LENGTH = 32


def find_unit(metric: str) -> tuple[float, str]:
    """Returns the factor and the unit in which a metric is printed."""
    return (100.0, " %") if metric in _PERCENT else (1.0, "")


def format_metric(metric: str, value: float | None, *, signed: bool = False) -> str:
    """Formats a metric or a difference in its unit; an unknown one becomes an empty text."""
    factor, unit = find_unit(metric)
    # Percent with two decimals are as fine as shares with four.
    return format_number(value, 2 if unit else 4, factor, signed=signed)


def format_interval(metric: str, value: Mapping[str, float | None]) -> str:
    """Formats a difference with its interval, if it has one."""
    mean, low, high = (
        format_metric(metric, value[key], signed=True) for key in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]" if low else mean


def is_known(value: float | None) -> bool:
    """Checks that a value is a number: neither NaN nor None, as files hold NaN."""
    return value is not None and value == value


def list_columns(comparison: Mapping[str, Any]) -> list[str]:
    """Lists the column headings."""
    _, unit = find_unit(comparison["metric"])
    coverage = f"{100 * comparison['confidence']:g} %"
    return [
        "method",
        f"test {comparison['metric']}{unit}",
        f"minus {comparison['baseline']} [{coverage} interval]",
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


def format_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Formats a row per method and reference, and one for the teachers.

    The reference that sees the teachers' rows is below the teachers.
    """
    metric = comparison["metric"]
    width = len(list_columns(comparison))
    result: list[list[str]] = []
    below: list[list[str]] = []
    for row in [*comparison["methods"], *comparison["references"]]:
        cells = [row["method"], *_format_outcome(row, metric)]
        if "value" in row:
            cells += [
                *_format_test(row),
                format_number(row["nll"], 3),
                format_number(row["ece"], 3),
                format_number(row["agreement"], 1, 100),
                str(row["num_outputs"]),
                f"{row['parameters']:,}",
                format_number(row["train_seconds"], 3),
            ]
        cells += [""] * (width - 1 - len(cells))
        (below if row["method"] == LINEAR_ALL else result).append([*cells, _format_trials(row)])
    if is_known(comparison["teacher"]):
        name = f"teacher ({comparison['teachers']})"
        cells = [name, format_metric(metric, comparison["teacher"])]
        result.append([*cells, *[""] * (width - 2)])
    return result + below


def explain_scope(comparison: Mapping[str, Any]) -> str:
    """Writes of whom the intervals and p-values speak, or why there are none."""
    replicates, teachers = comparison["replicates"], comparison["teachers"]
    count = f"{replicates} replicate{'s' * (replicates != 1)}"
    of_teachers = f"{teachers} teacher{'s' * (teachers != 1)}"
    scope = comparison["scope"]
    if scope == "too few replicates":
        return (
            f"Too few replicates to compare methods: {count} of {of_teachers}. Intervals and "
            "p-values need 3 replicates of one teacher, 4 of two, or 3 teachers."
        )
    compared = comparison["compared"]
    corrected = (
        f" p is corrected for {compared} compared methods, intervals are not."
        if compared > 1
        else ""
    )
    if scope == "these teachers":
        these = "this teacher" if teachers == 1 else f"these {teachers} teachers"
        return (
            f"Intervals and p-values are for {these}: they speak of new students and new test "
            "rows, but another teacher may rank the methods differently. Three or more teachers "
            f"make them speak of new teachers, too.{corrected}"
        )
    return (
        "Intervals and p-values speak of new students, new teachers and new test rows "
        f"({count}, {of_teachers}, {comparison['test_rows']} test rows).{corrected}"
    )


def list_notes(comparison: Mapping[str, Any]) -> list[str]:
    """Lists the notes on single methods, such as why one was refused."""
    rows = [*comparison["methods"], *comparison["references"]]
    return [f"{row['method']}: {row['note']}" for row in rows if row["note"]]


def _format_outcome(row: Mapping[str, Any], metric: str) -> list[str]:
    """Formats the value and the difference, or the reason why there are none."""
    if row["status"] == "refused":
        return ["refused", textwrap.shorten(row["note"] or "", _REASON_LENGTH, placeholder=" …")]
    same = f"= {row['status'].removeprefix(EQUALS)}" if row["status"].startswith(EQUALS) else ""
    if "value" not in row:
        return ["not fitted" if row["status"] == REFERENCE else "every trial diverged", same]
    value, difference = row["value"], row.get("difference")
    mean = format_metric(metric, value["mean"]) or UNDEFINED
    spread = f" ± {format_metric(metric, value['std'])}" if is_known(value["std"]) else ""
    return [mean + spread, same or (format_interval(metric, difference) if difference else "")]


def _format_test(row: Mapping[str, Any]) -> list[str]:
    """Formats the corrected p-value and the wins; both are empty for a copy of another method.

    References are not tested.
    """
    if "wins" not in row or row["status"].startswith(EQUALS):
        return ["", ""]
    count = row["wins"] + row["losses"] + row["ties"]
    return [format_p_value(row.get("p")), f"{row['wins']}/{count}"]


def format_p_value(value: float | None) -> str:
    """Formats a p-value; an undefined one becomes an empty cell."""
    if value is None or not is_known(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _format_trials(row: Mapping[str, Any]) -> str:
    if row["status"] == REFERENCE:
        return ""
    diverged = f" ({row['diverged']} diverged)" if row["diverged"] else ""
    return f"{row['trials']}{diverged}"


def format_number(
    value: float | None, digits: int, factor: float = 1.0, *, signed: bool = False
) -> str:
    """Formats a number, never as -0; an unknown one becomes an empty text."""
    if value is None or not is_known(value):
        return ""
    return f"{factor * value:{'+' * signed}z.{digits}f}"


def print_table(comparison: Mapping[str, Any], title: str) -> None:
    """Prints the table to standard output, with notes below it.

    A terminal too narrow for the table gets the first columns that fit, and the names of the
    others; the report has all of them.

    Args:
        comparison: The comparison.
        title: A line to print above the table.
    """
    console = terminal.open_console()
    # Before the widths are counted: "+-" takes more room than the sign that it replaces.
    cells = [
        [terminal.spell_out(cell, console.encoding) for cell in row]
        for row in (list_columns(comparison), *format_rows(comparison))
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    # Width of a table that ends after column n: the cells, their padding and the margins.
    needed = [sum(widths[: n + 1]) + 3 * (n + 1) + 2 for n in range(len(widths))]
    # A pipe or a log file has no width to fit, so nothing is cut there.
    if not console.is_terminal:
        console = terminal.open_console(width=needed[-1])
    num_columns = max(2, sum(width <= console.width for width in needed))
    table = Table(box=box.SIMPLE_HEAD)
    for number, name in enumerate(cells[0][:num_columns]):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    for row in cells[1:]:
        # Text rather than str: rich would read "[-1.00, +2.00]" as markup.
        table.add_row(*map(Text, row[:num_columns]))
    console.print(title, soft_wrap=True)
    console.print(table)
    hidden = cells[0][num_columns:]
    notes = [f"Too narrow for: {', '.join(hidden)}. The report has all columns."] * bool(hidden)
    for note in [*notes, explain_scope(comparison), *list_notes(comparison)]:
        # A log file gets each note on one line.
        console.print(note, soft_wrap=not console.is_terminal)


def render_table(comparison: Mapping[str, Any]) -> str:
    """Renders the table in Markdown."""
    head = list_columns(comparison)
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [[escape_cell(text) for text in row] for row in format_rows(comparison)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# Everything that Markdown reads as markup: code, emphasis, ends of cells, links, tags and entities.
# An underscore inside a word is not markup, so "soft_kmeans" stays readable in the source.
_MARKUP = re.compile(r"[\\`*|]|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")


def escape_cell(text: str) -> str:
    """Escapes a text for a cell of a Markdown table.

    Class names come from the user's data and may contain anything. The result is one line, one
    cell, and free of markup.
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
