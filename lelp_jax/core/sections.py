"""Builds frozen dataclasses from sections of a config and checks every value against its type.

A field's type says everything that is allowed: `Literal["mean", "cls"]`, `Annotated[float, SHARE]`
(see `core.constraints`), tuples, mappings and dataclasses of these. What two fields have to agree
on, their class checks in `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from lelp_jax.core.constraints import suggest
from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.core.fields import UNIONS, Field, Named, describe, read_fields, split_marks

Section = TypeVar("Section")


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
    checked = check_keys(read_section(values, place), fields, place)
    return call_with_place(place, cls, **checked)


def find_class(named: Named, values: Mapping[str, Any], place: str) -> Any:
    """Finds the class that a section names.

    Args:
        named: The mark of the section.
        values: The section.
        place: The section's name, for messages.

    Raises:
        UserError: It names none, or one that does not exist.
    """
    name = check_value(values.get(named.key, ""), named.name.kind, f"{place}.{named.key}")
    return named.classes[name]


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
            raise make_unknown_name_error(f"key of {place}", key, fields)
        checked[key] = check_value(value, fields[key].kind, f"{place}.{key}")
    for key, field in fields.items():
        if key not in checked and field.default is dataclasses.MISSING:
            raise UserError(f"{place}.{key} is missing; it must be {describe(field.kind)}")
    return checked


def check_value(value: Any, kind: Any, place: str) -> Any:
    """Checks a value against a type and converts it: an integer is accepted for a float.

    Args:
        value: What the config holds; a single value is accepted for a tuple of one.
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


def read_section(value: Any, place: str) -> dict[str, Any]:
    """Returns the keys and values of a section.

    Raises:
        UserError: It is a single value.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{place} must be a section of keys and values, got {value!r}")
    return dict(value)


def call_with_place(place: str, function: Any, *arguments: Any, **named: Any) -> Any:
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
    if origin in UNIONS:
        # The first type that takes the value: their order is the order of preference.
        for option in typing.get_args(base):
            try:
                return check_value(value, option, place)
            except UserError:
                continue
        raise UserError(f"{place} must be {describe(kind)}, got {value!r}")
    if origin is tuple:
        return _convert_tuple(value, base, kind, place)
    if _is_mapping(base):
        return _freeze(read_section(value, place))
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
    values = read_section(value, place)
    cls = find_class(named, values, place)
    del values[named.key]
    common = read_fields(base, frozenset({named.key})) if dataclasses.is_dataclass(base) else {}
    own = read_fields(cls, named.hidden)
    checked = check_keys(values, {**common, **own}, place)
    if _is_mapping(base):
        # As it was written: artifacts are found by the values as they are in the config.
        return _freeze(value)
    found = call_with_place(place, cls, **{key: checked[key] for key in own if key in checked})
    if not common:
        return found
    others = {key: checked[key] for key in common if key in checked}
    return call_with_place(place, base, **{named.key: found}, **others)
