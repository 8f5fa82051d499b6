"""What a benchmark ran on and with, and tables of what it measured."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from lelp_jax.core import parallel


def describe(*packages: str) -> str:
    """Returns a line that names the processor, its cores, and the versions.

    Args:
        *packages: Installed packages to name with their versions.
    """
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = (line.partition(":") for line in information.read_text().splitlines())
        names = [value.strip() for key, _, value in lines if key.strip() == "model name"]
        processor = names[0] if names else processor
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    cores = parallel.count_cores()
    return f"{processor}, {cores} cores; Python {platform.python_version()}, {versions}"


def installed(*packages: str) -> list[str]:
    """Returns those of the packages that are installed."""
    return [name for name in packages if importlib.util.find_spec(name.split("-")[0])]


def spread(values: Sequence[float], digits: int) -> str:
    """Returns "median [least - largest]" with so many digits after the point."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} [{low:,.{digits}f} - {high:,.{digits}f}]"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns aligned columns, the first to the left; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
