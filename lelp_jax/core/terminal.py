"""Output to terminals, pipes and files of any encoding, which never ends a run."""

from __future__ import annotations

import codecs
import os
import sys

from rich.console import Console

_HANDLER = "lelp_jax.spell_out"
# What tables and messages of this program hold beyond ASCII. Everything else, such as the names of
# classes, is written as in Python, so that two names remain two.
_SPELLED = {"±": "+-", "…": "..."}


def set_up_streams() -> None:
    """Lets standard output and error take every text, whatever their encoding.

    Some logs and terminals have ASCII only; by default Python raises an error for all characters
    that they lack, here after hours of training.
    """
    for stream in (sys.stdout, sys.stderr):
        # Streams may be missing, or replaced by others.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)


def spell_out(text: str, encoding: str) -> str:
    """Replaces the characters that an encoding lacks, as the streams do."""
    return text.encode(encoding, _HANDLER).decode(encoding)


def _replace_missing(error: UnicodeError) -> tuple[str, int]:
    """Replaces characters for `str.encode`: "±" by "+-", "é" by a backslash and its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    spelled = [
        _SPELLED.get(character) or character.encode("ascii", "backslashreplace").decode()
        for character in error.object[error.start : error.end]
    ]
    return "".join(spelled), error.end


codecs.register_error(_HANDLER, _replace_missing)


class _PatientConsole(Console):
    """A console whose reader may leave, as `head` does; what follows is then not written."""

    def on_broken_pipe(self) -> None:
        """Writes nothing more, where the base class ends the process."""
        self.quiet = True
        # Python would otherwise complain, when it ends, that it cannot write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def open_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Makes a console that shows texts as they are: nothing in them is markup.

    Args:
        stderr: Whether to write to standard error.
        width: Number of columns; by default those of the terminal.
    """
    return _PatientConsole(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def write(text: str, *, stderr: bool = False) -> None:
    """Writes a text and ends its line.

    Args:
        text: The text; its lines are not wrapped.
        stderr: Whether to write to standard error.
    """
    open_console(stderr=stderr).print(text, soft_wrap=True)
