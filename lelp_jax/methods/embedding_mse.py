"""Regression of the teacher's embedding, beside plain distillation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import features
from lelp_jax.methods.base import Constants, LossInputs, LossOutput, Method, Numeric


def squared_error(inputs: LossInputs, constants: Constants) -> jax.Array:
    """Returns `||A h_s + c - t||^2 / dims`, [batch]; t is the teacher's standardised embedding.

    Args:
        inputs: The batch; `extra` is the linear map, `kernel` and `bias`.
        constants: Of `features.prepare`.
    """
    assert inputs.extra is not None
    predicted = features.linear(inputs.extra, features.student(inputs))
    return jnp.square(predicted - features.standardized(inputs, constants)).mean(axis=-1)


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns distillation and the squared error of the embedding, [batch]."""
    return features.total(inputs, numeric, squared_error(inputs, constants))


METHOD = Method(
    name="embedding_mse",
    reference="embedding distillation with a learnt linear map; a baseline of LELP, section 4",
    settings={**features.SETTINGS, "loss_weight": settings.LOSS_WEIGHT.trying(0.1, 1.0, 10.0)},
    loss=loss,
    uses_embedding=True,
    prepare=features.prepare,
    init=features.init_linear,
)
