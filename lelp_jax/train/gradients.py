"""The gradient of one batch of one member, in one piece or in parts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lelp_jax.augmentation.images import augment_images
from lelp_jax.methods.base import Hyperparameters, LossInputs, TeacherRows
from lelp_jax.models import variables
from lelp_jax.models.pixels import scale_pixels
from lelp_jax.models.variables import Variables
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
_DROPOUT, _NOISE, _LOSS, _AUGMENTATION = 1, 2, 3, 6


class Batch(NamedTuple):
    """What a member sees in one step, or in a part of it.

    Attributes:
        inputs: [batch, features...].
        label: Class, [batch] int32; -1 where unknown.
        weight: Weight in the loss, [batch] float32.
        teacher_logits: [batch, classes], or None.
        teacher_embedding: [batch, dims], or None.
        target: What the method's `targets` computed for the rows, [batch, outputs]; None for
            methods without, and while the teacher has not answered yet.
        scores: Pseudo-subclass scores that do not follow from the teacher's answers in the step,
            [batch, classes, subclasses], or None.
        position: Which rows of its group these are, [batch] int32.
    """

    inputs: jax.Array
    label: jax.Array
    weight: jax.Array
    teacher_logits: jax.Array | None
    teacher_embedding: jax.Array | None
    target: jax.Array | None
    scores: jax.Array | None
    position: jax.Array


class Carried(NamedTuple):
    """What one part of a batch leaves to the next.

    Attributes:
        method: The method's own state, or None.
        statistics: Running averages of the network, or None.
    """

    method: Any
    statistics: Any


class Fixed(NamedTuple):
    """What is the same for all rows that a member sees in one step.

    Attributes:
        step: The step's number from 0, [] int32.
        constants: The method's arrays, of the member's group.
        frozen: The teacher of its group, for a program that asks it in every step, or None.
    """

    step: jax.Array
    constants: Mapping[str, Array]
    frozen: Frozen | None


def ask_teacher(
    spec: StepSpec,
    frozen: Frozen,
    batch: jax.Array,
    label: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Computes what the frozen teacher says of a batch; no gradient passes.

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
    outputs = variables.predict(spec.teacher, frozen.teacher, batch)
    logits, embedding = jax.lax.stop_gradient((outputs.logits, outputs.embedding))
    if frozen.projection is None:
        return logits, embedding, None
    # A noisy input is not a row of the data set, so it has no index.
    rows = EmbeddedRows(embedding, jnp.full(len(batch), -1), label)  # type: ignore[arg-type]
    scores = jnp.asarray(frozen.projection.scores(rows), jnp.float32)
    # Far out, squared distances overflow: where the scores of a class say nothing, its
    # pseudo-subclasses share alike. A teacher that is not finite still shows, by its logits.
    tells = jnp.isfinite(scores.max(axis=-1, keepdims=True))
    alike = jnp.where(frozen.projection.column_mask, 0.0, -jnp.inf)
    return logits, embedding, jnp.where(tells, scores, alike)


def batch_gradient(
    spec: StepSpec, state: MemberState, member: Members, batch: Batch, fixed: Fixed
) -> tuple[Params, StepLog, Carried]:
    """Computes the gradient of the batch's mean loss, the loss, and what else the batch changes.

    With `spec.accumulate` above 1 the batch is cut into that many parts of equal size, and their
    gradients are added up: for a loss that is a mean over examples this is the gradient of the
    whole batch. A term of the whole batch (`rkd`, `cka`) and batch normalization see one part at a
    time instead. The method's own state and running averages are passed from part to part; random
    keys differ between the parts.

    Args:
        spec: The program.
        state: The member's state.
        member: Its hyperparameters, without the member axis.
        batch: The rows that it sees.
        fixed: What is the same for all of them.
    """
    # Of the whole batch, so that the gradients of its parts add up to that of its mean.
    divisor = jnp.maximum(jnp.sum(batch.weight), jnp.finfo(jnp.float32).tiny)

    def part_gradient(
        part: Batch, carried: Carried, *number: jax.Array
    ) -> tuple[Params, StepLog, Carried]:
        def make_key(use: int) -> jax.Array:
            key = jax.random.key(member.seed)
            key = jax.random.fold_in(jax.random.fold_in(key, use), fixed.step)
            return functools.reduce(jax.random.fold_in, number, key)

        # The inputs change first: a teacher that is asked in every step sees them as they are now.
        part = augment(spec, part, make_key(_AUGMENTATION))
        part = add_input_noise(spec, part, make_key(_NOISE))
        if spec.teacher is not None:
            part = add_teacher_outputs(spec, part, fixed, member.hyperparameters)

        def share_of_mean(params: Params) -> tuple[jax.Array, tuple[StepLog, Carried]]:
            outputs, statistics = variables.predict_in_training(
                spec.model,
                Variables(params.network, carried.statistics),
                part.inputs,
                make_key(_DROPOUT),
            )
            seen = LossInputs(
                logits=outputs.logits,
                label=part.label,
                teacher_logits=part.teacher_logits,
                target=part.target,
                embedding=outputs.embedding,
                teacher_embedding=part.teacher_embedding,
                extra=params.extra,
                state=carried.method,
                position=part.position,
                progress=fixed.step / spec.steps,
                key=make_key(_LOSS),
            )
            result = spec.loss(seen, fixed.constants, member.hyperparameters)
            log = StepLog(jnp.sum(result.per_example * part.weight), jnp.sum(part.weight))
            return log.total / divisor, (log, Carried(result.state, statistics))

        gradient, (log, carried) = jax.grad(share_of_mean, has_aux=True)(trained)
        return gradient, log, carried

    trained = state.params.trained
    carried = Carried(state.method, state.params.statistics)
    if spec.accumulate == 1:
        return part_gradient(batch, carried)

    def add_part(
        sums: tuple[Params, StepLog, Carried], part: tuple[Batch, jax.Array]
    ) -> tuple[tuple[Params, StepLog, Carried], None]:
        rows, number = part
        gradient, log, carried = part_gradient(rows, sums[2], number)
        gradient, log = jax.tree.map(jnp.add, sums[:2], (gradient, log))
        return (gradient, log, carried), None

    # A part takes every `accumulate`-th row, so that a batch that is sharded over devices is split
    # without moving rows between them.
    parts = jax.tree.map(
        lambda array: jnp.moveaxis(array.reshape(-1, spec.accumulate, *array.shape[1:]), 1, 0),
        batch,
    )
    nothing = jnp.zeros((), jnp.float32)
    start = (jax.tree.map(jnp.zeros_like, trained), StepLog(nothing, nothing), carried)
    return jax.lax.scan(add_part, start, (parts, jnp.arange(spec.accumulate)))[0]


def augment(spec: StepSpec, part: Batch, key: jax.Array) -> Batch:
    """Changes images at random, where the program does so, and scales their pixels.

    Args:
        spec: The program.
        part: The rows; images are [batch, height, width, channels] uint8.
        key: Random key of the changes.
    """
    images = part.inputs
    if spec.augmentation.changes_images:
        images = augment_images(spec.augmentation, jax.random.split(key, len(images)), images)
    return part._replace(inputs=scale_pixels(images))


def add_input_noise(spec: StepSpec, part: Batch, key: jax.Array) -> Batch:
    """Adds Gaussian noise to the inputs, where the program has some.

    Args:
        spec: The program.
        part: The rows.
        key: Random key of the noise.
    """
    if not spec.input_noise:
        return part
    noise = jax.random.normal(key, part.inputs.shape, part.inputs.dtype)
    return part._replace(inputs=part.inputs + spec.input_noise * noise)


def add_teacher_outputs(
    spec: StepSpec, part: Batch, fixed: Fixed, hyperparameters: Hyperparameters
) -> Batch:
    """Adds what the teacher says of the inputs as they are now, noise included, and the targets.

    Args:
        spec: A program with a teacher.
        part: The rows.
        fixed: With the frozen teacher.
        hyperparameters: Those of the member.
    """
    assert fixed.frozen is not None
    logits, embedding, scores = ask_teacher(spec, fixed.frozen, part.inputs, part.label)
    scores = part.scores if scores is None else scores
    target = None
    if spec.targets is not None:
        assert scores is not None
        target = spec.targets(TeacherRows(part.label, logits, scores), hyperparameters)
    return part._replace(teacher_logits=logits, teacher_embedding=embedding, target=target)
