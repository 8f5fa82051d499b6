"""LELP's pseudo-subclasses taught by standardised logits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from lelp_jax.methods import pseudo_subclass
from lelp_jax.methods.base import (
    Constants,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Params,
    TeacherRows,
    combine_with_label_loss,
)
from lelp_jax.methods.standardized import z_score
from lelp_jax.models.outputs import Outputs
from lelp_jax.projection import lelp


def _standardized(columns: jax.Array, temperature: jax.Array) -> jax.Array:
    """Computes `Z(columns) / tau` of [classes, subclasses, batch]; Z is over a row's outputs."""
    return z_score(columns, axis=(0, 1)) / temperature


def _student(logits: jax.Array, constants: Constants, temperature: jax.Array) -> jax.Array:
    """Computes `Z(g) / tau`, [classes, subclasses, batch]."""
    # Z takes any factor out again: the temperature comes after it.
    (columns,) = pseudo_subclass.scale_logits(logits, constants, jnp.float32(1))
    return _standardized(columns, temperature)


def readout(
    outputs: Outputs, extra: Params, constants: Constants, hyperparameters: Hyperparameters
) -> jax.Array:
    """Computes class logits `tau * logsumexp_s(Z(g) / tau)`, [batch, classes].

    The scale of g is not taught, so the probabilities that were taught are read out, and g only
    through Z. Z bounds them: a row of K outputs has none above `(K - 1) / sqrt(K)`.
    """
    del extra
    temperature = hyperparameters["temperature"]
    columns = _student(outputs.logits, constants, temperature)
    return temperature * jax.nn.logsumexp(columns, axis=1).T


def compute_targets(rows: TeacherRows, hyperparameters: Hyperparameters) -> jax.Array:
    """Computes `softmax(Z(t) / tau)`, [rows, outputs].

    t are the teacher's C * S logits: LELP's log targets, which the temperature and beta have
    softened. Two classes of two or more pseudo-subclasses keep more than an order in Z.

    Args:
        rows: The teacher's outputs, with finite scores of one split: Z of an infinite logit does
            not exist.
        hyperparameters: `temperature` and `beta`.
    """
    (teacher,) = pseudo_subclass.log_targets(
        rows.teacher_logits, rows.scores, rows.label, hyperparameters
    )
    target = jax.nn.softmax(_standardized(teacher, hyperparameters["temperature"]), axis=(0, 1))
    return target.reshape(-1, len(rows.label)).T


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes `tau^2 CE(softmax(Z(t) / tau), softmax(Z(g) / tau))` with the label's loss, [batch].

    Args:
        inputs: The batch, with the targets of `compute_targets`.
        constants: `column_mask`, [classes, subclasses]: every column exists in LELP's split.
        hyperparameters: `temperature` and what every loss takes.
    """
    assert inputs.target is not None
    temperature = hyperparameters["temperature"]
    columns = _student(inputs.logits, constants, temperature)
    target = inputs.target.T.reshape(columns.shape)
    of_class = jax.nn.logsumexp(columns, axis=1)
    log_probability = columns - jax.nn.logsumexp(of_class, axis=0)
    soft = -(temperature**2) * jnp.sum(target * log_probability, axis=(0, 1))
    return combine_with_label_loss(inputs, hyperparameters, soft, temperature * of_class.T)


METHOD = dataclasses.replace(
    pseudo_subclass.build_method(
        name="lelp_standardized",
        reference="Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449, 2024, "
        "with the loss of Sun et al., arXiv 2403.01427, 2024",
        projector=lelp.PROJECTOR,
    ),
    targets=compute_targets,
    loss=loss,
    # Standardised logits keep no probability that a mixing could change.
    corrigible=False,
    readout=readout,
)
