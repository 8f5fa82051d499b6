"""Which settings a method tries."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

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

    The space is the product of the values of all settings. A space of at most `config.trials`
    points is tried whole; of a larger one that many points are drawn without replacement, and more
    trials only add points.

    Args:
        config: The method with the values to try.
        seed: Root seed.
    """
    names = list(config.values)
    shape = [len(config.values[name]) for name in names]
    size = math.prod(shape)
    if size <= config.trials:
        points = np.arange(size)
    else:
        words = seeds.hash_words(seeds.derive(seed, "trials", config.method.name), np.arange(size))
        points = np.argsort(words, kind="stable")[: config.trials]
    trials = []
    for number, point in enumerate(points):
        place = np.unravel_index(point, shape)
        chosen = {name: config.values[name][i] for name, i in zip(names, place, strict=True)}
        traced = {n: v for n, v in chosen.items() if config.method.settings[n].traced}
        static = {n: v for n, v in chosen.items() if n not in traced}
        trials.append(Trial(config.method.name, number, traced, static))  # type: ignore[arg-type]
    return tuple(trials)
