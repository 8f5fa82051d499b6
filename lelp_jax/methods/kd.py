"""Knowledge distillation of class probabilities (Hinton, Vinyals and Dean, arXiv 1503.02531)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods.base import (
    COMMON,
    Constants,
    LossInputs,
    LossOutput,
    Method,
    Numeric,
    cross_entropy,
    log_targets,
    mix,
)


def soft_loss(inputs: LossInputs, numeric: Numeric) -> jax.Array:
    """Returns `tau^2 CE(softmax(z / tau), softmax(g / tau))`, [batch].

    The factor tau^2 keeps the size of the gradient when tau changes (section 2 of the paper). The
    cross-entropy differs from the KL divergence by a constant, so the gradients are the same.

    Args:
        inputs: The batch.
        numeric: `temperature` and `hard_mixing`.
    """
    assert inputs.teacher_logits is not None
    temperature = numeric["temperature"]
    teacher = jax.nn.log_softmax(inputs.teacher_logits.astype(jnp.float32) / temperature)
    target = jnp.exp(log_targets(teacher, inputs.label, numeric))
    return temperature**2 * cross_entropy(target, inputs.logits / temperature)


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns the loss of the teacher's probabilities mixed with the label's, [batch]."""
    del constants
    return mix(inputs, numeric, soft_loss(inputs, numeric), inputs.logits)


METHOD = Method(
    name="kd",
    reference="Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015",
    settings={
        **COMMON,
        "temperature": settings.TEMPERATURE,
    },
    loss=loss,
)
