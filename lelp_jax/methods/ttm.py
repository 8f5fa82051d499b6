"""Transformed teacher matching, plain and weighted (Zheng and Yang, arXiv 2402.11148).

Only the teacher is softened; in the weighted form rows that it is uncertain of count more.
"""

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
    """Computes `CE(softmax(z / T), softmax(g))`, [batch].

    The student is not softened, so there is no factor T^2. The cross-entropy differs from the KL
    divergence of the paper by a constant.

    Args:
        inputs: The batch.
        hyperparameters: `temperature` and `hard_mixing`.
    """
    assert inputs.teacher_logits is not None
    teacher = jax.nn.log_softmax(
        inputs.teacher_logits.astype(jnp.float32) / hyperparameters["temperature"], axis=-1
    )
    target = jnp.exp(mix_in_label(teacher, inputs.label, hyperparameters))
    log_probability = jax.nn.log_softmax(inputs.logits.astype(jnp.float32))
    return -jnp.sum(target * slam.mix(log_probability, inputs.mixing), axis=-1)


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes the loss of the softened teacher mixed with the label's, [batch]."""
    del constants
    return combine_with_label_loss(
        inputs, hyperparameters, soft_loss(inputs, hyperparameters), inputs.logits
    )


def row_weight(teacher_logits: jax.Array, temperature: jax.Array) -> jax.Array:
    """Computes `sum_c p_c^(1/T)`, [batch] float32: 1 where the teacher is certain or T is 1.

    It is largest where the teacher knows least: `C^(1 - 1/T)` at T > 1.

    Args:
        teacher_logits: [batch, classes].
        temperature: T, [].
    """
    # In logs: a tiny probability is 0 in float32 before its root is taken.
    log_probability = jax.nn.log_softmax(teacher_logits.astype(jnp.float32), axis=-1)
    return jnp.exp(jax.nn.logsumexp(log_probability / temperature, axis=-1))


def weighted_loss(
    inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters
) -> LossOutput:
    """Computes the weighted loss of `soft_loss` mixed with the label's, [batch].

    The weight is that of the teacher's own probabilities, whatever is mixed into its targets. The
    label's loss is not weighted.

    Args:
        inputs: The batch.
        constants: None.
        hyperparameters: `temperature` and what every loss takes.
    """
    del constants
    assert inputs.teacher_logits is not None
    weight = row_weight(inputs.teacher_logits, hyperparameters["temperature"])
    return combine_with_label_loss(
        inputs, hyperparameters, weight * soft_loss(inputs, hyperparameters), inputs.logits
    )


# The authors add the label's loss, of weight 1, to 45 times this loss at an exponent 1 / T of 0.1,
# or to 4 times the weighted one at 0.2 (the examples of their code).
TTM = Method(
    name="ttm",
    reference="Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, "
    "arXiv 2402.11148, 2024",
    search_space={
        **COMMON,
        "alpha": search_space.ALPHA.replace_default(0.0, 0.022),
        "temperature": search_space.TEMPERATURE.replace_default(1.0, 2.0, 4.0, 10.0, 16.0),
    },
    loss=loss,
    corrigible=True,
)

WTTM = Method(
    name="wttm",
    reference="Zheng and Yang, Knowledge Distillation Based on Transformed Teacher Matching, "
    "arXiv 2402.11148, 2024",
    search_space={
        **COMMON,
        "alpha": search_space.ALPHA.replace_default(0.0, 0.2),
        "temperature": search_space.TEMPERATURE.replace_default(1.0, 2.0, 5.0, 8.0, 16.0),
    },
    loss=weighted_loss,
    corrigible=True,
)
