"""The command line of a run: the config, its overrides and the folder."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import io
import os.path
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from lelp_jax.cli import config_file, overrides
from lelp_jax.core import terminal
from lelp_jax.core.errors import UserError, format_error

# A dash before a digit or a point begins a negative number.
_FLAG = re.compile(r"--?(?P<name>[^\W\d][^=]*)(?P<value>=.*)?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A parsed command line.

    Attributes:
        name: The config's name, with its argument when there is one ("digits-quick").
        config: The config with overrides applied, as plain dictionaries.
        workdir: The folder for artifacts.
        help_key: The config key of --help=KEY; "" without it.
    """

    name: str
    config: dict[str, Any]
    workdir: Path
    help_key: str = ""


def parse(
    argv: Sequence[str],
    usage: str | None,
    holds_texts: Callable[[Mapping[str, Any], str], bool],
) -> Arguments | None:
    """Reads a command line.

    Args:
        argv: The program's name and its arguments.
        usage: Text that --help prints before the flags.
        holds_texts: Tells whether a key of a config takes a tuple of texts. It is asked only where
            a value may be read in two ways, so it may be slow.

    Returns:
        The arguments, or None after printing the help on --help.

    Raises:
        UserError: A flag or key is unknown, a value is not allowed, or the config cannot be loaded.
    """
    values = flags.FlagValues()
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder of this run; by default runs/NAME of the config.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "debug",
        False,
        "Show the traceback of errors, and every program that is compiled.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "help",
        False,
        "Show this help; --help=config.KEY shows what a key of the config means and which values "
        "are allowed, --help=config the sections.",
        short_name="h",
        flag_values=values,
    )
    if asks_for_help(argv):
        flags.DEFINE_string(
            "config",
            None,
            "Config file, such as configs/digits.py or configs/digits.py:quick; "
            "--config.KEY=VALUE overrides one of its values.",
            flag_values=values,
        )
        print_help(values, usage)
        return None
    check_flags(argv[1:], values, "config")
    help_key, others = _take_help(argv[1:])
    path, others = _take_config(others)
    file, colon, argument = path.partition(":")
    config = config_file.load_config(Path(file), [argument] if colon else [])
    with convert_flag_errors(argv):
        holds = functools.partial(holds_texts, config.to_dict())
        program = [argv[0], *overrides.normalize(config, others, holds)]
        # Locked: an override of a key that does not exist is an error, not a new key.
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, lock_config=True, sys_argv=program
        )
        rest = values(program)
    refuse_words(rest)
    if values["workdir"].value is not None and not values["workdir"].value.strip():
        raise UserError("--workdir is empty; give a folder, or leave the flag out")
    name = Path(file).stem + (f"-{argument}" if argument else "")
    workdir = _read_workdir(values["workdir"].value or str(Path("runs") / name))
    return Arguments(name, config.to_dict(), workdir, help_key)


def check_flags(arguments: Sequence[str], values: flags.FlagValues, *others: str) -> None:
    """Checks the names of all flags, and that those that need a value have one.

    Args:
        arguments: The command line without the program's name.
        values: The flags.
        *others: Names of flags that are defined later; only these have keys after a point, which
            are checked then, too.

    Raises:
        UserError: A flag is unknown or has no value.
    """
    switches = {name for name in values if values[name].boolean}
    known = sorted({*values, *others, *(f"no{name}" for name in switches)})
    for number, argument in enumerate(arguments):
        if argument == "--":
            return
        match = _FLAG.fullmatch(argument)
        if match is None:
            continue
        name, point, rest = match["name"].partition(".")
        if point and name.removeprefix("no") in others:
            continue
        if name not in known or point:
            near = difflib.get_close_matches(name, known, n=1)
            rest = f".{rest}" if near and near[0] in others and point else ""
            hint = f"; did you mean --{near[0]}{rest}?" if near else ";"
            raise UserError(f"unknown flag --{match['name']}{hint} --help shows the flags")
        # absl would take the next flag for the value.
        following = arguments[number + 1 : number + 2]
        alone = match["value"] is None and (not following or _FLAG.fullmatch(following[0]))
        if alone and name not in switches and name.removeprefix("no") not in switches:
            raise UserError(f"--{name} has no value; write --{name}=VALUE")


