"""The gradient of one batch of one member, in one piece or in parts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lelp_jax.methods.base import LossInputs
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.train.state import (
    Array,
    Frozen,
    Members,
    MemberState,
    Params,
    StepLog,
    StepSpec,
)

# What a member's seed is used for in a step; `step` has the other uses.
_DROPOUT, _NOISE, _LOSS = 1, 2, 3


class Batch(NamedTuple):
    """What a member sees in one step, or in a part of it.

    Attributes:
        inputs: [batch, features...].
        label: Class, [batch] int32; -1 where unknown.
        weight: Weight in the loss, [batch] float32.
        teacher_logits: [batch, classes], or None.
        teacher_embedding: [batch, dims], or None.
        scores: Pseudo-subclass scores, [batch, classes, subclasses], or None.
        position: Which rows of its group these are, [batch] int32.
    """

    inputs: jax.Array
    label: jax.Array
    weight: jax.Array
    teacher_logits: jax.Array | None
    teacher_embedding: jax.Array | None
    scores: jax.Array | None
    position: jax.Array


def answers(
    spec: StepSpec,
    frozen: Frozen,
    batch: jax.Array,
    label: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns what the frozen teacher says of a batch; no gradient passes.

    Args:
        spec: The program.
        frozen: Teacher and projection of the member.
        batch: [batch, features...].
        label: Class, [batch] int32; -1 where unknown.

    Returns:
        Logits, [batch, classes], embedding, [batch, dims], and scores, [batch, classes, subclasses]
        float32, or None without a projection. As in the scores of the rows none is NaN, and in
        every class one is finite.
    """
    assert spec.teacher is not None
    outputs = spec.teacher.apply({"params": frozen.teacher}, batch, train=False)
    logits, embedding = jax.lax.stop_gradient((outputs.logits, outputs.embedding))
    if frozen.projection is None:
        return logits, embedding, None
    # A noisy input is no row of the data set.
    rows = EmbeddedRows(embedding, jnp.full(len(batch), -1), label)  # type: ignore[arg-type]
    scores = jnp.asarray(frozen.projection.scores(rows), jnp.float32)
    # Far out, squared distances overflow: where the scores of a class say nothing, its
    # pseudo-subclasses share alike. A teacher that is not finite still shows, by its logits.
    tells = jnp.isfinite(scores.max(axis=-1, keepdims=True))
    alike = jnp.where(frozen.projection.column_mask, 0.0, -jnp.inf)
    return logits, embedding, jnp.where(tells, scores, alike)


def of_batch(
    spec: StepSpec,
    state: MemberState,
    member: Members,
    step: jax.Array,
    batch: Batch,
    constants: Mapping[str, Array],
    frozen: Frozen | None,
) -> tuple[Params, StepLog, Any]:
    """Returns the gradient of the batch's mean loss, the loss, and the method's state after it.

    With `spec.accumulate` above 1 the batch is cut into so many parts of equal size, and
    their gradients are added up: for a loss that is a mean over examples this is the gradient of
    the whole batch. A term of the whole batch (`rkd`, `cka`) sees one part at a time instead. The
    method's own state is handed from part to part; random keys differ between the parts.

    Args:
        spec: The program.
        state: The member's state.
        member: Its hyperparameters, without the member axis.
        step: The step's number from 0.
        batch: What it sees.
        constants: The method's other arrays, of its group.
        frozen: The teacher of its group, for a program that asks it.
    """
    # Of the whole batch, so that the gradients of its parts add up to that of its mean.
    divisor = jnp.maximum(jnp.sum(batch.weight), jnp.finfo(jnp.float32).tiny)

    def of_part(part: Batch, method: Any, *number: jax.Array) -> tuple[Params, StepLog, Any]:
        def key(use: int) -> jax.Array:
            key = jax.random.key(member.seed)
            key = jax.random.fold_in(jax.random.fold_in(key, use), step)
            return functools.reduce(jax.random.fold_in, number, key)

        part = _disturbed(spec, part, key(_NOISE))
        if spec.teacher is not None:
            assert frozen is not None
            part = _answered(spec, part, frozen)

        def share_of_mean(params: Params) -> tuple[jax.Array, tuple[StepLog, Any]]:
            outputs = spec.model.apply(
                {"params": params.network}, part.inputs, train=True, rngs={"dropout": key(_DROPOUT)}
            )
            seen = LossInputs(
                logits=outputs.logits,
                label=part.label,
                teacher_logits=part.teacher_logits,
                scores=part.scores,
                embedding=outputs.embedding,
                teacher_embedding=part.teacher_embedding,
                extra=params.extra,
                state=method,
                position=part.position,
                progress=step / spec.steps,
                key=key(_LOSS),
            )
            result = spec.loss(seen, constants, member.hyperparameters)
            log = StepLog(jnp.sum(result.per_example * part.weight), jnp.sum(part.weight))
            return log.total / divisor, (log, result.state)

        gradient, (log, method) = jax.grad(share_of_mean, has_aux=True)(state.params)
        return gradient, log, method

    if spec.accumulate == 1:
        return of_part(batch, state.method)

    def add_part(
        sums: tuple[Params, StepLog, Any], part: tuple[Batch, jax.Array]
    ) -> tuple[tuple[Params, StepLog, Any], None]:
        rows, number = part
        gradient, log, method = of_part(rows, sums[2], number)
        gradient, log = jax.tree.map(jnp.add, sums[:2], (gradient, log))
        return (gradient, log, method), None

    # Every so-manieth row: of a batch that several devices share, each keeps its own rows.
    parts = jax.tree.map(
        lambda array: jnp.moveaxis(array.reshape(-1, spec.accumulate, *array.shape[1:]), 1, 0),
        batch,
    )
    nothing = jnp.zeros((), jnp.float32)
    start = (jax.tree.map(jnp.zeros_like, state.params), StepLog(nothing, nothing), state.method)
    return jax.lax.scan(add_part, start, (parts, jnp.arange(spec.accumulate)))[0]


def _disturbed(spec: StepSpec, part: Batch, key: jax.Array) -> Batch:
    if not spec.input_noise:
        return part
    noise = jax.random.normal(key, part.inputs.shape, part.inputs.dtype)
    return part._replace(inputs=part.inputs + spec.input_noise * noise)


def _answered(spec: StepSpec, part: Batch, frozen: Frozen) -> Batch:
    logits, embedding, scores = answers(spec, frozen, part.inputs, part.label)
    return part._replace(
        teacher_logits=logits,
        teacher_embedding=embedding,
        scores=part.scores if scores is None else scores,
    )
