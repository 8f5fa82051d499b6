"""Contrastive representation distillation (Tian et al., arXiv 1910.10699).

Student and teacher each map a row to a unit vector of 128 numbers. Of every row the last vectors
are remembered, and the student's vector has to tell the teacher's remembered one of the same row
from those of other rows, and the other way about.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.methods import features
from lelp_jax.methods.base import (
    Constants,
    Dims,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    Params,
    Seen,
)

# As in the authors' code.
_WIDTH = 128
_NEGATIVES = 16384
_MOMENTUM = 0.5
# With at most so many remembered rows per negative, all are compared with in one product.
_DENSE = 16


def prepare(seen: Seen, static: Mapping[str, Value]) -> dict[str, np.ndarray]:
    """Prepares what the loss draws negatives from, and the teacher's centre and spread.

    Args:
        seen: The rows that a student may see.
        static: `negatives`: "other_class", rows of another class than the row's own (which is the
            teacher's guess where it has no label), or "any", all rows but itself.

    Returns:
        `center` and `spread` of `features.prepare`; `order` [capacity] int32, the rows sorted by
        class; `start` and `stop`, each [capacity] int32, the part of `order` that holds no
        negatives of a row; `count` [] int32, the number of rows.

    Raises:
        UserError: A row has no negative.
    """
    rows = len(seen.label)
    guess = np.asarray(seen.teacher_logits).argmax(axis=1)
    label = np.where(seen.label >= 0, seen.label, guess)
    order = np.argsort(label, kind="stable")
    if static["negatives"] == "any":
        start = np.argsort(order)
        stop = start + 1
    else:
        start, stop = (np.searchsorted(label[order], label, side) for side in ("left", "right"))
    if (stop - start == rows).any():
        if rows == 1:
            raise UserError("a student may see one row only, so it has no negative; add rows")
        raise UserError(
            f"negatives={static['negatives']!r} finds none, as all {rows} rows that a student may "
            f"see are of class {label[0]}; set it to 'any'"
        )

    def padded(values: np.ndarray) -> np.ndarray:
        return np.pad(values, (0, seen.capacity - rows)).astype(np.int32)

    return {
        **features.prepare(seen, static),
        "order": padded(order),
        "start": padded(start),
        "stop": padded(stop),
        "count": np.asarray(rows, np.int32),
    }


def init(key: jax.Array, dims: Dims) -> Params:
    """Initialises the linear maps of both sides, `student` and `teacher`."""
    of_student, of_teacher = jax.random.split(key)
    return {
        "student": features.init_linear_map(of_student, dims.embedding, _WIDTH),
        "teacher": features.init_linear_map(of_teacher, dims.teacher_embedding, _WIDTH),
    }


def init_state(key: jax.Array, dims: Dims) -> dict[str, jax.Array]:
    """Initialises the memory with random vectors.

    Args:
        key: Random key.
        dims: `rows` of them.

    Returns:
        `student` and `teacher`, each [rows, 128], and `log_normalizer` [2], the student's first; 0
        until the first batch has set it.
    """
    bound = (_WIDTH / 3) ** -0.5
    both = jax.random.uniform(key, (2, dims.rows, _WIDTH), minval=-bound, maxval=bound)
    return {"student": both[0], "teacher": both[1], "log_normalizer": jnp.zeros(2)}


def num_negatives(rows: int) -> int:
    """Computes how many negatives a row is compared with: at most the number of other rows."""
    return min(_NEGATIVES, rows - 1)


def draw(key: jax.Array, position: jax.Array, constants: Constants) -> jax.Array:
    """Draws negatives evenly and with replacement, [batch, negatives] int32.

    Args:
        key: Random key.
        position: Rows of the batch, [batch] int32.
        constants: Of `prepare`.
    """
    start, stop = constants["start"][position, None], constants["stop"][position, None]
    skipped = stop - start
    shape = (len(position), num_negatives(len(constants["order"])))
    # Even up to one part in 2^32 / rows, at half the random numbers of `randint`.
    allowed = (constants["count"] - skipped).astype(jnp.uint32)
    place = (jax.random.bits(key, shape, jnp.uint32) % allowed).astype(jnp.int32)
    return constants["order"][place + jnp.where(place >= start, skipped, 0)]


def count_repeats(drawn: jax.Array, rows: int) -> jax.Array:
    """Counts how often each row was drawn, [batch, rows] float32.

    Counts are exact, so the order in which a device adds them does not matter; the gradient of a
    gather of scores would depend on it.

    Args:
        drawn: [batch, negatives] int32.
        rows: Number of rows.
    """
    batch = jnp.arange(len(drawn))[:, None]
    return jnp.zeros((len(drawn), rows)).at[batch, drawn].add(1.0)


def noise_contrast(
    positive: jax.Array, negative: jax.Array, weight: jax.Array, log_noise: jax.Array
) -> jax.Array:
    """Computes `-log(P / (P + m Pn)) - sum(weight log(m Pn / (P + m Pn)))`, [batch] (section 3.1).

    Args:
        positive: log P of the row itself, [batch].
        negative: log P of other rows, [batch, others].
        weight: How often each of these was drawn, [batch, others].
        log_noise: `log(m Pn)`, with m the number of draws, [].
    """
    others = weight * jax.nn.softplus(negative - log_noise)
    return jax.nn.softplus(log_noise - positive) + others.sum(axis=-1)


def similarities(
    vectors: jax.Array, memory: jax.Array, position: jax.Array, drawn: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Computes inner products of a batch with the memory of its own rows and of others.

    Args:
        vectors: [batch, 128].
        memory: [rows, 128].
        position: Rows of the batch, [batch] int32.
        drawn: Negatives, [batch, negatives] int32; None compares with every row.

    Returns:
        [batch], and [batch, negatives] or [batch, rows].
    """
    own = jnp.sum(memory[position] * vectors, axis=-1)
    if drawn is None:
        return own, vectors @ memory.T

    # The remembered vectors of all negatives of a batch take gigabytes: one row at a time.
    @jax.checkpoint
    def of_row(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        return memory[row[0]] @ row[1]

    return own, jax.lax.map(of_row, (drawn, vectors))


def normalizer(
    positive: jax.Array, negative: jax.Array, weight: jax.Array, count: jax.Array
) -> jax.Array:
    """Computes log Z of a batch, the log of the rows' number times the mean of `exp(score)`, [].

    Args:
        positive: Scores of the rows themselves, [batch].
        negative: Scores of other rows, [batch, others].
        weight: How often each of these was drawn, [batch, others].
        count: Number of rows.
    """
    summed = jnp.logaddexp(jax.nn.logsumexp(positive), jax.nn.logsumexp(negative, b=weight))
    return summed - jnp.log(len(positive) + weight.sum()) + jnp.log(count)


def remember(memory: jax.Array, position: jax.Array, vectors: jax.Array) -> jax.Array:
    """Updates the memory with a batch: half old and half new, of unit length, [rows, 128].

    A row that is in the batch several times is moved once, towards the mean of its vectors.

    Args:
        memory: [rows, 128].
        position: Rows of the batch, [batch] int32.
        vectors: Their new unit vectors, [batch, 128].
    """
    same = position[:, None] == position
    mean = same.astype(vectors.dtype) @ vectors / same.sum(axis=1, keepdims=True)
    new = features.normalize_rows(_MOMENTUM * memory[position] + (1 - _MOMENTUM) * mean)
    # Copies of a row write the very same numbers, whichever of them comes last.
    return memory.at[position].set(new[same.argmax(axis=1)])


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes distillation and the contrast of both sides, [batch].

    P is `exp(<v, memory> / tau) / Z`; the Z of either side is set by the first batch and kept. The
    memory passes no gradient; its new vectors are part of the state returned.

    Args:
        inputs: The batch; `extra` and `state` as `init` and `init_state` made them.
        constants: Of `prepare`.
        hyperparameters: Of `features.SEARCH_SPACE`, `loss_weight` and `contrast_temperature`.
    """
    assert inputs.extra is not None
    assert inputs.key is not None
    assert inputs.position is not None
    state: Mapping[str, jax.Array] = jax.lax.stop_gradient(inputs.state)
    rows, count = len(constants["order"]), constants["count"].astype(jnp.float32)
    number = num_negatives(rows)
    drawn = draw(inputs.key, inputs.position, constants)
    dense = rows <= _DENSE * number
    weight = count_repeats(drawn, rows) if dense else jnp.ones(drawn.shape)
    others = None if dense else drawn
    embedding = {
        "student": features.student_embedding(inputs),
        "teacher": features.standardize_embedding(inputs, constants),
    }
    vectors = {
        name: features.normalize_rows(features.apply_linear_map(inputs.extra[name], value))
        for name, value in embedding.items()
    }
    contrast, log_normalizers = jnp.zeros(len(drawn)), []
    for index, (name, other) in enumerate((("student", "teacher"), ("teacher", "student"))):
        positive, negative = (
            similarity / hyperparameters["contrast_temperature"]
            for similarity in similarities(vectors[name], state[other], inputs.position, others)
        )
        known = state["log_normalizer"][index]
        first = jax.lax.stop_gradient(normalizer(positive, negative, weight, count))
        log_normalizer = jnp.where(known == 0, first, known)
        log_noise = jnp.log(number / count)
        contrast += noise_contrast(
            positive - log_normalizer, negative - log_normalizer, weight, log_noise
        )
        log_normalizers.append(log_normalizer)
    new = {
        name: remember(state[name], inputs.position, jax.lax.stop_gradient(vectors[name]))
        for name in vectors
    }
    result = features.combine_with_distillation(inputs, hyperparameters, contrast)
    return result._replace(state={**new, "log_normalizer": jnp.stack(log_normalizers)})


METHOD = Method(
    name="crd",
    reference="Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020",
    search_space={
        **features.SEARCH_SPACE,
        "loss_weight": search_space.LOSS_WEIGHT.replace_default(0.2, 0.8),
        "contrast_temperature": search_space.CONTRAST_TEMPERATURE,
        "negatives": search_space.NEGATIVES,
    },
    loss=loss,
    uses_embedding=True,
    corrigible=True,
    prepare=prepare,
    init=init,
    init_state=init_state,
)
