"""The teacher's embedding by a learnt linear map, beside plain distillation.

Either its values (mean squared error) or its direction (cosine).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax.core import search_space
from lelp_jax.methods import features
from lelp_jax.methods.base import Constants, Hyperparameters, LossInputs, LossOutput, Method


def squared_error(inputs: LossInputs, constants: Constants) -> jax.Array:
    """Computes `||A h_s + c - t||^2 / dims`, [batch]; t is the teacher's standardised embedding.

    Args:
        inputs: The batch; `extra` is the linear map, `kernel` and `bias`.
        constants: Of `features.prepare`.
    """
    assert inputs.extra is not None
    predicted = features.apply_linear_map(inputs.extra, features.student_embedding(inputs))
    # The mean and not the sum, so that `loss_weight` means the same for any number of dims.
    return jnp.square(predicted - features.standardize_embedding(inputs, constants)).mean(axis=-1)


def mse_loss(
    inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters
) -> LossOutput:
    """Computes distillation and the squared error of the embedding, [batch]."""
    return features.combine_with_distillation(
        inputs, hyperparameters, squared_error(inputs, constants)
    )


def cosine_loss(
    inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters
) -> LossOutput:
    """Computes distillation and `1 - cos(A h_s + c, t)`, [batch].

    t is the teacher's embedding less its mean: uncentred embeddings often share one large
    component, which makes every cosine near 1. The cosine with a zero vector is 0.
    """
    assert inputs.extra is not None
    predicted = features.normalize_rows(
        features.apply_linear_map(inputs.extra, features.student_embedding(inputs))
    )
    wanted = features.normalize_rows(features.standardize_embedding(inputs, constants))
    return features.combine_with_distillation(
        inputs, hyperparameters, 1 - (predicted * wanted).sum(axis=-1)
    )


MSE = Method(
    name="embedding_mse",
    reference="embedding distillation with a learnt linear map; a baseline of LELP, section 4",
    search_space={
        **features.SEARCH_SPACE,
        "loss_weight": search_space.LOSS_WEIGHT.replace_default(0.1, 1.0, 10.0),
    },
    loss=mse_loss,
    uses_embedding=True,
    corrigible=True,
    prepare=features.prepare,
    init=features.init_regressor,
)

COSINE = Method(
    name="embedding_cosine",
    reference="embedding distillation with a learnt linear map; a baseline of LELP, section 4",
    search_space={
        **features.SEARCH_SPACE,
        "loss_weight": search_space.LOSS_WEIGHT.replace_default(0.1, 1.0, 10.0),
    },
    loss=cosine_loss,
    uses_embedding=True,
    corrigible=True,
    prepare=features.prepare,
    init=features.init_regressor,
)
