"""Knowledge distillation of class probabilities (Hinton, Vinyals and Dean, arXiv 1503.02531)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax.core import search_space
from lelp_jax.methods import slam
from lelp_jax.methods.base import (
    COMMON,
    Constants,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    combine_with_label_loss,
    mix_in_label,
)


def soft_loss(inputs: LossInputs, hyperparameters: Hyperparameters) -> jax.Array:
    """Computes `tau^2 CE(softmax(z / tau), softmax(g / tau))`, [batch].

    The factor tau^2 keeps the size of the gradient when tau changes (section 2 of the paper). The
    cross-entropy differs from the KL divergence by a constant, so the gradients are the same.

    Args:
        inputs: The batch.
        hyperparameters: `temperature` and `hard_mixing`.
    """
    assert inputs.teacher_logits is not None
    temperature = hyperparameters["temperature"]
    teacher = jax.nn.log_softmax(inputs.teacher_logits.astype(jnp.float32) / temperature)
    target = jnp.exp(mix_in_label(teacher, inputs.label, hyperparameters))
    log_probability = jax.nn.log_softmax(inputs.logits.astype(jnp.float32) / temperature)
    mixed = slam.mix(log_probability, inputs.mixing)
    return -(temperature**2) * jnp.sum(target * mixed, axis=-1)


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes the loss of the teacher's probabilities mixed with the label's, [batch]."""
    del constants
    return combine_with_label_loss(
        inputs, hyperparameters, soft_loss(inputs, hyperparameters), inputs.logits
    )


METHOD = Method(
    name="kd",
    reference="Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015",
    search_space={
        **COMMON,
        "temperature": search_space.TEMPERATURE,
    },
    loss=loss,
    corrigible=True,
)
