"""One launch, several experiments: a config in which a value or whole sections are swept."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lelp_jax.core.errors import UserError, unknown_name
from lelp_jax.core.search_space import Value
from lelp_jax.core.sections import section, typed

SECTION = "sweep"
_KEYS = ("key", "values", "cases")


@dataclasses.dataclass(frozen=True)
class Point:
    """One experiment of a launch.

    Attributes:
        key: What is swept: a dotted key of the config, or what its cases are called; "" where
            nothing is.
        value: Its value here, or the name of the case.
        raw: The config.
    """

    key: str
    value: Value
    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What tells it from the other points ("transfer_size=50")."""
        return f"{self.key.rpartition('.')[2]}={self.value}" if self.key else ""

    def folder(self, root: Path) -> Path:
        """Returns where its own report lies.

        Args:
            root: The workdir.
        """
        return root / SECTION / self.name if self.key else root


def points(raw: Mapping[str, Any]) -> list[Point]:
    """Returns the experiments that a config asks for: one, or as many as values are swept.

    Args:
        raw: What a config file's `get_config` returned, with overrides applied. Its section
            `sweep`, if it has one, holds `key`, a dotted key such as "data.transfer_size", and
            `values`, a tuple of values for it; or `key`, what the cases are called ("task"), and
            `cases`, by name the sections that take the place of the config's own.

    Raises:
        UserError: The section is not understood, or the config has no such key or section.
    """
    base = {key: value for key, value in raw.items() if key != SECTION}
    if SECTION not in raw:
        return [Point("", "", base)]
    wanted = section(raw[SECTION], f"config.{SECTION}")
    for key in wanted:
        if key not in _KEYS:
            raise unknown_name(f"key of config.{SECTION}", key, _KEYS)
    key = typed(wanted.get("key", ""), str, f"config.{SECTION}.key")
    if "cases" in wanted:
        return _cases(base, key, wanted)
    values = typed(wanted.get("values", ()), tuple[Any, ...], f"config.{SECTION}.values")
    if not values or len(set(map(repr, values))) < len(values):
        raise UserError(
            f"config.{SECTION}.values must be a tuple of different values, got {values}"
        )
    return [Point(key, value, _with(base, key, value)) for value in values]


def _cases(base: Mapping[str, Any], key: str, wanted: Mapping[str, Any]) -> list[Point]:
    """Returns a point for each case."""
    place = f"config.{SECTION}.cases"
    cases = section(wanted["cases"], place)
    if not key or not cases or "values" in wanted:
        raise UserError(f"{place} must hold a case or more, with a key for them and no values")
    found = []
    # A ConfigDict keeps no order.
    for name in sorted(cases):
        sections_of_case = section(cases[name], f"{place}.{name}")
        for own in sections_of_case:
            if own not in base:
                raise unknown_name(f"section of {place}.{name}", own, base)
        found.append(Point(key, name, {**copy.deepcopy(dict(base)), **sections_of_case}))
    return found


def _with(raw: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Returns a copy of a config in which the value under a dotted key is another one."""
    changed = copy.deepcopy(dict(raw))
    *path, last = key.split(".")
    place, inner = "config", changed
    for name in path:
        if name not in inner or not isinstance(inner[name], dict):
            raise unknown_name(f"key of {place} in config.{SECTION}.key", name, inner)
        inner, place = inner[name], f"{place}.{name}"
    if last not in inner:
        raise unknown_name(f"key of {place} in config.{SECTION}.key", last, inner)
    inner[last] = value
    return changed
