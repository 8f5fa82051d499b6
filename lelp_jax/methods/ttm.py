"""Transformed teacher matching: only the teacher is softened (Zheng and Yang, 2024)."""

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
    """Returns `CE(softmax(z / T), softmax(g))`, [batch].

    The student is not softened, so there is no factor T^2. The cross-entropy differs from the KL
    divergence of the paper by a constant.

    Args:
        inputs: The batch.
        numeric: `temperature` and `hard_mixing`.
    """
    assert inputs.teacher_logits is not None
    teacher = jax.nn.log_softmax(
        inputs.teacher_logits.astype(jnp.float32) / numeric["temperature"], axis=-1
    )
    target = jnp.exp(log_targets(teacher, inputs.label, numeric))
    return cross_entropy(target, inputs.logits)


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns the loss of the softened teacher mixed with the label's, [batch]."""
    del constants
    return mix(inputs, numeric, soft_loss(inputs, numeric), inputs.logits)


METHOD = Method(
    name="ttm",
    reference="Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, "
    "arXiv 2402.11148, 2024",
    settings={**COMMON, "temperature": settings.TEMPERATURE},
    loss=loss,
)
