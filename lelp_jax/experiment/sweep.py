"""Sweeps: one launch that runs several experiments, over values of a key or whole sections."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from lelp_jax.core.constraints import DISTINCT, NonEmpty
from lelp_jax.core.errors import UserError, unknown_name
from lelp_jax.core.search_space import Value
from lelp_jax.core.sections import build, section

SECTION = "sweep"


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Several experiments in one launch, with a report for each and curves over all.

    Either `values` or `cases` is given.

    Attributes:
        key: What is swept: the dotted key that takes the values ("data.transfer_size"), or a name
            for what the cases are ("task").
        values: Values for the key.
        cases: By name, the sections that replace the config's own.
    """

    key: Annotated[str, NonEmpty('a dotted key such as "data.transfer_size"')]
    values: Annotated[tuple[Any, ...], DISTINCT] = ()
    cases: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.cases):
            raise UserError("give either values or cases, one of them or more")


@dataclasses.dataclass(frozen=True)
class Point:
    """One experiment of a launch.

    Attributes:
        key: What is swept, see `SweepConfig`; "" if nothing is.
        value: Its value here, or the name of the case.
        raw: The config.
    """

    key: str
    value: Value
    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name among the points ("transfer_size=50")."""
        return f"{self.key.rpartition('.')[2]}={self.value}" if self.key else ""

    def folder(self, root: Path) -> Path:
        """Returns the folder of its own report.

        Args:
            root: The workdir.
        """
        return root / SECTION / self.name if self.key else root


def list_points(raw: Mapping[str, Any]) -> list[Point]:
    """Lists the experiments of a config: one, or one per value or case of its section `sweep`.

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
        return _cases(base, sweep)
    return [Point(sweep.key, value, _with(base, sweep.key, value)) for value in sweep.values]


def _cases(base: Mapping[str, Any], sweep: SweepConfig) -> list[Point]:
    """Returns a point for each case."""
    place = f"config.{SECTION}.cases"
    found = []
    # A ConfigDict keeps no order.
    for name in sorted(sweep.cases):
        sections_of_case = section(sweep.cases[name], f"{place}.{name}")
        for own in sections_of_case:
            if own not in base:
                raise unknown_name(f"section of {place}.{name}", own, base)
        found.append(Point(sweep.key, name, {**copy.deepcopy(dict(base)), **sections_of_case}))
    return found


def _with(raw: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Returns a copy of a config with another value under a dotted key."""
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
