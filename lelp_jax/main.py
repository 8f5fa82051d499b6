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

from absl import flags

from lelp_jax.cli import command_line
from lelp_jax.core import memory, terminal
from lelp_jax.core.errors import Damaged, Interrupted, UserError, format_error
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter, set_up_logging


def main(argv: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.

    Args:
        argv: The program's name and its arguments.

    Returns:
        0 if the run finished, 2 after a user error or an error of the operating system such as a
        full disk, and 128 plus the signal number (130 or 143) if it was interrupted.
    """
    # Before anything allocates: the setting applies to memory that is freed later.
    memory.keep_freed_memory()
    # Not from the parsed flags: errors in these are shown with a traceback, too.
    debug = "--debug" in argv
    set_up_logging(debug=debug)
    interrupts = Interrupts()
    try:
        with interrupts.listen():
            arguments = command_line.parse(argv, __doc__, _holds_texts)
            if arguments is None:
                return 0
            _run(arguments, interrupts)
            return 0
    except Interrupted as stop:
        again = shlex.join(["python", "-m", "lelp_jax.main", *argv[1:]])
        terminal.write(f"interrupted; finished work is saved. Resume with: {again}", stderr=True)
        return 128 + stop.signal_number
    except (UserError, Damaged, OSError, flags.Error) as error:
        # Users see one line; --debug shows the traceback.
        if debug:
            raise
        terminal.write(f"error: {format_error(error)}", stderr=True)
        return 2


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
