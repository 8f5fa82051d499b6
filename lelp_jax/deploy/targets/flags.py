"""The command line of `lelp_jax.project`; read before JAX is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from lelp_jax.cli import command_line
from lelp_jax.core import search_space
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Hyperparameter, Value

_LARGEST_SEED = 2**31 - 1
# Hyperparameters of all ways to split, by flag; each way takes some of them.
_SETTINGS: Mapping[str, tuple[Hyperparameter, str]] = {
    "num_subclasses": (search_space.NUM_SUBCLASSES, "Pseudo-subclasses per class."),
    "num_components": (search_space.NUM_COMPONENTS, "Principal coordinates that are clustered."),
    "num_rotations": (search_space.NUM_ROTATIONS, "Splits of every class by lelp_ensemble."),
    "null_space": (search_space.NULL_SPACE, "Leave out what the output layer sees."),
    "rotate": (search_space.ROTATE, "Rotate the directions at random."),
    "center": (search_space.CENTER, "Measure from each class's mean."),
    "standardize": (search_space.STANDARDIZE, "Divide by the deviation along the directions."),
    "assignment": (search_space.ASSIGNMENT, "To the nearest centre alone, or to all by distance."),
    "sample_size": (search_space.SAMPLE_SIZE, "Rows that are clustered."),
    "membership": (
        search_space.MEMBERSHIP,
        "Class in which a row is fitted: its label, or the teacher's opinion; by default the "
        "label where every row has one.",
    ),
    "solver": (search_space.SOLVER, "How principal components are found."),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the command line says; None where it says nothing.

    Attributes:
        input: Where the teacher's arrays are.
        out: Where the targets go.
        apply: A fitted projection to apply.
        save_projection: Where the fitted projection goes.
        method: How to split.
        seed: Seed of random choices.
        temperature: Softens the classes.
        beta: Softens the split.
        hyperparameters: Those of the way to split that were given.
    """

    input: str
    out: str
    apply: str | None
    save_projection: str | None
    method: str | None
    seed: int | None
    temperature: float | None
    beta: float | None
    hyperparameters: Mapping[str, Value]


def parse(argv: Sequence[str], usage: str | None) -> Arguments | None:
    """Reads a command line.

    Args:
        argv: The program's name and its arguments.
        usage: Printed before the flags by --help.

    Returns:
        What it says, or None when it asked for help, which was printed.

    Raises:
        UserError: A flag is unknown or missing, or a value cannot be used.
    """
    values = flags.FlagValues()
    _define(values)
    if command_line.asks_for_help(argv):
        command_line.print_help(values, usage)
        return None
    with command_line.mistakes_in_one_line(argv):
        rest = values(list(argv))
    command_line.refuse_words(rest)
    given: dict[str, Any] = {name: values[name].value for name in values}
    for name, example in (("input", "teacher.npz"), ("out", "targets.npz")):
        if not given[name]:
            raise UserError(f"--{name} is missing; for example --{name}={example}")
    for name, setting in (("temperature", search_space.TEMPERATURE), ("beta", search_space.BETA)):
        _check(name, given[name], setting)
    for name, (setting, _) in _SETTINGS.items():
        _check(name, given[name], setting)
    if given["seed"] is not None and not 0 <= given["seed"] <= _LARGEST_SEED:
        raise UserError(f"--seed must be in 0..{_LARGEST_SEED}, got {given['seed']}")
    chosen = {name: given[name] for name in _SETTINGS if given[name] is not None}
    arguments = Arguments(
        input=given["input"],
        out=given["out"],
        apply=given["apply"],
        save_projection=given["save_projection"],
        method=given["method"],
        seed=given["seed"],
        temperature=given["temperature"],
        beta=given["beta"],
        hyperparameters=chosen,
    )
    if arguments.apply is not None:
        fixed = {"method": arguments.method, "seed": arguments.seed, **chosen}
        fixed["save_projection"] = arguments.save_projection
        for name, value in fixed.items():
            if value is not None:
                raise UserError(f"--{name} belongs to fitting; leave it out with --apply")
    return arguments


def _define(values: flags.FlagValues) -> None:
    for name, text in (
        ("input", "The teacher's arrays."),
        ("out", "Where the targets go."),
        ("apply", "A fitted projection: applied to the input, nothing is fitted."),
        ("save_projection", "An .npz file for the fitted projection."),
        ("method", "How to split classes; by default lelp."),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_integer("seed", None, "Seed of random choices; by default 0.", flag_values=values)
    flags.DEFINE_float(
        "temperature", None, "Softens the classes; by default 4.", flag_values=values
    )
    flags.DEFINE_float(
        "beta", None, "Softens the split; by default 0.5, or 1 for hard ones.", flag_values=values
    )
    for name, (setting, text) in _SETTINGS.items():
        default = setting.default[0]
        if isinstance(default, bool):
            flags.DEFINE_bool(name, None, text, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, None, text, flag_values=values)
        else:
            flags.DEFINE_string(name, None, f"{text} ({setting.must})", flag_values=values)
    flags.DEFINE_bool("debug", False, "Show the traceback of errors.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)


def _check(name: str, value: Value | None, setting: Hyperparameter) -> None:
    if value is not None and not setting.allows(value):
        raise UserError(f"--{name} must be {setting.must}, got {value!r}")
