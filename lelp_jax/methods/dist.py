"""Distillation of relations between probabilities (DIST: Huang et al., arXiv 2205.10536)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Hyperparameter
from lelp_jax.methods.base import (
    COMMON,
    Constants,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    Verdict,
    combine_with_label_loss,
    mix_in_label,
)
from lelp_jax.methods.standardized import pearson

# Those of the two relations, for every method that teaches them.
WEIGHTS: Mapping[str, Hyperparameter] = {
    "inter_weight": search_space.INTER_WEIGHT,
    "intra_weight": search_space.INTRA_WEIGHT,
}


def relation_loss(
    student: jax.Array, teacher: jax.Array, hyperparameters: Hyperparameters
) -> jax.Array:
    """Computes `w_inter (1 - rho of a row) + w_intra (1 - mean rho of the columns)`, [batch].

    rho is Pearson's correlation: over the columns of each row, and over the batch in each column,
    which is one number, repeated. It is 0 where one side does not vary, so in a batch of one row
    the second relation teaches nothing.

    Args:
        student: Probabilities, [batch, outputs].
        teacher: The same of the teacher.
        hyperparameters: `inter_weight` and `intra_weight`.
    """
    inter = 1 - pearson(student, teacher, axis=1)
    intra = 1 - pearson(student, teacher, axis=0).mean()
    return hyperparameters["inter_weight"] * inter + hyperparameters["intra_weight"] * intra


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes `T^2` times the loss of both relations mixed with the label's loss, [batch].

    Correlations stay the same when probabilities shrink towards their mean, so they do not teach
    how confident to be. The label's loss does.

    Args:
        inputs: The batch.
        constants: None.
        hyperparameters: `temperature`, `inter_weight`, `intra_weight` and what every loss takes.
    """
    del constants
    assert inputs.teacher_logits is not None
    temperature = hyperparameters["temperature"]
    teacher = jax.nn.log_softmax(inputs.teacher_logits.astype(jnp.float32) / temperature)
    soft = relation_loss(
        jax.nn.softmax(inputs.logits.astype(jnp.float32) / temperature),
        jnp.exp(mix_in_label(teacher, inputs.label, hyperparameters)),
        hyperparameters,
    )
    return combine_with_label_loss(inputs, hyperparameters, temperature**2 * soft, inputs.logits)


def verdict(classes: int) -> Verdict | None:
    """Tells what is left of it with two classes."""
    if classes > 2:
        return None
    return Verdict(
        "ok",
        None,
        "with two classes the inter-class correlation is always 1 or -1 and has no gradient: only "
        "the intra-class term teaches, and it does not teach where to draw the line between the "
        "classes, as the label does at alpha above 0",
    )


METHOD = Method(
    name="dist",
    reference="Huang et al., Knowledge Distillation from A Stronger Teacher, "
    "arXiv 2205.10536, 2022",
    search_space={
        **COMMON,
        # Without the label the confidence, and with two classes the threshold, are not taught. The
        # authors weigh both relations 2 beside the label's 1: 0.333.
        "alpha": search_space.ALPHA.replace_default(0.1, 0.333, 0.5),
        "temperature": search_space.TEMPERATURE,
        **WEIGHTS,
    },
    loss=loss,
    verdict=verdict,
)
