"""Seconds to launch a run that is already finished, and which imports they go to.

    make bench-launch

Runs the quick digits config to its end in a temporary folder, then the same command again five
times: nothing is trained, the table of the report is printed anew.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine

LAUNCHES = 5
# What this benchmark is to show.
MOST_SECONDS = 3.0
SHOWN = 8
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")


def launch(workdir: Path, *python_flags: str) -> tuple[float, str]:
    """Returns the seconds that a launch takes, and what it wrote on standard error."""
    command = [sys.executable, *python_flags, "-m", "lelp_jax.main"]
    command += ["--config=configs/digits.py:quick", f"--workdir={workdir}"]
    start = time.perf_counter()
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    taken = time.perf_counter() - start
    if result.returncode:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr}")
    return taken, result.stderr


def imports(log: str) -> tuple[float, dict[str, float]]:
    """Returns what imports took.

    Args:
        log: What `python -X importtime` wrote.

    Returns:
        Seconds of all imports, and of each package's own modules without those of other packages.
    """
    packages: dict[str, float] = {}
    for own, _, _, module in _IMPORT.findall(log):
        package = module.split(".")[0]
        packages[package] = packages.get(package, 0.0) + int(own) / 1e6
    return sum(packages.values()), packages


def main() -> None:
    """Measures and prints."""
    print(machine.describe("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"))
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        first, _ = launch(workdir)
        print(f"first launch, which trains: {first:.1f} s")
        taken = [launch(workdir)[0] for _ in range(LAUNCHES)]
        log = launch(workdir, "-X", "importtime")[1]
    middle = statistics.median(taken)
    met = "met" if middle < MOST_SECONDS else "MISSED"
    print(
        f"launch of the finished run: {machine.spread(taken, 2)} s, median [least - largest] of "
        f"{LAUNCHES} (goal: below {MOST_SECONDS:g}; {met})\n"
    )
    total, packages = imports(log)
    rows = [["imports of one launch, timed by -X importtime", "seconds"]]
    largest = sorted(packages.items(), key=lambda item: -item[1])[:SHOWN]
    rows += [[package, f"{spent:.2f}"] for package, spent in largest]
    rows += [["all others", f"{total - sum(spent for _, spent in largest):.2f}"]]
    rows += [["all", f"{total:.2f}"]]
    print(machine.table(rows))


if __name__ == "__main__":
    main()
