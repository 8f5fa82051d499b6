"""Trains teachers, distils them into students and compares methods, as set up by one config file.

    python -m lelp_jax.main --config=configs/digits.py [--workdir=DIR] [--config.KEY=VALUE ...]

Running the same command again resumes an interrupted run and reuses every result that is valid.
"""

# JAX is imported after the flags are parsed, so that --help and errors in flags appear at once.
from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lelp_jax.cli import command_line, program
from lelp_jax.core import terminal
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter


def main(argv: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.

    Args:
        argv: The program's name and its arguments.

    Returns:
        0 if it finished, 2 after a user error or an error of the operating system such as a full
        disk, and 128 plus the signal number (130 or 143) if it was interrupted.
    """

    def work(interrupts: Interrupts) -> None:
        arguments = command_line.parse(argv, __doc__, _holds_texts)
        if arguments is not None:
            _run(arguments, interrupts)

    again = shlex.join(["python", "-m", "lelp_jax.main", *argv[1:]])
    return program.run(argv, work, f"interrupted; finished work is saved. Resume with: {again}")


def _holds_texts(raw: Mapping[str, Any], key: str) -> bool:
    """Tells whether a key of a config takes a tuple of texts."""
    from lelp_jax.experiment.help import holds_texts

    return holds_texts(raw, key)


def _run(arguments: command_line.Arguments, interrupts: Interrupts) -> None:
    """Runs the pipeline and prints a table for each experiment."""
    from lelp_jax import pipeline
    from lelp_jax.core import parallel
    from lelp_jax.experiment.help import explain
    from lelp_jax.report.results import table

    if arguments.help_key:
        terminal.write(explain(arguments.config, arguments.help_key))
        return
    parallel.set_up()
    finished = pipeline.run(
        arguments.name, arguments.config, arguments.workdir, interrupts, Reporter()
    )
    for name, output, comparison in finished:
        table.print_table(comparison, f"{name}: {output / 'report' / 'report.md'}")
    if len(finished) > 1:
        terminal.write(f"{arguments.name}: {arguments.workdir / 'report' / 'report.md'}")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
