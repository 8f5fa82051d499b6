"""Normalised distillation of the other classes (NKD: Yang et al., arXiv 2303.13005)."""

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
    mix_in_label,
)
from lelp_jax.methods.dkd import pick_others, pick_target, target_class


def soft_losses(
    inputs: LossInputs, hyperparameters: Hyperparameters
) -> tuple[jax.Array, jax.Array]:
    """Computes `-p_t[y] log p_s[y]` and the cross-entropy of the others' shares, each [batch].

    The first is taken at temperature 1. Alone it draws the student's probability of the target
    class to 1, more strongly where the teacher is confident.

    Args:
        inputs: The batch. The teacher's most probable class is the target of rows without label.
        hyperparameters: `temperature`, that of the shares, and `hard_mixing`.
    """
    assert inputs.teacher_logits is not None
    temperature = hyperparameters["temperature"]
    teacher_logits = inputs.teacher_logits.astype(jnp.float32)
    logits = inputs.logits.astype(jnp.float32)
    target = target_class(inputs.label, teacher_logits)
    # Mixing the label into the teacher scales all other classes alike: their shares stay.
    teacher = mix_in_label(jax.nn.log_softmax(teacher_logits), inputs.label, hyperparameters)
    of_label = -jnp.exp(pick_target(teacher, target)) * pick_target(
        jax.nn.log_softmax(logits), target
    )
    _, wanted = pick_others(teacher_logits / temperature, target)
    _, given = pick_others(logits / temperature, target)
    return of_label, -jnp.sum(jnp.exp(wanted) * given, axis=-1)


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes `-p_t[y] log p_s[y] + w T^2 CE(q_t, q_s)` mixed with the label's loss, [batch].

    Args:
        inputs: The batch.
        constants: None.
        hyperparameters: `temperature`, `nontarget_weight` and what every loss takes.
    """
    del constants
    of_label, nontarget = soft_losses(inputs, hyperparameters)
    weight = hyperparameters["nontarget_weight"] * hyperparameters["temperature"] ** 2
    return combine_with_label_loss(
        inputs, hyperparameters, of_label + weight * nontarget, inputs.logits
    )


def verdict(classes: int) -> Verdict | None:
    """Tells what is left of it with two classes."""
    if classes > 2:
        return None
    return Verdict(
        "ok",
        None,
        "with two classes there is one non-target class, whose share is always 1: only the target "
        "term is left, the label weighted by the teacher's probability of it",
    )


METHOD = Method(
    name="nkd",
    reference="Yang et al., From Knowledge Distillation to Self-Knowledge Distillation, "
    "arXiv 2303.13005, 2023",
    search_space={
        **COMMON,
        # The paper always adds the label's loss, of the same weight: 0.5, with the others' shares
        # at temperature 1 and a weight of 1.5.
        "alpha": search_space.ALPHA.replace_default(0.0, 0.5),
        "temperature": search_space.TEMPERATURE.replace_default(1.0, 2.0, 4.0),
        "nontarget_weight": search_space.NONTARGET_WEIGHT.replace_default(1.5),
    },
    loss=loss,
    verdict=verdict,
)
