"""FitNets: a hint from the teacher's embedding, first or throughout (Romero et al., 2015)."""

from __future__ import annotations

import jax.numpy as jnp

from lelp_jax.core import search_space
from lelp_jax.methods import embedding_regression, features
from lelp_jax.methods.base import Constants, Hyperparameters, LossInputs, LossOutput, Method


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes the hint, then distillation, or with `hint_share` = 0 both at once, [batch].

    The hint is the squared error of a linear regression of the teacher's embedding. The
    regressor has no ReLU: embeddings have both signs. In two stages (algorithm 1) the first
    `hint_share` of the training learns the hint alone and the rest distillation alone; the paper's
    second stage starts from the first one's weights, and so does this one.

    Args:
        inputs: The batch; `extra` is the linear map, `kernel` and `bias`.
        constants: Of `features.prepare`.
        hyperparameters: Of `features.SEARCH_SPACE`, `loss_weight` and `hint_share`, in [0, 1).
    """
    # A mask and no branch: members of a fleet differ in the share.
    first = inputs.progress < hyperparameters["hint_share"]
    hinted = first | (hyperparameters["hint_share"] == 0)
    weight = jnp.where(hinted, hyperparameters["loss_weight"], 0.0)
    return features.combine_with_distillation(
        inputs,
        {**hyperparameters, "loss_weight": weight},
        embedding_regression.squared_error(inputs, constants),
        distilled=jnp.where(first, 0.0, 1.0),
    )


METHOD = Method(
    name="fitnet",
    reference="Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015",
    search_space={
        **features.SEARCH_SPACE,
        "loss_weight": search_space.LOSS_WEIGHT.replace_default(0.1, 1.0, 10.0),
        "hint_share": search_space.HINT_SHARE.replace_default(0.0, 0.3),
    },
    loss=loss,
    uses_embedding=True,
    corrigible=True,
    prepare=features.prepare,
    init=features.init_regressor,
)
