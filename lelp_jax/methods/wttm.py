"""Weighted transformed teacher matching: uncertain rows count more (Zheng and Yang, 2024)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import ttm
from lelp_jax.methods.base import COMMON, Constants, LossInputs, LossOutput, Method, Numeric, mix


def row_weight(teacher_logits: jax.Array, temperature: jax.Array) -> jax.Array:
    """Returns `sum_c p_c^(1/T)`, [batch] float32: 1 where the teacher is certain or T is 1.

    It is largest where the teacher knows least: `C^(1 - 1/T)` at T > 1.

    Args:
        teacher_logits: [batch, classes].
        temperature: T, [].
    """
    log_probability = jax.nn.log_softmax(teacher_logits.astype(jnp.float32), axis=-1)
    return jnp.exp(jax.nn.logsumexp(log_probability / temperature, axis=-1))


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns the weighted loss of `ttm` mixed with the label's, [batch].

    The weight is that of the teacher's own probabilities, whatever is mixed into its targets. The
    label's loss is not weighted.

    Args:
        inputs: The batch.
        constants: None.
        numeric: `temperature` and what every loss takes.
    """
    del constants
    assert inputs.teacher_logits is not None
    weight = row_weight(inputs.teacher_logits, numeric["temperature"])
    return mix(inputs, numeric, weight * ttm.soft_loss(inputs, numeric), inputs.logits)


METHOD = Method(
    name="wttm",
    reference="Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, "
    "arXiv 2402.11148, 2024",
    settings={**COMMON, "temperature": settings.TEMPERATURE},
    loss=loss,
)
