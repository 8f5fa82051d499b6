"""Exceptions that end a run early on purpose; `main` turns them into exit codes."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix; ends the run with exit code 2.

    The message is one line that names the offending value, where it is and how to fix it.
    """

    def __str__(self) -> str:
        """Gives the message; line ends that a quoted name holds are written as in Python."""
        return "\\n".join(super().__str__().splitlines())


class Unavailable(UserError):
    """Something cannot be read now, for a reason outside of it; the same command can resume later.

    For example, a remote location that cannot be reached. What was computed so far is kept.
    """


class Damaged(Exception):
    """Something that this program wrote has changed since; it can be built again.

    Attributes:
        problem: What is wrong, without how to fix it.
        location: Folder or address to delete so that it is built again.
    """

    def __init__(self, problem: str, location: str | os.PathLike[str]):
        super().__init__(f"{problem}; delete {location} to build it again")
        self.problem, self.location = problem, os.fspath(location)


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C or SIGTERM) and has saved its progress.

    Attributes:
        signal_number: The signal received; the exit code is 128 plus this number.
    """

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


def make_unknown_name_error(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Makes the error for an unknown name, with the closest known name as a hint.

    Args:
        kind: Kind and location of the name ("hyperparameter config.methods.kd").
        name: The name that the user gave.
        known: All valid names.
    """
    # Sorted, so that the message does not depend on the order of a ConfigDict or a set.
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind}: {name!r}; {hint}known: {', '.join(known)}")


def format_error(error: BaseException) -> str:
    """Formats an error on one line, with a hint for errors of the file system."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        other = "; give a --workdir that is writable"
        hint = {
            errno.ENOSPC: "; free some space, then run the same command again to resume",
            errno.EDQUOT: "; free some space, then run the same command again to resume",
            errno.EROFS: other,
            errno.EACCES: "; change its permissions",
            errno.EIO: "; check the disk that it is on",
            errno.ENOTDIR: other,
            errno.EEXIST: other,
        }.get(error.errno or 0, "")
        return f"{place}{error.strerror}{hint}"
    if isinstance(error, KeyError) and error.args:
        return " ".join(str(error.args[0]).split())
    return " ".join(str(error).split())
