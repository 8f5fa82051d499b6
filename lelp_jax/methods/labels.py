"""Training on labels alone: what a student reaches without a teacher."""

from __future__ import annotations

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods.base import (
    Constants,
    LossInputs,
    LossOutput,
    Method,
    Numeric,
    label_cross_entropy,
)


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns the cross-entropy with the smoothed label, [batch]."""
    del constants
    hard = label_cross_entropy(inputs.logits, inputs.label, numeric["label_smoothing"])
    return LossOutput(hard, {"hard": hard})


METHOD = Method(
    name="labels",
    reference="cross-entropy with the labels",
    settings={
        "learning_rate": settings.LEARNING_RATE,
        "weight_decay": settings.WEIGHT_DECAY.trying(0.0, 1e-4, 1e-2),
        "label_smoothing": settings.LABEL_SMOOTHING,
    },
    loss=loss,
    uses_teacher=False,
    uses_labels=True,
)
