"""Knowledge distillation of class probabilities (Hinton, Vinyals and Dean, arXiv 1503.02531)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax import settings
from lelp_jax.methods.base import (
    Constants,
    LossInputs,
    LossOutput,
    Method,
    Numeric,
    cross_entropy,
    label_cross_entropy,
    mix,
)


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns `tau^2 CE(softmax(z / tau), softmax(g / tau))` mixed with the label's loss, [batch].

    The factor tau^2 keeps the size of the gradient when tau changes (section 2 of the paper). The
    cross-entropy differs from the KL divergence by a constant, so the gradients are the same.
    """
    del constants
    assert inputs.teacher_logits is not None
    temperature = numeric["temperature"]
    target = jax.nn.softmax(inputs.teacher_logits.astype(jnp.float32) / temperature)
    soft = temperature**2 * cross_entropy(target, inputs.logits / temperature)
    return mix(soft, label_cross_entropy(inputs.logits, inputs.label), numeric["alpha"])


METHOD = Method(
    name="kd",
    reference="Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015",
    settings={
        "learning_rate": settings.LEARNING_RATE,
        "weight_decay": settings.WEIGHT_DECAY,
        "temperature": settings.TEMPERATURE,
        "alpha": settings.ALPHA,
    },
    loss=loss,
)
