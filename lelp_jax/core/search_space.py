"""The settings of methods and projections: defaults, ranges, and which ones are traced."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lelp_jax.core.errors import UserError, unknown_name

Value = bool | int | float | str


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """One setting of a method.

    Attributes:
        default: The values tried when a config says nothing else.
        must: What a value must be, for messages ("a number above 0").
        allows: Whether a value is within the range.
        traced: Whether compiled programs take it as an argument, so that members of one fleet may
            differ in it; the other settings change shapes or artifacts.
    """

    default: tuple[Value, ...]
    must: str
    allows: Callable[[Any], bool]
    traced: bool = False

    def trying(self, *values: Value) -> Hyperparameter:
        """Returns the same setting with other defaults."""
        return dataclasses.replace(self, default=values)


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite number; True and False are none."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def is_positive(value: Any) -> bool:
    """Returns whether a value is a finite number above 0."""
    return is_number(value) and value > 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _switch(default: bool) -> Hyperparameter:
    return Hyperparameter((default,), "True or False", lambda value: isinstance(value, bool))


def _is_weight(value: Any) -> bool:
    return is_number(value) and value >= 0


def _share(default: float) -> Hyperparameter:
    return Hyperparameter(
        (default,), "in [0, 1)", lambda v: is_number(v) and 0 <= v < 1, traced=True
    )


def fixed(value: Value, why: str) -> Hyperparameter:
    """Returns a setting that has one value only.

    Args:
        value: The value.
        why: The reason, for messages.
    """
    return Hyperparameter(
        (value,), f"{value!r}, {why}", lambda given: type(given) is type(value) and given == value
    )


def _choice(*names: str) -> Hyperparameter:
    return Hyperparameter(names[:1], " or ".join(map(repr, names)), lambda value: value in names)


LEARNING_RATE = Hyperparameter((1e-3, 3e-3, 1e-2), "a number above 0", is_positive, traced=True)
WEIGHT_DECAY = Hyperparameter((1e-4,), "a number of 0 or more", _is_weight, traced=True)
TEMPERATURE = Hyperparameter(
    (1.0, 2.0, 4.0, 8.0, 16.0), "a number above 0", is_positive, traced=True
)
BETA = Hyperparameter((0.25, 0.5, 1.0), "a number above 0", is_positive, traced=True)
ALPHA = Hyperparameter((0.0,), "in [0, 1]", lambda v: is_number(v) and 0 <= v <= 1, traced=True)
LABEL_SMOOTHING = _share(0.0)
HARD_MIXING = _share(0.0)
WARMUP = _share(0.0)
HINT_SHARE = _share(0.0)
AUXILIARY_WEIGHT = Hyperparameter((1.0,), "a number of 0 or more", _is_weight)
AUXILIARY_TEMPERATURE = Hyperparameter((1.0,), "a number above 0", is_positive)
LOSS_WEIGHT = Hyperparameter((1.0,), "a number of 0 or more", _is_weight, traced=True)
NUM_SUBCLASSES = Hyperparameter((10,), "a whole number above 0", _count)
NUM_COMPONENTS = Hyperparameter((20,), "a whole number above 0", _count)
NUM_ROTATIONS = Hyperparameter((4,), "a whole number above 0", _count)
NULL_SPACE = _switch(True)
ROTATE = _switch(True)
CENTER = _switch(True)
STANDARDIZE = _switch(True)
MEMBERSHIP = _choice("label", "teacher")
FIT_ON = _choice("train", "transfer")
ASSIGNMENT = _choice("hard", "soft")
SAMPLE_SIZE = Hyperparameter((2000,), "a whole number above 0", _count)
NEGATIVES = _choice("other_class", "any")
SOLVER = _choice("auto", "covariance", "randomized")


def check(
    method: str, given: Mapping[str, Any], known: Mapping[str, Hyperparameter]
) -> dict[str, tuple[Value, ...]]:
    """Returns the values to try for every setting of a method.

    Args:
        method: The method's name, for messages.
        given: Values from a config; a single one or a tuple of several.
        known: The method's settings.

    Raises:
        UserError: A setting is unknown, has no value, or a value is out of range.
    """
    place = f"config.methods.{method}"
    for name in given:
        if name not in known:
            raise unknown_name(f"setting {place}", name, [*known, "trials"])
    values = {}
    for name, setting in known.items():
        entry = given.get(name, setting.default)
        tried = tuple(entry) if isinstance(entry, (tuple, list)) else (entry,)
        if not tried:
            raise UserError(f"{place}.{name} is empty; give at least one value")
        for value in tried:
            if not setting.allows(value):
                raise UserError(f"{place}.{name} must be {setting.must}, got {value!r}")
        if len(set(tried)) < len(tried):
            raise UserError(f"{place}.{name} holds a value twice: {tried}")
        values[name] = tuple(float(v) if setting.traced else v for v in tried)
    return values
