"""Variational information distillation (Ahn et al., arXiv 1904.05835)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space
from lelp_jax.methods import features
from lelp_jax.methods.base import (
    Constants,
    Dims,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    Params,
)

# Of the authors' code: a large variance lets the term begin gently, and the least one bounds the
# gradient where a dim is predicted exactly.
_START_VARIANCE = 5.0
_LEAST_VARIANCE = 1e-5


class Mean(nn.Module):
    """Predicts the teacher's embedding: one hidden layer, four times as wide as its input.

    Attributes:
        outputs: Dims of the teacher's embedding.
    """

    outputs: int

    @nn.compact
    def __call__(self, embedding: jax.Array) -> jax.Array:
        """Computes [batch, outputs]."""
        hidden = nn.relu(nn.Dense(4 * embedding.shape[-1])(embedding))
        return nn.Dense(self.outputs)(hidden)


def init(key: jax.Array, dims: Dims) -> Params:
    """Initialises the parameters of the Gaussian `q(t | h_s)`.

    Args:
        key: Random key.
        dims: The two embeddings.

    Returns:
        `mean`, parameters of `Mean`, and `raw_variance` [teacher dims]. A vector is not decayed.
    """
    network = Mean(dims.teacher_embedding).init(key, jnp.zeros((1, dims.embedding)))
    # The inverse of the softplus.
    raw = np.log(np.expm1(_START_VARIANCE - _LEAST_VARIANCE))
    return {
        "mean": network["params"],
        "raw_variance": jnp.full(dims.teacher_embedding, raw, jnp.float32),
    }


def negative_log_likelihood(
    wanted: jax.Array, mean: jax.Array, raw_variance: jax.Array
) -> jax.Array:
    """Computes the mean over dims of `((t - mu)^2 / var + log var) / 2`, [batch].

    The variance of a dim is `softplus(raw) + 1e-5`. The value may be negative.

    Args:
        wanted: t, [batch, dims].
        mean: mu, [batch, dims].
        raw_variance: [dims].
    """
    variance = jax.nn.softplus(raw_variance) + _LEAST_VARIANCE
    return 0.5 * (jnp.square(wanted - mean) / variance + jnp.log(variance)).mean(axis=-1)


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes distillation and the negative log-likelihood of the embedding, [batch]."""
    assert inputs.extra is not None
    wanted = features.standardize_embedding(inputs, constants)
    network = Mean(wanted.shape[-1])
    mean = network.apply({"params": inputs.extra["mean"]}, features.student_embedding(inputs))
    assert isinstance(mean, jax.Array)
    likelihood = negative_log_likelihood(wanted, mean, inputs.extra["raw_variance"])
    return features.combine_with_distillation(inputs, hyperparameters, likelihood)


METHOD = Method(
    name="vid",
    reference="Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019",
    search_space={
        **features.SEARCH_SPACE,
        "loss_weight": search_space.LOSS_WEIGHT.replace_default(0.1, 1.0, 10.0),
    },
    loss=loss,
    uses_embedding=True,
    corrigible=True,
    prepare=features.prepare,
    init=init,
)
