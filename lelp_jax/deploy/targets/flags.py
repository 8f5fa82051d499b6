"""The command line of `lelp_jax.project`; read before JAX is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated

from absl import flags

from lelp_jax.cli import command_line
from lelp_jax.core import search_space, sections
from lelp_jax.core.constraints import SEED
from lelp_jax.core.errors import UserError
from lelp_jax.core.fields import describe
from lelp_jax.core.search_space import Hyperparameter, Value

# What this program makes of a hyperparameter besides.
_MORE = {"membership": "By default the label where every row has one."}
# Hyperparameters of all ways to split, by flag; each way takes some of them.
_SETTINGS: Mapping[str, Hyperparameter] = {
    "num_subclasses": search_space.NUM_SUBCLASSES,
    "num_components": search_space.NUM_COMPONENTS,
    "num_rotations": search_space.NUM_ROTATIONS,
    "null_space": search_space.NULL_SPACE,
    "rotate": search_space.ROTATE,
    "center": search_space.CENTER,
    "standardize": search_space.STANDARDIZE,
    "assignment": search_space.ASSIGNMENT,
    "sample_size": search_space.SAMPLE_SIZE,
    "membership": search_space.MEMBERSHIP,
    "solver": search_space.SOLVER,
}


@dataclasses.dataclass(frozen=True)
class ProjectArguments:
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


def parse(argv: Sequence[str], usage: str | None) -> ProjectArguments | None:
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
    given = command_line.parse_flags(values, argv, usage)
    if given is None:
        return None
    for name, example in (("input", "teacher.npz"), ("out", "targets.npz")):
        if not given[name]:
            raise UserError(f"--{name} is missing; for example --{name}={example}")
    softness = {"temperature": search_space.TEMPERATURE, "beta": search_space.BETA}
    for name, setting in {**softness, **_SETTINGS}.items():
        if given[name] is not None:
            setting.check(given[name], f"--{name}")
    if given["seed"] is not None:
        sections.check_value(given["seed"], Annotated[int, SEED], "--seed")
    chosen = {name: given[name] for name in _SETTINGS if given[name] is not None}
    arguments = ProjectArguments(
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
    for name, setting in _SETTINGS.items():
        default, text = setting.default[0], f"{setting.meaning} {_MORE.get(name, '')}".strip()
        if isinstance(default, bool):
            flags.DEFINE_bool(name, None, text, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, None, text, flag_values=values)
        else:
            flags.DEFINE_string(
                name, None, f"{text} ({describe(setting.kind)})", flag_values=values
            )
    flags.DEFINE_bool("debug", False, "Show the traceback of errors.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
