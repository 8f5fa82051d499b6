"""The ways in which a run ends early on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend; ends the run with exit code 2.

    The message is one line that names the offending value, its place and the mend.
    """


class Unavailable(UserError):
    """Something elsewhere cannot be reached now; the same command may go on from here later."""


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C or SIGTERM) and has saved what it had.

    Attributes:
        signal_number: The signal received; the exit code is 128 plus this number.
    """

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Returns the error for a name that is not known, with the nearest one that is.

    Args:
        kind: What the name is for, with its place ("setting methods.kd").
        name: The name that the user gave.
        known: The names that exist.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind}: {name!r}; {hint}known: {', '.join(known)}")
