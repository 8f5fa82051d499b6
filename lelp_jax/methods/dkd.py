"""Decoupled distillation of target and other classes (Zhao et al., arXiv 2203.08679).

A row's target class is told apart from its other classes in log space.
"""

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


def target_class(label: jax.Array, teacher_logits: jax.Array) -> jax.Array:
    """Picks the label, and where it is -1 the teacher's most probable class, [batch] int32.

    Args:
        label: [batch] int32; -1 where unknown.
        teacher_logits: [batch, classes].
    """
    return jnp.where(label >= 0, label, jnp.argmax(teacher_logits, axis=-1).astype(label.dtype))


def pick_target(log_probability: jax.Array, target: jax.Array) -> jax.Array:
    """Picks the log probability of the target class, [batch].

    Args:
        log_probability: [batch, classes].
        target: [batch] int32, never -1.
    """
    return jnp.take_along_axis(log_probability, target[:, None], axis=-1)[:, 0]


def pick_others(log_probability: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes log of the other classes' total, [batch], and of their shares, [batch, classes - 1].

    The total is summed from the others: `log(1 - p)` loses every digit where p is nearly 1. The
    others are picked out, as a mask of large negative logits leaks where logits are large.

    Args:
        log_probability: [batch, classes].
        target: [batch] int32, never -1.
    """
    classes = log_probability.shape[-1]
    columns = (target[:, None] + 1 + jnp.arange(classes - 1)) % classes
    others = jnp.take_along_axis(log_probability, columns, axis=-1)
    total = jax.nn.logsumexp(others, axis=-1)
    return total, others - total[:, None]


def _divergence(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """Computes the KL divergence over the last axis from log probabilities."""
    return jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)


def divergences(
    inputs: LossInputs, hyperparameters: Hyperparameters
) -> tuple[jax.Array, jax.Array]:
    """Computes the target and the non-target divergence (section 3.1), each [batch].

    With p the teacher's probability of the target class they satisfy
    `KL(teacher || student) = target + (1 - p) nontarget`.

    Args:
        inputs: The batch. The teacher's most probable class is the target of rows without label.
        hyperparameters: `temperature` and `hard_mixing`.
    """
    assert inputs.teacher_logits is not None
    temperature = hyperparameters["temperature"]
    target = target_class(inputs.label, inputs.teacher_logits)

    def parts(log_probability: jax.Array) -> tuple[jax.Array, jax.Array]:
        total, shares = pick_others(log_probability, target)
        return jnp.stack([pick_target(log_probability, target), total], axis=-1), shares

    # The label is mixed in before the split, so that it moves the target's share alone.
    teacher = jax.nn.log_softmax(inputs.teacher_logits.astype(jnp.float32) / temperature)
    teacher_binary, teacher_shares = parts(mix_in_label(teacher, inputs.label, hyperparameters))
    student_binary, student_shares = parts(
        jax.nn.log_softmax(inputs.logits.astype(jnp.float32) / temperature)
    )
    return (
        _divergence(teacher_binary, student_binary),
        _divergence(teacher_shares, student_shares),
    )


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes `T^2 (w_t target + w_n nontarget)`, section 3.3, with the label's loss, [batch].

    With two classes the non-target divergence is 0 and its gradient too. At `target_weight` 1 the
    gradient is then that of plain distillation, and the loss lower by the teacher's entropy.

    Args:
        inputs: The batch.
        constants: None.
        hyperparameters: `temperature`, `target_weight`, `nontarget_weight` and what every loss
            takes.
    """
    del constants
    target, nontarget = divergences(inputs, hyperparameters)
    weighted = (
        hyperparameters["target_weight"] * target + hyperparameters["nontarget_weight"] * nontarget
    )
    return combine_with_label_loss(
        inputs, hyperparameters, hyperparameters["temperature"] ** 2 * weighted, inputs.logits
    )


def verdict(classes: int) -> Verdict | None:
    """Tells that with two classes it is plain distillation."""
    if classes > 2:
        return None
    return Verdict(
        "same_as",
        "kd",
        "with two classes there is one non-target class: its share is always 1 and teaches nothing",
    )


METHOD = Method(
    name="dkd",
    reference="Zhao et al., Decoupled Knowledge Distillation, arXiv 2203.08679, 2022",
    search_space={
        **COMMON,
        # The paper always adds the label's loss, of the same weight: 0.5. Its other weights are 1
        # and, for most pairs of networks, 8, at temperature 4.
        "alpha": search_space.ALPHA.replace_default(0.0, 0.5),
        "temperature": search_space.TEMPERATURE,
        "target_weight": search_space.TARGET_WEIGHT,
        "nontarget_weight": search_space.NONTARGET_WEIGHT.replace_default(1.0, 2.0, 4.0, 8.0),
    },
    loss=loss,
    verdict=verdict,
)
