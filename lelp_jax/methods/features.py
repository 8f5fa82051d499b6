"""What the methods that learn from the teacher's embedding share.

Their loss is `(1 - alpha) soft + alpha hard + w loss_weight feature`: plain distillation (with
alpha = 1 the label's cross-entropy) plus a term of the embeddings. The warm-up weight w acts on
that term alone.

A method that regresses the embedding sees it centred and divided by one number, so that its
`loss_weight` means the same for every teacher.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Hyperparameter, Value
from lelp_jax.methods import kd
from lelp_jax.methods.base import (
    COMMON,
    Constants,
    Dims,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Params,
    Seen,
    label_cross_entropy,
    warmup_weight,
)

# What all of them may be told, beside their own `loss_weight`.
SEARCH_SPACE: Mapping[str, Hyperparameter] = {**COMMON, "temperature": search_space.TEMPERATURE}

# Rows that are read at a time where an embedding is turned into float64.
_PART = 65536


def slice_rows(rows: int) -> Iterator[slice]:
    """Cuts rows into slices small enough for a copy in float64."""
    return (slice(start, start + _PART) for start in range(0, rows, _PART))


def prepare(seen: Seen, static: Mapping[str, Value]) -> dict[str, np.ndarray]:
    """Computes the teacher's mean and spread over the rows that a student may see.

    Args:
        seen: Those rows; their `teacher_embedding` is read.
        static: Not used.

    Returns:
        `center` [teacher dims] float32, and `spread` [] float32, the root of the variance that a
        dim has on average; 1 where all rows are equal up to rounding. One number for all dims
        keeps the embedding's shape, and dims that hardly vary do not become loud.
    """
    del static
    embedding = seen.teacher_embedding
    assert embedding is not None
    rows = len(embedding)
    center = sum(embedding[part].sum(axis=0, dtype=np.float64) for part in slice_rows(rows)) / rows
    square = sum(
        np.square(embedding[part].astype(np.float64) - center).sum() for part in slice_rows(rows)
    )
    variance = square / embedding.size
    constant = variance <= 1e-12 * np.square(center).mean()
    return {
        "center": np.asarray(center, np.float32),
        "spread": np.asarray(1.0 if constant else np.sqrt(variance), np.float32),
    }


def standardize_embedding(inputs: LossInputs, constants: Constants) -> jax.Array:
    """Standardises the teacher's embedding, `(h - center) / spread`, [batch, teacher dims].

    Args:
        inputs: The batch.
        constants: `center` and `spread` of `prepare`.
    """
    assert inputs.teacher_embedding is not None
    embedding = jax.lax.stop_gradient(inputs.teacher_embedding).astype(jnp.float32)
    return (embedding - constants["center"]) / constants["spread"]


def student_embedding(inputs: LossInputs) -> jax.Array:
    """Casts the student's embedding to float32, [batch, dims] float32."""
    assert inputs.embedding is not None
    return inputs.embedding.astype(jnp.float32)


def init_regressor(key: jax.Array, dims: Dims) -> Params:
    """Initialises a linear map from the student's to the teacher's embedding."""
    return init_linear_map(key, dims.embedding, dims.teacher_embedding)


def init_linear_map(key: jax.Array, inputs: int, outputs: int) -> Params:
    """Initialises `kernel` [inputs, outputs] and `bias` [outputs]."""
    return nn.Dense(outputs).init(key, jnp.zeros((1, inputs)))["params"]


def apply_linear_map(params: Params, rows: jax.Array) -> jax.Array:
    """Computes `rows @ kernel + bias`, [batch, outputs]."""
    return rows @ params["kernel"] + params["bias"]


def normalize_rows(rows: jax.Array) -> jax.Array:
    """Divides rows by their length; 0, without a gradient, below a length of 1e-6."""
    square = jnp.square(rows).sum(axis=-1, keepdims=True)
    long = square > 1e-12
    return jnp.where(long, rows * jax.lax.rsqrt(jnp.where(long, square, 1.0)), 0.0)


def center_rows(rows: jax.Array) -> jax.Array:
    """Centres rows and scales them to a mean square of 1; 0 where they hardly differ.

    For terms that know no scale: it passes no gradient. Rows differ where their variance is above
    1e-10 of their mean square, which rounding stays below.

    Args:
        rows: [batch, dims].
    """
    rows = rows.astype(jnp.float32)
    offset = rows - rows.mean(axis=0)
    raw, square = jax.lax.stop_gradient((jnp.square(rows).mean(), jnp.square(offset).mean()))
    differ = square > 1e-10 * raw
    return jnp.where(differ, offset * jax.lax.rsqrt(jnp.where(differ, square, 1.0)), 0.0)


def combine_with_distillation(
    inputs: LossInputs,
    hyperparameters: Hyperparameters,
    feature: jax.Array,
    *,
    distilled: jax.Array | float = 1.0,
) -> LossOutput:
    """Computes `distilled ((1 - alpha) soft + alpha hard) + warmup_weight loss_weight feature`.

    Args:
        inputs: The batch; its state is passed on unchanged.
        hyperparameters: Of `SEARCH_SPACE`, and `loss_weight`.
        feature: The term of the embeddings, [batch].
        distilled: Weight of what is learnt from probabilities and labels, [].
    """
    soft = kd.soft_loss(inputs, hyperparameters)
    hard = label_cross_entropy(inputs.logits, inputs.label, hyperparameters["label_smoothing"])
    answer = (1 - hyperparameters["alpha"]) * soft + hyperparameters["alpha"] * hard
    weight = warmup_weight(inputs, hyperparameters) * hyperparameters["loss_weight"]
    terms = {"soft": soft, "hard": hard, "feature": feature}
    return LossOutput(distilled * answer + weight * feature, terms, inputs.state)
