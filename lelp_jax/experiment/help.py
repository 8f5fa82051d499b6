"""Help on the keys of a config, `--help=config.KEY`: what they mean and which values are allowed.

All of it is read from the types and docstrings of the config's dataclasses and the declarations of
hyperparameters, so it cannot differ from what is checked.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lelp_jax import methods
from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.core.fields import Field, Named, describe, read_fields, split_marks
from lelp_jax.core.sections import find_class
from lelp_jax.experiment.config import TRIALS, Config
from lelp_jax.experiment.sweep import SECTION as SWEEP
from lelp_jax.experiment.sweep import SweepConfig
from lelp_jax.methods.base import Method

_WIDTH = 100
_MISSING = dataclasses.MISSING
_ROOT = "config"
_METHODS = f"{_ROOT}.methods"


def explain(raw: Mapping[str, Any], key: str) -> str:
    """Describes a key of a config; of a section, all of its keys.

    Args:
        raw: The config, with overrides applied. The names in it choose the classes that describe
            sections: `config.student.model` has the keys of the network under `name`.
        key: The dotted key, beginning with "config".

    Raises:
        UserError: There is no such key.
    """
    first, *path = key.split(".")
    if first != _ROOT:
        raise UserError(f"--help={key} names no key of the config; write --help={_ROOT}.{key}")
    field, value, place = _find(raw, path)
    found = _read_section(field, value, place)
    if found is None:
        return _write_field(place, field, value)
    fields, summary = found
    lines = [_fill(f"{place}: {summary}", ""), ""]
    for name, entry in fields.items():
        lines.append(_write_field(f"{place}.{name}", entry, _take(value, name, entry)))
    return "\n".join(lines)


def holds_texts(raw: Mapping[str, Any], key: str) -> bool:
    """Tells whether a key takes a tuple of texts; False where a section cannot be described.

    Args:
        raw: The config; see `explain`.
        key: The dotted key, without "config".
    """
    try:
        field, _, _ = _find(raw, key.split("."))
    except UserError:
        # The config is checked later, with all overrides applied.
        return False
    base, _ = split_marks(field.kind)
    if typing.get_origin(base) is not tuple:
        return False
    entry, _ = split_marks(typing.get_args(base)[0])
    if typing.get_origin(entry) is Literal:
        return all(isinstance(choice, str) for choice in typing.get_args(entry))
    return entry is str


def _find(raw: Mapping[str, Any], path: Sequence[str]) -> tuple[Field, Any, str]:
    """Finds the field that describes a key, its value and its full name.

    Raises:
        UserError: There is no such key.
    """
    field, value, place = Field(Config, _MISSING, ""), raw, _ROOT
    for name in path:
        found = _read_section(field, value, place)
        if found is None:
            raise UserError(f"{place} is a value, not a section: it has no key {name!r}")
        fields, _ = found
        if name not in fields:
            raise make_unknown_name_error(f"key of {place}", name, fields)
        field, value, place = fields[name], _take(value, name, fields[name]), f"{place}.{name}"
    return field, value, place


def _read_section(field: Field, value: Any, place: str) -> tuple[Mapping[str, Field], str] | None:
    """Returns the keys of a section and what it is for; None for a single value."""
    base, marks = split_marks(field.kind)
    if place == _METHODS:
        known = {name: methods.find(name) for name in methods.list_names()}
        compared = {name: Field(each, _MISSING, each.reference) for name, each in known.items()}
        return compared, field.meaning
    if isinstance(base, Method):
        trials = Field(TRIALS, 1, "Combinations of values that are tried; 0 leaves the method out.")
        several: Any = tuple
        tried = {
            name: Field(several[entry.kind, ...], entry.default, entry.meaning)
            for name, entry in base.search_space.items()
        }
        return {"trials": trials, **tried}, base.reference
    for named in (mark for mark in marks if isinstance(mark, Named)):
        cls = find_class(named, value, place)
        common = read_fields(base) if dataclasses.is_dataclass(base) else {}
        own = read_fields(cls, named.hidden)
        return {**common, named.key: named.name, **own}, _summarize(cls)
    if not dataclasses.is_dataclass(base):
        return None
    fields = dict(read_fields(base))
    if base is Config:
        fields[SWEEP] = Field(SweepConfig, None, _summarize(SweepConfig))
    return fields, _summarize(base)


def _take(values: Any, name: str, field: Field) -> Any:
    """Returns a section's value, or the default; `MISSING` where there is neither."""
    return values.get(name, field.default) if isinstance(values, Mapping) else _MISSING


def _summarize(cls: Any) -> str:
    """Returns the docstring of a class up to its attributes, on one line."""
    return " ".join((inspect.getdoc(cls) or "").partition("\nAttributes:\n")[0].split())


def _write_field(place: str, field: Field, value: Any) -> str:
    """Writes a key as `--help` writes a flag."""
    found = _read_section(field, value, place)
    if found is not None:
        facts = [f"a section with {', '.join(found[0])}"]
    else:
        facts = [describe(field.kind)]
        if value is not _MISSING:
            facts.append(f"here {value!r}")
        facts.append("required" if field.default is _MISSING else f"default {field.default!r}")
    head = _fill(f"--{place}: {field.meaning}", "  ")
    tail = _fill(f"({'; '.join(facts)})", "    ")
    return f"{head}\n{tail}"


def _fill(text: str, indent: str) -> str:
    """Breaks a text into lines, those after the first one further to the right."""
    return textwrap.fill(
        text,
        width=_WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
