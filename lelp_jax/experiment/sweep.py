"""Expands a config with a sweep over a value or over whole sections into several experiments."""

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
        key: The dotted key of the config that is swept, or the name for the kind of cases; "" if
            nothing is swept.
        value: The value of the key in this experiment, or the name of the case.
        raw: The config of this experiment.
    """

    key: str
    value: Value
    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the point in reports and folders ("transfer_size=50"); "" without a sweep."""
        return f"{self.key.rpartition('.')[2]}={self.value}" if self.key else ""

    def folder(self, root: Path) -> Path:
        """Returns the folder that the experiment's report is written to.

        Args:
            root: The workdir.
        """
        return root / SECTION / self.name if self.key else root


def expand(raw: Mapping[str, Any]) -> list[Point]:
    """Expands a config into its experiments: one, or one for each value or case of its sweep.

    Args:
        raw: The result of a config file's `get_config`, with overrides applied. Its optional
            section `sweep` holds `key`, a dotted key such as "data.transfer_size", and `values`, a
            tuple of values for it; or `key`, a name for the kind of cases ("task"), and `cases`, a
            section for each case with the sections that replace those of the config.

    Raises:
        UserError: The section `sweep` is malformed, or the config lacks a key or section that it
            names.
    """
    base = {key: value for key, value in raw.items() if key != SECTION}
    if SECTION not in raw:
        return [Point("", "", base)]
    sweep = section(raw[SECTION], f"config.{SECTION}")
    for key in sweep:
        if key not in _KEYS:
            raise unknown_name(f"key of config.{SECTION}", key, _KEYS)
    key = typed(sweep.get("key", ""), str, f"config.{SECTION}.key")
    if "cases" in sweep:
        return _expand_cases(base, key, sweep)
    values = typed(sweep.get("values", ()), tuple[Any, ...], f"config.{SECTION}.values")
    if not values or len(set(map(repr, values))) < len(values):
        raise UserError(
            f"config.{SECTION}.values must be a tuple of different values, got {values}"
        )
    return [Point(key, value, _replace_value(base, key, value)) for value in values]


def _expand_cases(base: Mapping[str, Any], key: str, sweep: Mapping[str, Any]) -> list[Point]:
    """Makes a point for each case, in which the sections of the case replace those of the config.

    Raises:
        UserError: There is no case or no key, or a case has a section that the config lacks.
    """
    path = f"config.{SECTION}.cases"
    cases = section(sweep["cases"], path)
    if not key or not cases or "values" in sweep:
        raise UserError(
            f"{path} must hold at least one case; set config.{SECTION}.key to a name for the kind "
            f"of cases, and leave out config.{SECTION}.values"
        )
    points = []
    # Sorted, because a ConfigDict does not keep the order of its keys.
    for name in sorted(cases):
        replaced = section(cases[name], f"{path}.{name}")
        for title in replaced:
            if title not in base:
                raise unknown_name(f"section of {path}.{name}", title, base)
        points.append(Point(key, name, {**copy.deepcopy(dict(base)), **replaced}))
    return points


def _replace_value(raw: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Copies a config with the value under a dotted key replaced.

    Raises:
        UserError: The config has no such key.
    """
    # A deep copy: the points must not share sections that one of them changes.
    changed = copy.deepcopy(dict(raw))
    *parents, last = key.split(".")
    path, inner = "config", changed
    for name in parents:
        if name not in inner or not isinstance(inner[name], dict):
            raise unknown_name(f"key of {path} in config.{SECTION}.key", name, inner)
        inner, path = inner[name], f"{path}.{name}"
    if last not in inner:
        raise unknown_name(f"key of {path} in config.{SECTION}.key", last, inner)
    inner[last] = value
    return changed
