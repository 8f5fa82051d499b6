"""Hyperparameters of methods and projections: meaning, allowed values, defaults, which are traced.

They are declared here once each; a method lists those that it takes, with defaults of its own where
these differ. The README's table of hyperparameters and `--help=config.methods.NAME` show them.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from lelp_jax.core import sections
from lelp_jax.core.constraints import (
    AT_LEAST_ONE,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    WHOLE_SHARE,
    Only,
)
from lelp_jax.core.errors import UserError, make_unknown_name_error

Value = bool | int | float | str


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter of a method.

    Attributes:
        meaning: What it does, in one sentence for users.
        kind: The type of its values, with constraints.
        default: The values tried when a config says nothing else.
        traced: Whether compiled programs take it as an argument, so that members of one fleet may
            differ in it; the others change shapes or artifacts.
    """

    meaning: str
    kind: Any
    default: tuple[Value, ...]
    traced: bool = False

    def replace_default(self, *values: Value) -> Hyperparameter:
        """Makes the same hyperparameter with other defaults."""
        return dataclasses.replace(self, default=values)

    def fix_to(self, value: Value, why: str) -> Hyperparameter:
        """Makes the same hyperparameter with a single value.

        Args:
            value: The value.
            why: The reason, for messages ("as the split is hard").
        """
        annotated: Any = Annotated
        kind = annotated[self.kind, Only(value, why)]
        return dataclasses.replace(self, kind=kind, default=(value,))

    def check(self, value: Any, place: str) -> None:
        """Refuses a value that is not allowed.

        Args:
            value: A single value.
            place: Where it was given, for messages.

        Raises:
            UserError: It is of another type or out of range.
        """
        sections.check_value(value, self.kind, place)


def is_number(value: Any) -> bool:
    """Tells whether a value is a finite number; True and False are none."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def _declare_positive(meaning: str, *default: float) -> Hyperparameter:
    return Hyperparameter(meaning, Annotated[float, POSITIVE], default, traced=True)


def _declare_weight(meaning: str) -> Hyperparameter:
    return Hyperparameter(meaning, Annotated[float, NON_NEGATIVE], (1.0,), traced=True)


def _declare_share(meaning: str) -> Hyperparameter:
    return Hyperparameter(meaning, Annotated[float, SHARE], (0.0,), traced=True)


def _declare_count(meaning: str, default: int) -> Hyperparameter:
    return Hyperparameter(meaning, Annotated[int, AT_LEAST_ONE], (default,))


def _declare_switch(meaning: str) -> Hyperparameter:
    return Hyperparameter(meaning, bool, (True,))


# Of training.
LEARNING_RATE = _declare_positive("Peak learning rate.", 1e-3, 3e-3, 1e-2)
WEIGHT_DECAY = _declare_weight("Decoupled weight decay of matrices.").replace_default(1e-4)

# Of losses.
ALPHA = Hyperparameter(
    "Weight of the label's loss; that of the teacher's loss is 1 - alpha.",
    Annotated[float, WHOLE_SHARE],
    (0.0,),
    traced=True,
)
LABEL_SMOOTHING = _declare_share(
    "Share of the label's target that is spread evenly over all classes."
)
HARD_MIXING = _declare_share(
    "Share of the teacher's class probabilities that is given to the label."
)
WARMUP = _declare_share(
    "Share of training over which the weight of the teacher's loss rises from 0 to 1."
)
TEMPERATURE = _declare_positive(
    "Divides logits before the softmax: the higher, the softer the classes.",
    *(1.0, 2.0, 4.0, 8.0, 16.0),
)
BETA = _declare_positive(
    "Divides pseudo-subclass scores before the softmax: the higher, the softer the split.",
    *(0.25, 0.5, 1.0),
)
LOSS_WEIGHT = _declare_weight("Weight of the loss on the embedding.")
TARGET_WEIGHT = _declare_weight("Weight of the loss on the probability of the label's class.")
NONTARGET_WEIGHT = _declare_weight("Weight of the loss on the probabilities of the other classes.")
INTER_WEIGHT = _declare_weight("Weight of the correlation over the outputs of each row.")
INTRA_WEIGHT = _declare_weight("Weight of the correlation over the batch in each output.")
HINT_SHARE = _declare_share("Share of training, at its start, that learns the embedding alone.")
CONTRAST_TEMPERATURE = _declare_positive("Divides the similarities of embeddings.", 0.07)
NEGATIVES = Hyperparameter(
    "Rows that an embedding is contrasted with: those of other classes, or any.",
    Literal["other_class", "any"],
    ("other_class",),
)
# Of the loss that makes a teacher use all of its subclasses; the teacher depends on them, so they
# cannot differ within a fleet.
AUXILIARY_WEIGHT = Hyperparameter(
    "Weight of the loss that spreads the teacher's rows over its subclasses.",
    Annotated[float, NON_NEGATIVE],
    (1.0,),
)
AUXILIARY_TEMPERATURE = Hyperparameter(
    "Divides the similarities of rows in that loss.", Annotated[float, POSITIVE], (1.0,)
)

# Of ways to split classes.
NUM_SUBCLASSES = _declare_count("Pseudo-subclasses per class.", 10)
NUM_COMPONENTS = _declare_count("Principal coordinates that are clustered.", 20)
NUM_ROTATIONS = _declare_count("Random rotations; each splits every class in its own way.", 4)
SAMPLE_SIZE = _declare_count("Rows that are clustered; the others join the nearest cluster.", 2000)
NULL_SPACE = _declare_switch("Leave out the directions that the teacher's output layer sees.")
ROTATE = _declare_switch("Rotate the principal directions at random.")
CENTER = _declare_switch("Subtract the mean of each class.")
STANDARDIZE = _declare_switch("Divide by the standard deviation along each direction.")
ASSIGNMENT = Hyperparameter(
    "Whether a row belongs to the nearest centre alone, or to all by distance.",
    Literal["hard", "soft"],
    ("hard",),
)
MEMBERSHIP = Hyperparameter(
    "Class in which a row is fitted: its label, or what the teacher predicts.",
    Literal["label", "teacher"],
    ("label",),
)
FIT_ON = Hyperparameter(
    "Rows that are fitted: all training rows, or those that the student sees.",
    Literal["train", "transfer"],
    ("train",),
)
SOLVER = Hyperparameter(
    "How principal components are computed.",
    Literal["auto", "covariance", "randomized"],
    ("auto",),
)


def check(
    method: str, given: Mapping[str, Any], known: Mapping[str, Hyperparameter]
) -> dict[str, tuple[Value, ...]]:
    """Checks the values to try for every hyperparameter of a method, and fills in the defaults.

    Args:
        method: The method's name, for messages.
        given: Values from a config; a single one or a tuple of several.
        known: The method's hyperparameters.

    Raises:
        UserError: A hyperparameter is unknown, has no value, or a value is out of range.
    """
    place = f"config.methods.{method}"
    for name in given:
        if name not in known:
            raise make_unknown_name_error(f"hyperparameter {place}", name, [*known, "trials"])
    values = {}
    for name, hyperparameter in known.items():
        entry = given.get(name, hyperparameter.default)
        tried = tuple(entry) if isinstance(entry, (tuple, list)) else (entry,)
        if not tried:
            raise UserError(f"{place}.{name} is empty; give at least one value")
        for value in tried:
            hyperparameter.check(value, f"{place}.{name}")
        if len(set(tried)) < len(tried):
            raise UserError(f"{place}.{name} holds a value twice: {tried}")
        values[name] = tuple(float(v) if hyperparameter.traced else v for v in tried)
    return values
