"""From the plain values of a config section to frozen dataclasses, with the place of a mistake."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from lelp_jax.core.errors import UserError, unknown_name

_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}
Section = TypeVar("Section")


def build(cls: type[Section], values: Any, place: str) -> Section:
    """Builds a frozen dataclass from a section, nested ones too.

    Args:
        cls: The dataclass; its fields are the section's keys.
        values: The section.
        place: Where it stands, for messages ("config.teacher").

    Raises:
        UserError: A key is unknown or missing, or a value is of the wrong kind or out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    kinds = typing.get_type_hints(cls)
    checked = {}
    for key, value in section(values, place).items():
        if key not in fields:
            raise unknown_name(f"key of {place}", key, fields)
        kind = kinds[key]
        if dataclasses.is_dataclass(kind):
            checked[key] = build(kind, value, f"{place}.{key}")  # type: ignore[arg-type]
        else:
            checked[key] = typed(value, kind, f"{place}.{key}")
    for key, field in fields.items():
        absent = field.default is field.default_factory is dataclasses.MISSING
        if key not in checked and absent:
            raise UserError(f"{place}.{key} is missing")
    return with_place(place, cls, **checked)


def typed(value: Any, kind: Any, place: str) -> Any:
    """Returns a value as the kind wanted; a whole number may stand for a real one.

    Args:
        value: What the config holds; a single value may stand for a tuple of one.
        kind: A type, `tuple[type, ...]` or a mapping.
        place: Where it stands, for messages.

    Raises:
        UserError: The value is of another kind.
    """
    origin = typing.get_origin(kind)
    if origin is tuple:
        value = (value,) if isinstance(value, (str, int, float)) else value
        if not isinstance(value, (tuple, list)):
            raise UserError(f"{place} must be a tuple, got {value!r}")
        inner = typing.get_args(kind)[0]
        return tuple(value if inner is Any else [typed(v, inner, place) for v in value])
    if origin is not None and issubclass(origin, Mapping):
        return types.MappingProxyType(
            {
                key: tuple(v) if isinstance(v, list) else v
                for key, v in section(value, place).items()
            }
        )
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{place} must be {_KINDS[kind]}, got {value!r}")
    return value


def section(value: Any, place: str) -> dict[str, Any]:
    """Returns the keys and values of a section."""
    if not isinstance(value, Mapping):
        raise UserError(f"{place} must be a section of keys and values, got {value!r}")
    return dict(value)


def with_place(place: str, function: Any, *arguments: Any, **named: Any) -> Any:
    """Calls a function; a UserError it raises is given the place in front.

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
