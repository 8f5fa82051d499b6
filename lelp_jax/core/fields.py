"""Reads what the types and docstrings of a config's dataclasses say about its keys."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from lelp_jax.core.constraints import Constraint, OneOf, list_choices

_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    Any: "any value",
}
UNIONS = (typing.Union, types.UnionType)


@dataclasses.dataclass(frozen=True)
class Field:
    """A key of a section.

    Attributes:
        kind: The type of its values, with constraints.
        default: The value of a key that is left out; `dataclasses.MISSING` if the key is required.
        meaning: What it is for, as the class's docstring says.
    """

    kind: Any
    default: Any
    meaning: str


@dataclasses.dataclass(frozen=True, init=False)
class Named:
    """Marks a section in which one key names the class that has the other keys.

    What a section becomes follows from the type that carries the mark: with a mapping it stays one,
    with a dataclass that has a field `key` the class named is put into that field beside the keys
    of the dataclass itself, and otherwise the section becomes an instance of the class named.

    Attributes:
        key: The key with the name.
        registries: The classes by name; they may still grow.
        hidden: Fields of the classes that are not keys.
    """

    key: str
    registries: tuple[Mapping[str, type], ...]
    hidden: frozenset[str]

    def __init__(
        self, key: str, *registries: Mapping[str, Any], hidden: frozenset[str] = frozenset()
    ):
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "registries", registries)
        object.__setattr__(self, "hidden", hidden)

    @property
    def classes(self) -> dict[str, Any]:
        """All classes by name."""
        return {name: cls for registry in self.registries for name, cls in registry.items()}

    @property
    def name(self) -> Field:
        """The key with the name."""
        return Field(
            Annotated[str, OneOf(self.classes)],
            dataclasses.MISSING,
            "Chooses the kind of the section, and with it the other keys.",
        )


def read_fields(cls: Any, hidden: frozenset[str] = frozenset()) -> Mapping[str, Field]:
    """Reads the keys of a section from the dataclass that it becomes.

    Args:
        cls: The dataclass; a linen module is one.
        hidden: Its fields that are not keys.
    """
    return _read_fields(cls, hidden)


# Cached, as the annotations are strings that have to be evaluated.
@functools.cache
def _read_fields(cls: Any, hidden: frozenset[str]) -> Mapping[str, Field]:
    kinds = typing.get_type_hints(cls, include_extras=True)
    meanings = read_meanings(cls)
    result = {}
    for field in dataclasses.fields(cls):
        if field.name not in hidden:
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            meaning = meanings.get(field.name, "")
            result[field.name] = Field(kinds[field.name], default, meaning)
    return result


def read_meanings(cls: type) -> dict[str, str]:
    """Reads what the docstrings of a class and its bases say of each attribute, on one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, listed = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")
        # An entry is indented by four blanks, the lines that go on with it by more.
        for entry in re.split(r"\n(?=    \S)", listed):
            match = re.match(r"    (\w+): (.*)", entry, re.DOTALL)
            # A line without indentation begins the next part of the docstring.
            if match:
                text = re.split(r"\n(?=\S)", match[2])[0]
                found[match[1]] = " ".join(text.split())
    return found


def describe(kind: Any) -> str:
    """Describes in words which values a type allows: "a number in [0, 1)"."""
    base, marks = split_marks(kind)
    origin, options = typing.get_origin(base), typing.get_args(base)
    if marks and isinstance(marks[0], Named):
        return "a section"
    if origin is Literal:
        text = list_choices(options)
    elif origin in UNIONS:
        # Where both are taken as they are, either is a number.
        text = "a number" if set(options) == {int, float} else " or ".join(map(describe, options))
    elif origin is tuple and len(options) == 1:
        text = describe(options[0])
    elif origin is tuple:
        text = "a tuple" if options[-1] is Ellipsis else f"{len(options)} values"
        text = text if options[0] is Any else f"{text}, each {describe(options[0])}"
    else:
        text = _KINDS.get(base, "a section")
    for mark in marks:
        text = mark.describe(text)
    return text


def split_marks(kind: Any) -> tuple[Any, list[Any]]:
    """Splits a type into the type itself and the marks on it: constraints, or a `Named`."""
    if typing.get_origin(kind) is not Annotated:
        return kind, []
    base, *marks = typing.get_args(kind)
    return base, [mark for mark in marks if isinstance(mark, (Constraint, Named))]
