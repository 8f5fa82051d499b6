"""From the plain values of a config's section to frozen dataclasses, checked against their types.

A field's type says everything that is allowed: `Literal["mean", "cls"]`, `Annotated[float, SHARE]`
(see `core.constraints`), tuples, mappings and dataclasses of these. What two fields have to agree
on, their class checks in `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from lelp_jax.core.constraints import Constraint, OneOf, list_choices, suggest
from lelp_jax.core.errors import UserError, unknown_name

_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    Any: "any value",
}
_UNIONS = (typing.Union, types.UnionType)
Section = TypeVar("Section")


@dataclasses.dataclass(frozen=True)
class Field:
    """A key of a section.

    Attributes:
        kind: The type of its values, with constraints.
        default: What stands in for a key that is left out; `dataclasses.MISSING` where none does.
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
            "Chooses what the section stands for, and with it the other keys.",
        )

    def find(self, values: Mapping[str, Any], place: str) -> Any:
        """Finds the class that a section names.

        Raises:
            UserError: It names none, or one that does not exist.
        """
        name = check_value(values.get(self.key, ""), self.name.kind, f"{place}.{self.key}")
        return self.classes[name]


def read_fields(cls: Any, hidden: frozenset[str] = frozenset()) -> Mapping[str, Field]:
    """Reads the keys of a section from the dataclass that it becomes.

    Args:
        cls: The dataclass; a linen module is one.
        hidden: Its fields that are not keys.
    """
    return _read_fields(cls, hidden)


# Types are written as text, and evaluating them takes a tenth of a millisecond a field.
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


def build(cls: type[Section], values: Any, place: str) -> Section:
    """Builds a frozen dataclass from a section, nested ones too.

    Args:
        cls: The dataclass; its fields are the section's keys.
        values: The section.
        place: The section's name, for messages ("config.teacher").

    Raises:
        UserError: A key is unknown or missing, or a value is not allowed.
    """
    fields = read_fields(cls)
    checked = check_keys(section(values, place), fields, place)
    return with_place(place, cls, **checked)


def check_keys(
    values: Mapping[str, Any], fields: Mapping[str, Field], place: str
) -> dict[str, Any]:
    """Checks the keys of a section and their values; converts the values.

    Args:
        values: The section.
        fields: Its keys.
        place: The section's name, for messages.

    Raises:
        UserError: A key is unknown or missing, or a value is not allowed.
    """
    checked = {}
    for key, value in values.items():
        if key not in fields:
            raise unknown_name(f"key of {place}", key, fields)
        checked[key] = check_value(value, fields[key].kind, f"{place}.{key}")
    for key, field in fields.items():
        if key not in checked and field.default is dataclasses.MISSING:
            raise UserError(f"{place}.{key} is missing; it must be {describe(field.kind)}")
    return checked


def check_value(value: Any, kind: Any, place: str) -> Any:
    """Checks a value against a type and converts it: a whole number may stand for a real one.

    Args:
        value: What the config holds; a single value may stand for a tuple of one.
        kind: A type with its constraints.
        place: The value's key, for messages.

    Raises:
        UserError: The value is not allowed.
    """
    base, marks = split_marks(kind)
    for mark in marks:
        if isinstance(mark, Named):
            return _check_named(value, base, mark, place)
    given, value = value, _convert(value, base, kind, place)
    described = describe(base)
    for mark in marks:
        if not mark.allows(value):
            shown = given if isinstance(value, float) else value
            raise UserError(f"{place} {mark.refuse(shown, described)}")
        described = mark.describe(described)
    return value


def describe(kind: Any) -> str:
    """Describes in words which values a type allows: "a number in [0, 1)"."""
    base, marks = split_marks(kind)
    origin, options = typing.get_origin(base), typing.get_args(base)
    if marks and isinstance(marks[0], Named):
        return "a section"
    if origin is Literal:
        text = list_choices(options)
    elif origin in _UNIONS:
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


def section(value: Any, place: str) -> dict[str, Any]:
    """Returns the keys and values of a section.

    Raises:
        UserError: It is a single value.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{place} must be a section of keys and values, got {value!r}")
    return dict(value)


def with_place(place: str, function: Any, *arguments: Any, **named: Any) -> Any:
    """Calls a function and puts the place in front of what a UserError says.

    Args:
        place: The part of the config that the call concerns.
        function: What to call.
        *arguments: Its arguments.
        **named: Its arguments by name.
    """
    try:
        return function(*arguments, **named)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def split_marks(kind: Any) -> tuple[Any, list[Any]]:
    """Splits a type into the type itself and the marks on it: constraints, or a `Named`."""
    if typing.get_origin(kind) is not Annotated:
        return kind, []
    base, *marks = typing.get_args(kind)
    return base, [mark for mark in marks if isinstance(mark, (Constraint, Named))]


def _convert(value: Any, base: Any, kind: Any, place: str) -> Any:
    """Brings a value to a type without its constraints; `kind` has them, for the message."""
    origin = typing.get_origin(base)
    if base is Any:
        return value
    if dataclasses.is_dataclass(base):
        return build(base, value, place)  # type: ignore[arg-type]
    if origin is Literal:
        choices = typing.get_args(base)
        # True == 1, so types are compared, too.
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise UserError(
                f"{place} must be {describe(kind)}, got {value!r}{suggest(value, choices)}"
            )
        return value
    if origin in _UNIONS:
        for option in typing.get_args(base):
            try:
                return check_value(value, option, place)
            except UserError:
                continue
        raise UserError(f"{place} must be {describe(kind)}, got {value!r}")
    if origin is tuple:
        return _convert_tuple(value, base, kind, place)
    if _is_mapping(base):
        return _freeze(section(value, place))
    if base is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise UserError(f"{place} must be {describe(kind)}, but it is too large") from None
    if not isinstance(value, base) or (base is int and isinstance(value, bool)):
        raise UserError(f"{place} must be {describe(kind)}, got {value!r}")
    return value


def _convert_tuple(value: Any, base: Any, kind: Any, place: str) -> tuple[Any, ...]:
    options = typing.get_args(base)
    single = isinstance(value, (str, int, float))
    entries = (value,) if single else value
    if not isinstance(entries, (tuple, list)):
        raise UserError(f"{place} must be {describe(kind)}, got {value!r}")
    if options[-1] is Ellipsis:
        options = options[:1] * len(entries)
    if len(options) != len(entries):
        raise UserError(f"{place} must be {describe(kind)}, got {value!r}")
    places = [place if single else f"{place}[{number}]" for number in range(len(entries))]
    return tuple(map(check_value, entries, options, places))


def _is_mapping(base: Any) -> bool:
    origin = typing.get_origin(base)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _freeze(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a section that cannot be changed, with tuples in place of lists."""
    return types.MappingProxyType(
        {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    )


def _check_named(value: Any, base: Any, named: Named, place: str) -> Any:
    """Checks a section whose class one of its keys names."""
    values = section(value, place)
    cls = named.find(values, place)
    del values[named.key]
    common = read_fields(base, frozenset({named.key})) if dataclasses.is_dataclass(base) else {}
    own = read_fields(cls, named.hidden)
    checked = check_keys(values, {**common, **own}, place)
    if _is_mapping(base):
        # As it was written: artifacts are found by the values as they are in the config.
        return _freeze(value)
    found = with_place(place, cls, **{key: checked[key] for key in own if key in checked})
    if not common:
        return found
    others = {key: checked[key] for key in common if key in checked}
    return with_place(place, base, **{named.key: found}, **others)