@contextlib.contextmanager
def convert_flag_errors(argv: Sequence[str]) -> Iterator[None]:
    """Converts absl's errors into a `UserError`.

    Args:
        argv: The program's name and its arguments.

    Raises:
        UserError: A flag is unknown, or a value is not allowed.
    """
    try:
        # absl prints a text of its own for some errors before raising.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except SystemExit:
        raise UserError(f"the command line cannot be read: {' '.join(argv[1:])}") from None
    except flags.Error as error:
        raise UserError(f"{format_error(error)}; --help shows the flags") from error


def refuse_words(rest: Sequence[str]) -> None:
    """Refuses arguments that are not flags.

    Args:
        rest: The program's name and the arguments that absl did not parse.

    Raises:
        UserError: There is such an argument.
    """
    if len(rest) > 1:
        raise UserError(f"argument {rest[1]!r} is not a flag; flags begin with --")


def parse_flags(
    values: flags.FlagValues, argv: Sequence[str], usage: str | None
) -> dict[str, Any] | None:
    """Parses the command line of a program without a config.

    Args:
        values: The program's flags.
        argv: Its name and its arguments.
        usage: Text that --help prints before the flags.

    Returns:
        The value of every flag, or None after printing the help on --help.

    Raises:
        UserError: A flag is unknown, or an argument is none.
    """
    if asks_for_help(argv):
        print_help(values, usage)
        return None
    check_flags(argv[1:], values)
    with convert_flag_errors(argv):
        rest = values(list(argv))
    refuse_words(rest)
    return {name: values[name].value for name in values}


def _take_help(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Splits off --help=KEY: returns its value, "" without it, and the other arguments."""
    found, others = "", []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in ("--help", "-help") and equals:
            if not value:
                raise UserError("--help= has no value; for example --help=config.student.train")
            found = value
        else:
            others.append(argument)
    return found, others


def _take_config(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Splits off --config: returns its value and the other arguments."""
    # ml_collections would load the file itself, and show errors in it with a traceback.
    found, others = [], []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        flag, equals, value = argument.partition("=")
        if flag not in ("--config", "-config"):
            others.append(argument)
            continue
        if not equals and waiting and not waiting[0].startswith("-"):
            value = waiting.pop(0)
        if not value:
            raise UserError("--config has no value; for example --config=configs/digits.py")
        found.append(value)
    if not found:
        raise UserError("--config is missing; for example --config=configs/digits.py")
    if len(found) > 1:
        raise UserError(f"--config is given {len(found)} times: {', '.join(found)}; give one")
    return found[0], others


def asks_for_help(argv: Sequence[str]) -> bool:
    """Tells whether a command line asks for help on the flags."""
    return bool({"-h", "--help", "-help"} & set(argv))


def _read_workdir(workdir: str) -> Path:
    """Reads --workdir, in which ~ is the home folder.

    Raises:
        UserError: It is an address, or there is no such home.
    """
    # A path would be made of it silently: gs://a/b becomes gs:/a/b.
    if "://" in workdir:
        raise UserError(
            f"--workdir={workdir} is an address, but must be a folder of this machine; banks alone "
            "may be elsewhere (--config.bank.root)"
        )
    path = os.path.expanduser(workdir)
    # Without this, a folder named ~ would be made in the current one.
    if path.startswith("~"):
        raise UserError(
            f"--workdir={workdir} begins with ~, but there is no such home folder; give the path "
            "itself, or ./~... for a folder of this name"
        )
    return Path(path)


def print_help(values: flags.FlagValues, usage: str | None) -> None:
    """Prints the help of a program.

    Args:
        values: Its flags.
        usage: Text before them.
    """
    own, _, _ = values.get_help("  ").partition("absl.flags:")
    _, _, own = own.strip().partition("\n")
    terminal.write(f"{(usage or '').strip()}\n\nflags:\n{own}")
