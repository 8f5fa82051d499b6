"""Draws the combinations of hyperparameters that a method tries."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from lelp_jax.core import seeds
from lelp_jax.core.search_space import Value
from lelp_jax.experiment.config import MethodConfig


@dataclasses.dataclass(frozen=True)
class Trial:
    """One combination of a method's hyperparameters.

    Attributes:
        method: The method's name.
        number: Number of the trial among those of the method, from 0.
        traced: Hyperparameters that compiled programs take as arguments; they may differ between
            the members of a fleet.
        static: Hyperparameters that change shapes or artifacts.
    """

    method: str
    number: int
    traced: Mapping[str, float]
    static: Mapping[str, Value]

    @property
    def hyperparameters(self) -> dict[str, Value]:
        """Traced and static hyperparameters in one dictionary."""
        return {**self.static, **self.traced}


def enumerate_trials(config: MethodConfig, seed: int) -> tuple[Trial, ...]:
    """Draws the trials of a method.

    The search space is the product of the values of all hyperparameters; points are drawn from it
    without replacement. They are spread: among the first trials, for any number of trials, each
    value of a hyperparameter occurs about equally often. With independent draws, a few trials could
    all have the same learning rate, and luck would decide between methods. Raising the number of
    trials keeps those drawn before and adds further points.

    Args:
        config: The method with the values to try.
        seed: Root seed.
    """
    names = list(config.values)
    shape = [len(config.values[name]) for name in names]
    counter = np.arange(math.prod(shape)).reshape(shape)
    # A corrected method and the plain one try the same points, so that they differ in nothing else.
    name = config.method.corrects or config.method.name
    drawn = seeds.hash_words(seeds.derive(seed, "trials", name), counter)
    trials = []
    for number, point in enumerate(_draw_spread_points(drawn, config.trials)):
        chosen = {name: config.values[name][i] for name, i in zip(names, point, strict=True)}
        traced = {n: v for n, v in chosen.items() if config.method.search_space[n].traced}
        static = {n: v for n, v in chosen.items() if n not in traced}
        trials.append(Trial(config.method.name, number, traced, static))  # type: ignore[arg-type]
    return tuple(trials)


def _draw_spread_points(drawn: np.ndarray, count: int) -> list[tuple[np.intp, ...]]:
    """Draws points of a grid, each with values that earlier points used least.

    Args:
        drawn: A random number per point, which breaks ties; one axis per hyperparameter.
        count: Number of points; at most all of them are drawn.
    """
    # For each point, how often its values were used, summed over axes. A use counts as many times
    # as its axis has values, so that every axis has the same total weight.
    uses = np.zeros(drawn.shape, np.int64)
    points = []
    for _ in range(min(count, drawn.size)):
        least = np.flatnonzero(uses == uses.min())
        point = np.unravel_index(least[np.argmin(drawn.flat[least])], drawn.shape)
        points.append(point)
        for axis, value in enumerate(point):
            uses[(slice(None),) * axis + (value,)] += drawn.shape[axis]
        # Without replacement; half of the largest integer leaves room for further uses.
        uses[point] = np.iinfo(np.int64).max // 2
    return points
