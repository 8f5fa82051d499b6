"""Distillation of standardised logits (Sun et al., arXiv 2403.01427)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax.core import search_space
from lelp_jax.methods.base import (
    COMMON,
    Constants,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    Verdict,
    combine_with_label_loss,
    cross_entropy,
    mix_in_label,
)
from lelp_jax.methods.standardized import z_score


def soft_loss(inputs: LossInputs, hyperparameters: Hyperparameters) -> jax.Array:
    """Computes `T^2 CE(softmax(Z(z) / T), softmax(Z(g) / T))`, [batch].

    Z standardises the logits of a row, so neither their mean nor their scale is taught.

    Args:
        inputs: The batch.
        hyperparameters: `temperature` and `hard_mixing`.
    """
    assert inputs.teacher_logits is not None
    temperature = hyperparameters["temperature"]
    teacher = jax.nn.log_softmax(z_score(inputs.teacher_logits, axis=-1) / temperature)
    target = jnp.exp(mix_in_label(teacher, inputs.label, hyperparameters))
    return temperature**2 * cross_entropy(target, z_score(inputs.logits, axis=-1) / temperature)


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes the loss of standardised logits mixed with the label's loss of the raw, [batch]."""
    del constants
    return combine_with_label_loss(
        inputs, hyperparameters, soft_loss(inputs, hyperparameters), inputs.logits
    )


def verdict(classes: int) -> Verdict | None:
    """Tells that it teaches nothing with two classes."""
    if classes > 2:
        return None
    return Verdict(
        "refused",
        None,
        "two logits standardise to 0.71 and -0.71 whatever they are: only their order is left, "
        "and the gradient is zero",
    )


METHOD = Method(
    name="logit_standardization",
    reference="Sun et al., Logit Standardization in Knowledge Distillation, arXiv 2403.01427, 2024",
    search_space={
        **COMMON,
        # The label alone teaches the scale of the logits, and so how confident to be. The authors
        # weigh it 0.1 beside 9: 0.011.
        "alpha": search_space.ALPHA.replace_default(0.011, 0.1, 0.5),
        "temperature": search_space.TEMPERATURE.replace_default(2.0, 3.0, 4.0),
    },
    loss=loss,
    verdict=verdict,
)
