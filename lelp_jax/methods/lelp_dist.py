"""LELP's pseudo-subclasses taught by the relations between their probabilities (DIST)."""

from __future__ import annotations

import dataclasses

import jax

from lelp_jax.methods import dist, pseudo_subclass
from lelp_jax.methods.base import (
    Constants,
    Hyperparameters,
    LossInputs,
    LossOutput,
    combine_with_label_loss,
)
from lelp_jax.projection import lelp


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes `tau^2` times the DIST loss over all C * S outputs mixed with the label's, [batch].

    With two classes DIST's inter-class term has no gradient; over two or more pseudo-subclasses of
    each it has.

    Args:
        inputs: The batch, with targets of one split.
        constants: `column_mask`, [classes, subclasses]: every column exists in LELP's split.
        hyperparameters: `temperature`, `beta`, `inter_weight`, `intra_weight` and what every loss
            takes.
    """
    assert inputs.target is not None
    temperature = hyperparameters["temperature"]
    student = pseudo_subclass.scale_logits(inputs.logits, constants, temperature)
    # Columns last, as DIST's relations are over a row's outputs and over the batch.
    columns = student.size // len(inputs.logits)
    soft = dist.relation_loss(
        jax.nn.softmax(student.reshape(columns, -1), axis=0).T,
        inputs.target,
        hyperparameters,
    )
    class_logits = temperature * jax.nn.logsumexp(student, axis=2).mean(axis=0).T
    return combine_with_label_loss(inputs, hyperparameters, temperature**2 * soft, class_logits)


METHOD = dataclasses.replace(
    pseudo_subclass.build_method(
        name="lelp_dist",
        reference="Loo, Iliopoulos, Hu and Vee, arXiv 2409.20449, 2024, "
        "with the loss of Huang et al., arXiv 2205.10536, 2022",
        projector=lelp.PROJECTOR,
        pinned=dist.WEIGHTS,
    ),
    loss=loss,
    # Not a cross-entropy of probabilities.
    corrigible=False,
)
