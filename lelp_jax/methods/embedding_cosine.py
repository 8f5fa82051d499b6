"""Direction of the teacher's embedding, beside plain distillation."""

from __future__ import annotations

from lelp_jax.core import hyperparameters as settings
from lelp_jax.methods import features
from lelp_jax.methods.base import Constants, LossInputs, LossOutput, Method, Numeric


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns distillation and `1 - cos(A h_s + c, t)`, [batch].

    t is the teacher's embedding less its mean: uncentred embeddings often share one large
    component, which makes every cosine near 1. The cosine with a zero vector is 0.
    """
    assert inputs.extra is not None
    predicted = features.direction(features.linear(inputs.extra, features.student(inputs)))
    wanted = features.direction(features.standardized(inputs, constants))
    return features.total(inputs, numeric, 1 - (predicted * wanted).sum(axis=-1))


METHOD = Method(
    name="embedding_cosine",
    reference="embedding distillation with a learnt linear map; a baseline of LELP, section 4",
    settings={**features.SETTINGS, "loss_weight": settings.LOSS_WEIGHT.trying(0.1, 1.0, 10.0)},
    loss=loss,
    uses_embedding=True,
    prepare=features.prepare,
    init=features.init_linear,
)
