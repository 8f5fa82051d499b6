"""Matching of embeddings by centred kernel alignment (Dasgupta and Cohn, ICLR 2025)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax.core import search_space
from lelp_jax.methods import features
from lelp_jax.methods.base import Constants, Hyperparameters, LossInputs, LossOutput, Method


def alignment(first: jax.Array, second: jax.Array) -> jax.Array:
    """Computes the linear CKA of two embeddings of the same rows, in [0, 1], [].

    It is `||X'Y||^2 / (||X'X|| ||Y'Y||)` with Frobenius norms and centred rows, computed as the
    cosine of the two matrices of inner products. Rotations, shifts and a scale of either side do
    not change it; a side whose rows are all equal gives 0. Batches smaller than the embedding
    estimate it too high.

    Args:
        first: [batch, dims].
        second: [batch, other dims].
    """
    first, second = features.center_rows(first), features.center_rows(second)
    # Inner products of rows: batch * batch numbers, where those of columns are dims * dims. Small
    # differences of large products do not survive TF32 or bfloat16.
    with jax.default_matmul_precision("highest"):
        one, other = first @ first.T, second @ second.T
    return (
        features.normalize_rows(one.reshape(-1)) * features.normalize_rows(other.reshape(-1))
    ).sum()


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes distillation and `1 - CKA` of the batch, [batch]. There are no parameters.

    CKA is that of Kornblith et al. (arXiv 1905.00414). The code of Dasgupta and Cohn takes its
    square root, `1 - sqrt(CKA)`: the gradient has the same direction and is `1 / (2 sqrt(CKA))`
    times as long, which is half where the embeddings agree.
    """
    del constants
    assert inputs.teacher_embedding is not None
    teacher = jax.lax.stop_gradient(inputs.teacher_embedding)
    apart = 1 - alignment(features.student_embedding(inputs), teacher)
    return features.combine_with_distillation(
        inputs, hyperparameters, jnp.broadcast_to(apart, inputs.label.shape)
    )


METHOD = Method(
    name="cka",
    reference="Dasgupta and Cohn, Improving Language Model Distillation through Hidden State "
    "Matching, ICLR 2025",
    search_space={
        **features.SEARCH_SPACE,
        "loss_weight": search_space.LOSS_WEIGHT.replace_default(0.1, 1.0, 10.0),
    },
    loss=loss,
    uses_embedding=True,
    corrigible=True,
)
