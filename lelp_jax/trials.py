"""Which settings a method tries."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from lelp_jax import seeds
from lelp_jax.config import MethodConfig
from lelp_jax.settings import Value


@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting of a method.

    Attributes:
        method: The method's name.
        number: Its number among the method's trials, from 0.
        numeric: Traced settings.
        static: Settings that change shapes or artifacts.
    """

    method: str
    number: int
    numeric: Mapping[str, float]
    static: Mapping[str, Value]

    @property
    def settings(self) -> dict[str, Value]:
        """All settings in one dictionary."""
        return {**self.static, **self.numeric}


def enumerate_trials(config: MethodConfig, seed: int) -> tuple[Trial, ...]:
    """Returns the trials of a method.

    The space is the product of the values of all settings; points are drawn from it without
    replacement. Among the first trials, however many, each value of a setting comes about as often
    as its others: a few draws by chance alone may miss all learning rates but one. More trials
    only add points.

    Args:
        config: The method with the values to try.
        seed: Root seed.
    """
    names = list(config.values)
    shape = [len(config.values[name]) for name in names]
    drawn = seeds.hash_words(
        seeds.derive(seed, "trials", config.method.name), np.arange(math.prod(shape))
    )
    points = _spread(shape, drawn, config.trials)
    trials = []
    for number, point in enumerate(points):
        place = np.unravel_index(point, shape)
        chosen = {name: config.values[name][i] for name, i in zip(names, place, strict=True)}
        traced = {n: v for n, v in chosen.items() if config.method.settings[n].traced}
        static = {n: v for n, v in chosen.items() if n not in traced}
        trials.append(Trial(config.method.name, number, traced, static))  # type: ignore[arg-type]
    return tuple(trials)


def _spread(shape: Sequence[int], drawn: np.ndarray, count: int) -> list[int]:
    """Returns the points of a grid that are tried, each far from being like those before it.

    Args:
        shape: Number of values of each setting.
        drawn: A random number per point, which decides between equals.
        count: How many points at most.
    """
    places = np.unravel_index(np.arange(len(drawn)), shape)
    # How often the values of a point were tried; a value of many comes less often by itself.
    met = np.zeros(len(drawn), np.int64)
    points: list[int] = []
    for _ in range(min(count, len(drawn))):
        point = int(np.lexsort((drawn, met))[0])
        points.append(point)
        for values, length in zip(places, shape, strict=True):
            met[values == values[point]] += length
        met[point] = np.iinfo(np.int64).max // 2
    return points
