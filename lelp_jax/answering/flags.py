"""The command line of `lelp_jax.answer`; read before PyTorch is imported."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Annotated

from absl import flags

from lelp_jax.cli import command_line
from lelp_jax.core import sections
from lelp_jax.core.constraints import AT_LEAST_ONE
from lelp_jax.core.errors import UserError
from lelp_jax.data import labels

_TEXTS = (
    ("model", None, "A folder, or a name on the Hugging Face hub."),
    (
        "data",
        None,
        "A file of texts, or several, separated by commas: the training rows first, then those of "
        "validation and test, where they have files of their own.",
    ),
    ("out", None, "Where the answers go: .npz, .zarr or a folder for .npy files."),
    ("text", "text", "Name of the column of texts."),
    ("label", "", "Name of the label column; by default 'label', if the files have one."),
    ("id", "", "Name of the column that names the rows."),
    (
        "label_names",
        "",
        "The data's name (or number) for each of the model's outputs, in the model's order, "
        "separated by commas; by default those of the model.",
    ),
    (
        "unlabelled",
        labels.AUTO,
        "Label of rows that have none, besides an empty one; by default -1, if it is rare.",
    ),
    ("device", "", "Where PyTorch computes; by default 'cuda', if there is one, or 'cpu'."),
)


@dataclasses.dataclass(frozen=True)
class AnswerArguments:
    """A parsed command line.

    Attributes:
        model: Folder or name of the model.
        data: Files of texts, in the order of their rows.
        out: Where the answers go.
        text: Name of the column of texts.
        label: Name of the label column; "" takes the usual one if the files have it.
        id: Name of the column of row ids; "" when there is none.
        label_names: The data's name for each output of the model; empty takes the model's.
        unlabelled: Label of rows that have none.
        fit_head: Whether to fit an output layer to a model without one.
        batch_size: Texts per forward pass.
        max_length: Most tokens of a text; 0 takes as many as the model can see, at most 512.
        device: PyTorch's name of the device; "" chooses one.
    """

    model: str
    data: tuple[str, ...]
    out: str
    text: str
    label: str
    id: str
    label_names: tuple[str, ...]
    unlabelled: str
    fit_head: bool
    batch_size: int
    max_length: int
    device: str


def parse(argv: Sequence[str], usage: str | None) -> AnswerArguments | None:
    """Reads a command line.

    Args:
        argv: The program's name and its arguments.
        usage: Text that --help prints before the flags.

    Returns:
        The arguments, or None after printing the help on --help.

    Raises:
        UserError: A flag is unknown or missing, or a value is not allowed.
    """
    values = flags.FlagValues()
    _define(values)
    given = command_line.parse_flags(values, argv, usage)
    if given is None:
        return None
    for name, example in (("model", "FOLDER"), ("data", "train.csv"), ("out", "teacher.npz")):
        if not (given[name] or "").strip():
            raise UserError(f"--{name} is missing; for example --{name}={example}")
    if not given["text"]:
        raise UserError("--text is empty; name the column of texts")
    for first, second in itertools.combinations(("text", "label", "id"), 2):
        if given[first] and given[first] == given[second]:
            raise UserError(f"--{first} and --{second} are both {given[first]!r}; name two columns")
    for name in ("batch_size", "max_length"):
        if given[name] is not None:
            sections.check_value(given[name], Annotated[int, AT_LEAST_ONE], f"--{name}")
    return AnswerArguments(
        model=given["model"],
        data=_split(given["data"], "data"),
        out=given["out"],
        text=given["text"],
        label=given["label"],
        id=given["id"],
        label_names=_split(given["label_names"], "label_names") if given["label_names"] else (),
        unlabelled=given["unlabelled"],
        fit_head=given["fit_head"],
        batch_size=given["batch_size"],
        max_length=given["max_length"] or 0,
        device=given["device"],
    )


def _split(value: str, flag: str) -> tuple[str, ...]:
    """Splits a list separated by commas.

    Raises:
        UserError: An entry is empty, or there twice.
    """
    entries = tuple(entry.strip() for entry in value.split(","))
    for entry in entries:
        if not entry:
            raise UserError(f"--{flag}={value} has an empty entry; leave out the spare comma")
        if entries.count(entry) > 1:
            raise UserError(f"--{flag}={value} names {entry!r} twice; leave one out")
    return entries


def _define(values: flags.FlagValues) -> None:
    for name, default, text in _TEXTS:
        flags.DEFINE_string(name, default, text, flag_values=values)
    flags.DEFINE_bool(
        "fit_head",
        False,
        "For a sentence-transformers model, which has no classifier: fit a logistic regression to "
        "the labels of the first file. Validation and test rows need files of their own.",
        flag_values=values,
    )
    flags.DEFINE_integer("batch_size", 32, "Texts per forward pass.", flag_values=values)
    flags.DEFINE_integer(
        "max_length",
        None,
        "Most tokens of a text; by default as many as the model can see, at most 512.",
        flag_values=values,
    )
    flags.DEFINE_bool("debug", False, "Show the traceback of errors.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
