"""What a distillation method is: a record of pure functions and constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lelp_jax.projection.base import Projector
from lelp_jax.settings import Setting

Numeric = Mapping[str, Any]
Constants = Mapping[str, Any]


class LossInputs(NamedTuple):
    """What a loss sees of one batch of one student.

    Attributes:
        logits: Student's output layer, [batch, outputs].
        label: Class, [batch] int32; -1 where unknown.
        teacher_logits: [batch, classes], or None for methods without a teacher.
        scores: Pseudo-subclass scores, [batch, classes, subclasses], or None.
    """

    logits: jax.Array
    label: jax.Array
    teacher_logits: jax.Array | None = None
    scores: jax.Array | None = None


class LossOutput(NamedTuple):
    """An unreduced loss.

    Attributes:
        per_example: What is minimised, [batch].
        terms: Its named parts for the log, each [batch].
    """

    per_example: jax.Array
    terms: Mapping[str, jax.Array]


Loss = Callable[[LossInputs, Constants, Numeric], LossOutput]
Readout = Callable[[jax.Array, Constants, Numeric], jax.Array]


def identity_readout(logits: jax.Array, constants: Constants, numeric: Numeric) -> jax.Array:
    """Returns the logits: one output per class."""
    del constants, numeric
    return logits


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train a student.

    Attributes:
        name: The name in configs and results.
        reference: Where it was published.
        settings: Every setting with its default values to try.
        loss: Unreduced loss of a batch.
        uses_teacher: Whether it reads the bank.
        uses_labels: Whether rows without a label are of no use to it.
        projector: Splits classes into pseudo-subclasses, for the methods that do.
        readout: Turns the output layer's logits into class logits, [batch, classes]; used for
            prediction, metrics and export alike.
    """

    name: str
    reference: str
    settings: Mapping[str, Setting]
    loss: Loss
    uses_teacher: bool = True
    uses_labels: bool = False
    projector: Projector | None = None
    readout: Readout = identity_readout


def cross_entropy(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns `-sum(target * log_softmax(logits))` over the last axis, in float32.

    Args:
        target: Probabilities, [batch, outputs].
        logits: [batch, outputs].
    """
    return -jnp.sum(target * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)


def label_cross_entropy(class_logits: jax.Array, label: jax.Array) -> jax.Array:
    """Returns the cross-entropy with the label, [batch]; 0 where the label is -1.

    Args:
        class_logits: [batch, classes].
        label: [batch] int32.
    """
    log_probability = jax.nn.log_softmax(class_logits.astype(jnp.float32))
    # Not one_hot(-1) * log_probability: 0 * -inf is NaN on extreme logits.
    picked = jnp.take_along_axis(log_probability, jnp.maximum(label, 0)[:, None], axis=-1)[:, 0]
    return jnp.where(label >= 0, -picked, 0.0)


def mix(soft: jax.Array, hard: jax.Array, alpha: jax.Array) -> LossOutput:
    """Returns `(1 - alpha) * soft + alpha * hard` (LELP, eq. 1).

    Args:
        soft: Distillation loss, [batch].
        hard: Cross-entropy with the label, [batch].
        alpha: Weight of the label, in [0, 1].
    """
    return LossOutput((1 - alpha) * soft + alpha * hard, {"soft": soft, "hard": hard})
