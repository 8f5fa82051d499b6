"""Training on labels alone: what a student reaches without a teacher."""

from __future__ import annotations

from lelp_jax.core import search_space
from lelp_jax.methods.base import (
    Constants,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    label_cross_entropy,
)


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes the cross-entropy with the smoothed label, [batch]."""
    del constants
    hard = label_cross_entropy(inputs.logits, inputs.label, hyperparameters["label_smoothing"])
    return LossOutput(hard, {"hard": hard})


METHOD = Method(
    name="labels",
    reference="cross-entropy with the labels",
    search_space={
        "learning_rate": search_space.LEARNING_RATE,
        "weight_decay": search_space.WEIGHT_DECAY.replace_default(0.0, 1e-4, 1e-2),
        "label_smoothing": search_space.LABEL_SMOOTHING,
    },
    loss=loss,
    uses_teacher=False,
    uses_labels=True,
)
