"""Reuse of the teacher's output layer (SimKD; Chen et al., arXiv 2203.14001)."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.methods import features
from lelp_jax.methods.base import (
    COMMON,
    Constants,
    Dims,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    Params,
    Seen,
    combine_with_label_loss,
)
from lelp_jax.models.outputs import Outputs

# Share of the logits' variance that the output layer may leave unexplained.
_UNEXPLAINED = 0.01


class EmbeddingProjector(nn.Module):
    """Predicts the teacher's standardised embedding from the student's.

    It ends without a ReLU: embeddings have both signs.

    Attributes:
        outputs: Dims of the teacher's embedding.
    """

    outputs: int

    @nn.compact
    def __call__(self, embedding: jax.Array) -> jax.Array:
        """Computes [batch, outputs]."""
        hidden = nn.LayerNorm()(nn.Dense(max(self.outputs // 2, 1))(embedding))
        return nn.Dense(self.outputs)(nn.relu(hidden))


def prepare(seen: Seen, static: Mapping[str, Value]) -> dict[str, np.ndarray]:
    """Prepares the teacher's output layer, and the centre and spread of its embedding.

    Args:
        seen: The rows that a student may see.
        static: Handed on to `features.prepare`.

    Returns:
        `center` and `spread` of `features.prepare`; `weights` [teacher dims, classes] float32, and
        `bias` [classes] float32, the mean of what the weights leave of the teacher's logits.

    Raises:
        UserError: The teacher's logits are not a linear function of its embedding.
    """
    embedding, weights = seen.teacher_embedding, seen.output_weights
    assert embedding is not None
    exact = weights.astype(np.float64)
    left = np.concatenate(
        [
            seen.teacher_logits[part] - embedding[part].astype(np.float64) @ exact
            for part in features.slice_rows(len(embedding))
        ]
    )
    unexplained = _variation(left) / max(_variation(seen.teacher_logits), np.finfo(float).tiny)
    if unexplained > _UNEXPLAINED:
        raise UserError(
            f"the teacher's output weights leave {unexplained:.0%} of the "
            "variance of its logits unexplained, so there is no output layer to reuse; leave simkd "
            "out or bring the weights that made these logits of this embedding"
        )
    return {
        **features.prepare(seen, static),
        "weights": np.asarray(weights, np.float32),
        "bias": np.asarray(left.mean(axis=0), np.float32),
    }


def _variation(logits: np.ndarray) -> float:
    # A constant per row changes no probability.
    relative = np.asarray(logits, np.float64)
    relative = relative - relative.mean(axis=1, keepdims=True)
    return float(relative.var(axis=0).sum())


def init(key: jax.Array, dims: Dims) -> Params:
    """Initialises the projector."""
    example = jnp.zeros((1, dims.embedding))
    return EmbeddingProjector(dims.teacher_embedding).init(key, example)["params"]


def project(embedding: jax.Array, extra: Params, constants: Constants) -> jax.Array:
    """Predicts the standardised embedding of the teacher, [batch, teacher dims].

    Args:
        embedding: The student's, [batch, dims].
        extra: Parameters of the projector.
        constants: `weights`.
    """
    projector = EmbeddingProjector(len(constants["weights"]))
    predicted = projector.apply({"params": extra}, embedding.astype(jnp.float32))
    assert isinstance(predicted, jax.Array)
    return predicted


def class_logits(predicted: jax.Array, constants: Constants) -> jax.Array:
    """Applies the teacher's output layer to a standardised embedding, [batch, classes].

    Args:
        predicted: [batch, teacher dims].
        constants: Of `prepare`.
    """
    embedding = predicted * constants["spread"] + constants["center"]
    return embedding @ constants["weights"] + constants["bias"]


def readout(
    outputs: Outputs, extra: Params, constants: Constants, hyperparameters: Hyperparameters
) -> jax.Array:
    """Computes the class logits of the projected embedding, [batch, classes].

    The student's own output layer is not read.
    """
    del hyperparameters
    return class_logits(project(outputs.embedding, extra, constants), constants)


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes the squared error per dim of the projected embedding, [batch].

    It is mixed with the label's loss, of the class logits that are read out. The student's own
    output layer gets no gradient.
    """
    assert inputs.extra is not None
    predicted = project(features.student_embedding(inputs), inputs.extra, constants)
    error = jnp.square(predicted - features.standardize_embedding(inputs, constants)).mean(axis=-1)
    return combine_with_label_loss(
        inputs, hyperparameters, error, class_logits(predicted, constants)
    )


METHOD = Method(
    name="simkd",
    reference="Chen et al., Knowledge Distillation with the Reused Teacher Classifier, CVPR 2022",
    # There is no class target that a label or a temperature could change.
    search_space={
        **{name: setting for name, setting in COMMON.items() if name != "hard_mixing"},
        "alpha": search_space.ALPHA.replace_default(0.0, 0.1, 0.5),
    },
    loss=loss,
    uses_embedding=True,
    prepare=prepare,
    init=init,
    readout=readout,
)
