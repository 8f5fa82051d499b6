"""What the main functions of all commands share: streams, logging, signals and exit codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from absl import flags

from lelp_jax.core import memory, terminal
from lelp_jax.core.errors import Damaged, Interrupted, UserError, format_error
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import set_up_logging


def run(argv: Sequence[str], work: Callable[[Interrupts], None], when_interrupted: str) -> int:
    """Runs a command and returns its exit code.

    Args:
        argv: The program's name and its arguments.
        work: Parses them and does what they ask for.
        when_interrupted: Printed after Ctrl-C or SIGTERM.

    Returns:
        0 if it finished, 2 after a user error or an error of the operating system such as a full
        disk, and 128 plus the signal number (130 or 143) if it was interrupted.
    """
    # Before anything allocates: the setting applies to memory that is freed later.
    memory.keep_freed_memory()
    # Not from the parsed flags: errors in these are shown with a traceback, too.
    debug = "--debug" in argv
    set_up_logging(debug=debug)
    interrupts = Interrupts()
    try:
        with interrupts.listen():
            work(interrupts)
            return 0
    except Interrupted as stop:
        terminal.write(when_interrupted, stderr=True)
        return 128 + stop.signal_number
    except (UserError, Damaged, OSError, flags.Error) as error:
        # Users see one line; --debug shows the traceback.
        if debug:
            raise
        terminal.write(f"error: {format_error(error)}", stderr=True)
        return 2
