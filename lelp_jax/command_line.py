"""Reads the command line: which config, with which overrides, into which folder."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags
from rich.console import Console
from rich.table import Table

from lelp_jax.errors import UserError

_LEAST_WIDTH = 140


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the command line says.

    Attributes:
        name: The config's name, with its argument when there is one ("digits-quick").
        config: The config with overrides applied, as plain content.
        workdir: Where artifacts go.
    """

    name: str
    config: dict[str, Any]
    workdir: Path


def parse(argv: Sequence[str], usage: str | None) -> Arguments | None:
    """Reads a command line.

    Args:
        argv: The program's name and its arguments.
        usage: Printed before the flags by --help.

    Returns:
        What it says, or None when it asked for help, which was printed.

    Raises:
        UserError: A flag or key is unknown, a value cannot be used, or the config cannot be loaded.
    """
    values = flags.FlagValues()
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder of this run; by default runs/NAME of the config.",
        flag_values=values,
    )
    flags.DEFINE_bool("debug", False, "Show the traceback of errors.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Config file, such as configs/digits.py or configs/digits.py:quick; "
        "--config.KEY=VALUE overrides one of its values.",
        flag_values=values,
        lock_config=True,
        sys_argv=list(argv),
    )
    if {"-h", "--help", "-help"} & set(argv):
        flags_help = values.get_help("  ").replace("lelp_jax.command_line:", "").strip("\n")
        print(f"{(usage or '').strip()}\n\nflags:\n{flags_help}")
        return None
    specified = [a for a in argv[1:] if a.lstrip("-").split("=")[0] == "config"]
    if not specified:
        raise UserError("--config is missing; for example --config=configs/digits.py")
    path, _, argument = _config_path(argv).partition(":")
    if not Path(path).is_file():
        raise UserError(f"--config={path}: no such file")
    try:
        # absl prints its own words for some mistakes before raising; one line is enough.
        with contextlib.redirect_stderr(io.StringIO()):
            rest = values(list(argv))
    except SystemExit:
        raise UserError(f"the command line cannot be read: {' '.join(argv[1:])}") from None
    except flags.Error as error:
        raise UserError(one_line(error)) from error
    except (UserError, OSError):
        raise
    except Exception as error:
        # A config file is the user's program: whatever it raises is theirs to mend.
        raise UserError(f"--config={path}: {type(error).__name__}: {one_line(error)}") from error
    if len(rest) > 1:
        raise UserError(f"argument {rest[1]!r} is not a flag; flags begin with --")
    config = values["config"].value
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={path}: get_config must return a ConfigDict, got {config!r}")
    name = Path(path).stem + (f"-{argument}" if argument else "")
    workdir = Path(values["workdir"].value or Path("runs") / name)
    return Arguments(name, config.to_dict(), workdir)


def _config_path(argv: Sequence[str]) -> str:
    for place, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag.lstrip("-") == "config" and flag.startswith("-"):
            return value if equals else (argv[place + 1] if place + 1 < len(argv) else "")
    return ""


def one_line(error: BaseException) -> str:
    """Returns an error's message on one line."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        mend = {
            errno.ENOSPC: "; free some space, then run the same command again to resume",
            errno.EROFS: "; give a --workdir that can be written",
            errno.EACCES: "; give a --workdir that can be written",
        }.get(error.errno or 0, "")
        return f"{place}{error.strerror}{mend}"
    if isinstance(error, KeyError) and error.args:
        return " ".join(str(error.args[0]).split())
    return " ".join(str(error).split())


def print_table(table: Table) -> None:
    """Prints a table on standard output; not cut where the output is no terminal."""
    width = max(shutil.get_terminal_size().columns, 80)
    console = Console(width=None if Console().is_terminal else max(width, _LEAST_WIDTH))
    console.print(table)
