"""Which hyperparameters a method tries."""

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
        number: Its number among the method's trials, from 0.
        traced: Those that compiled programs take as arguments.
        static: Those that change shapes or artifacts.
    """

    method: str
    number: int
    traced: Mapping[str, float]
    static: Mapping[str, Value]

    @property
    def hyperparameters(self) -> dict[str, Value]:
        """All of them in one dictionary."""
        return {**self.static, **self.traced}


def enumerate_trials(config: MethodConfig, seed: int) -> tuple[Trial, ...]:
    """Returns the trials of a method.

    The space is the product of the values of all hyperparameters; points are drawn from it without
    replacement. Among the first trials, however many, each value of a hyperparameter comes about as
    often as its others: a few draws by chance alone may miss all learning rates but one. More
    trials only add points.

    Args:
        config: The method with the values to try.
        seed: Root seed.
    """
    names = list(config.values)
    shape = [len(config.values[name]) for name in names]
    counter = np.arange(math.prod(shape)).reshape(shape)
    drawn = seeds.hash_words(seeds.derive(seed, "trials", config.method.name), counter)
    trials = []
    for number, point in enumerate(_spread(drawn, config.trials)):
        chosen = {name: config.values[name][i] for name, i in zip(names, point, strict=True)}
        traced = {n: v for n, v in chosen.items() if config.method.search_space[n].traced}
        static = {n: v for n, v in chosen.items() if n not in traced}
        trials.append(Trial(config.method.name, number, traced, static))  # type: ignore[arg-type]
    return tuple(trials)


def _spread(drawn: np.ndarray, count: int) -> list[tuple[np.intp, ...]]:
    """Returns the points of a grid that are tried, each unlike those before it.

    Args:
        drawn: A random number per point, which decides between equals; an axis per setting.
        count: How many points at most.
    """
    # How often the values of a point were tried; a value of many comes less often by itself.
    met = np.zeros(drawn.shape, np.int64)
    points = []
    for _ in range(min(count, drawn.size)):
        least = np.flatnonzero(met == met.min())
        point = np.unravel_index(least[np.argmin(drawn.flat[least])], drawn.shape)
        points.append(point)
        for axis, value in enumerate(point):
            met[(slice(None),) * axis + (value,)] += drawn.shape[axis]
        met[point] = np.iinfo(np.int64).max // 2
    return points
