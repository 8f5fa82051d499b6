"""The ways in which a run ends early on purpose."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix; ends the run with exit code 2.

    The message is one line that names the offending value, where it is and how to fix it.
    """


class Unavailable(UserError):
    """Something elsewhere cannot be reached now; the same command may resume from here later."""


class Damaged(UserError):
    """Something that this program wrote is no longer as it was written; it can be built again.

    Attributes:
        problem: What is wrong, without what to do about it.
        location: Folder or address to delete so that it is built again.
    """

    def __init__(self, problem: str, location: str | os.PathLike[str]):
        super().__init__(f"{problem}; delete {location} to build it again")
        self.problem, self.location = problem, os.fspath(location)


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C or SIGTERM) and has saved what it had.

    Attributes:
        signal_number: The signal received; the exit code is 128 plus this number.
    """

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Makes the error for an unknown name, with the closest one that exists as a hint.

    Args:
        kind: What the name is for, and where it is ("hyperparameter config.methods.kd").
        name: The name that the user gave.
        known: The names that exist.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind}: {name!r}; {hint}known: {', '.join(known)}")
