"""Expands a config with a sweep over a value or over whole sections into several experiments."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from lelp_jax.core.constraints import DISTINCT, NonEmpty
from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.core.search_space import Value
from lelp_jax.core.sections import build, read_section

SECTION = "sweep"


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Several experiments in one launch, with a report for each and curves over all.

    Either `values` or `cases` is given.

    Attributes:
        key: The dotted key that takes the values ("data.transfer_size"), or a name for the kind of
            cases ("task").
        values: Values for the key.
        cases: The sections that replace those of the config, by the name of the case.
    """

    key: Annotated[str, NonEmpty('a dotted key such as "data.transfer_size"')]
    values: Annotated[tuple[Any, ...], DISTINCT] = ()
    cases: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.cases):
            raise UserError("give either values or cases, with at least one entry")


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
    """Expands a config into its experiments: one, or one per value or case of its section `sweep`.

    Args:
        raw: The result of a config file's `get_config`, with overrides applied.

    Raises:
        UserError: The section `sweep` is not valid, or the config has no such key or section.
    """
    base = {key: value for key, value in raw.items() if key != SECTION}
    if SECTION not in raw:
        return [Point("", "", base)]
    sweep = build(SweepConfig, raw[SECTION], f"config.{SECTION}")
    if sweep.cases:
        return _expand_cases(base, sweep)
    return [
        Point(sweep.key, value, _replace_value(base, sweep.key, value)) for value in sweep.values
    ]


def _expand_cases(base: Mapping[str, Any], sweep: SweepConfig) -> list[Point]:
    """Makes a point for each case, whose sections replace those of the config.

    Raises:
        UserError: A case has a section that the config lacks.
    """
    path = f"config.{SECTION}.cases"
    points = []
    # Sorted, because a ConfigDict does not keep the order of its keys.
    for name in sorted(sweep.cases):
        replaced = read_section(sweep.cases[name], f"{path}.{name}")
        for title in replaced:
            if title not in base:
                raise make_unknown_name_error(f"section of {path}.{name}", title, base)
        points.append(Point(sweep.key, name, {**copy.deepcopy(dict(base)), **replaced}))
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
            raise make_unknown_name_error(f"key of {path} in config.{SECTION}.key", name, inner)
        inner, path = inner[name], f"{path}.{name}"
    if last not in inner:
        raise make_unknown_name_error(f"key of {path} in config.{SECTION}.key", last, inner)
    inner[last] = value
    return changed
