"""Relational knowledge distillation: distances and angles (Park et al., arXiv 1904.05068)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lelp_jax.core import search_space
from lelp_jax.methods import features
from lelp_jax.methods.base import Constants, Hyperparameters, LossInputs, LossOutput, Method

# Angles are at batch * batch * batch triples; those of so many vertices are in memory at a time.
_VERTICES = 8


class Geometry(NamedTuple):
    """Relations between the rows of a batch: their distances and angles.

    Attributes:
        gram: Inner products of the centred rows, [batch, batch].
        distance: [batch, batch]; 0 where two rows are equal up to rounding.
        inverse: 1 / distance, [batch, batch]; 0 where the distance is.
    """

    gram: jax.Array
    distance: jax.Array
    inverse: jax.Array


def geometry(rows: jax.Array) -> Geometry:
    """Computes the geometry of a batch, with a finite gradient for equal rows too.

    Everything comes from inner products: differences of all pairs would be batch * batch * dims
    numbers. A squared distance below 1e-6 of the squared lengths is taken as 0.

    Args:
        rows: [batch, dims].
    """
    rows = features.center_rows(rows)
    # Small differences of large products do not survive TF32 or bfloat16.
    with jax.default_matmul_precision("highest"):
        gram = rows @ rows.T
    length = jnp.diagonal(gram)
    both = length[:, None] + length
    square = both - 2 * gram
    # Chosen before root and quotient: a gradient of inf would make NaN of the 0 that hides it.
    apart = square > 1e-6 * both
    distance = jnp.sqrt(jnp.where(apart, square, 1.0))
    return Geometry(gram, jnp.where(apart, distance, 0.0), jnp.where(apart, 1 / distance, 0.0))


def huber(difference: jax.Array) -> jax.Array:
    """Computes the smooth L1 loss, `x^2 / 2` up to 1 and `|x| - 1/2` from there."""
    size = jnp.abs(difference)
    inner = jnp.minimum(size, 1.0)
    return inner * (size - 0.5 * inner)


def distance_loss(student: Geometry, teacher: Geometry) -> jax.Array:
    """Computes the mean over pairs of the loss of distances over their mean (section 3.2.1), []."""

    def relative(distance: jax.Array) -> jax.Array:
        pairs = jnp.maximum((distance > 0).sum(), 1)
        mean = distance.sum() / pairs
        return distance / jnp.where(mean > 0, mean, 1.0)

    return huber(relative(student.distance) - relative(teacher.distance)).mean()


def angle_loss(student: Geometry, teacher: Geometry) -> jax.Array:
    """Computes the mean over triples of the loss of the angles' cosines (section 3.2.2), [].

    The cosine at vertex i is `(G_jk - G_ij - G_ik + G_ii) / (d_ij d_ik)`, and 0 where j or k is i.
    """

    def cosine(side: Geometry, vertex: jax.Array) -> jax.Array:
        row, inverse = side.gram[vertex], side.inverse[vertex]
        product = side.gram - row[:, None] - row + row[vertex]
        return product * inverse[:, None] * inverse

    # The gradient computes the angles of a vertex again and does not keep those of all.
    @jax.checkpoint
    def at(vertex: jax.Array) -> jax.Array:
        return huber(cosine(student, vertex) - cosine(teacher, vertex)).mean()

    size = len(student.gram)
    return jax.lax.map(at, jnp.arange(size), batch_size=min(_VERTICES, size)).mean()


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes distillation and `L_distance + 2 L_angle` of the batch, [batch].

    The paper's weights are 25 and 50: a `loss_weight` of 25. The term has no parameters, compares
    embeddings of any dims, and is 0 where one batch is a scaled, turned and shifted copy of the
    other.
    """
    del constants
    assert inputs.teacher_embedding is not None
    student = geometry(features.student_embedding(inputs))
    teacher = geometry(jax.lax.stop_gradient(inputs.teacher_embedding))
    relation = distance_loss(student, teacher) + 2 * angle_loss(student, teacher)
    return features.combine_with_distillation(
        inputs, hyperparameters, jnp.broadcast_to(relation, inputs.label.shape)
    )


METHOD = Method(
    name="rkd",
    reference="Park et al., Relational Knowledge Distillation, CVPR 2019",
    search_space={
        **features.SEARCH_SPACE,
        "loss_weight": search_space.LOSS_WEIGHT.replace_default(1.0, 5.0, 25.0),
    },
    loss=loss,
    uses_embedding=True,
    corrigible=True,
)
