"""The gradient of one batch of one member, in one piece or in parts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lelp_jax.methods.base import Hyperparameters, LossInputs, TeacherRows
from lelp_jax.models import variables
from lelp_jax.models.variables import Variables
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.train import perturbation
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
_DROPOUT, _NOISE, _LOSS, _AUGMENTATION, _MIXTURE = 1, 2, 3, 6, 7


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
        view: Seed of the changes of each image, [batch] uint32; None where they are drawn anew.
    """

    inputs: jax.Array
    label: jax.Array
    weight: jax.Array
    teacher_logits: jax.Array | None
    teacher_embedding: jax.Array | None
    target: jax.Array | None
    scores: jax.Array | None
    position: jax.Array
    view: jax.Array | None = None


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
    whole batch. A term of the whole batch (`rkd`, `cka`), batch normalization and mixtures of
    images see one part at a time instead. The method's own state and running averages are passed
    from part to part; random keys differ between the parts.

    The loss of a mixture of two images is that for the label of one and that for the label of the
    other, weighted by their shares. For a loss that is linear in the label's part of the target, as
    cross-entropy is, that is the loss of the mixed target.

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
        inputs = perturbation.augment(spec, part.inputs, make_key(_AUGMENTATION), part.view)
        inputs = perturbation.add_noise(spec, inputs, make_key(_NOISE))
        inputs, mixture = perturbation.mix(spec, inputs, make_key(_MIXTURE))
        part = part._replace(inputs=inputs)
        if spec.teacher is not None:
            part = add_teacher_outputs(spec, part, fixed, member.hyperparameters)
        labels = [(part, part.weight)]
        if mixture is not None:
            partners = take_partners(spec, part, mixture.partner, fixed, member.hyperparameters)
            own = mixture.share
            labels = [(part, own * part.weight), (partners, (1 - own) * partners.weight)]

        def share_of_mean(params: Params) -> tuple[jax.Array, tuple[StepLog, Carried]]:
            outputs, statistics = variables.predict_in_training(
                spec.model,
                Variables(params.network, carried.statistics),
                part.inputs,
                make_key(_DROPOUT),
            )
            results, log = [], StepLog(jnp.float32(0), jnp.float32(0))
            for rows, weight in labels:
                seen = LossInputs(
                    logits=outputs.logits,
                    label=rows.label,
                    teacher_logits=rows.teacher_logits,
                    target=rows.target,
                    embedding=outputs.embedding,
                    teacher_embedding=rows.teacher_embedding,
                    extra=params.extra,
                    state=carried.method,
                    position=rows.position,
                    progress=fixed.step / spec.steps,
                    key=make_key(_LOSS),
                )
                results.append(spec.loss(seen, fixed.constants, member.hyperparameters))
                total = jnp.sum(results[-1].per_example * weight)
                log = StepLog(log.total + total, log.weight + jnp.sum(weight))
            return log.total / divisor, (log, Carried(results[0].state, statistics))

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


def take_partners(
    spec: StepSpec,
    part: Batch,
    partner: jax.Array,
    fixed: Fixed,
    hyperparameters: Hyperparameters,
) -> Batch:
    """Takes what the partners' rows say of mixed images; the teacher said it of the mixture.

    Args:
        spec: The program.
        part: The rows, with mixed images.
        partner: Position in the batch of each row's partner, [batch] int32.
        fixed: With the frozen teacher.
        hyperparameters: Those of the member.
    """
    label, weight, scores = jax.tree.map(
        lambda array: array[partner], (part.label, part.weight, part.scores)
    )
    if fixed.frozen is not None and fixed.frozen.projection is not None:
        scores = part.scores
    taken = part._replace(label=label, weight=weight, scores=scores)
    if spec.teacher is None:
        return taken
    return add_targets(spec, taken, hyperparameters)


def add_targets(spec: StepSpec, part: Batch, hyperparameters: Hyperparameters) -> Batch:
    """Adds the targets of rows for which the teacher has answered.

    Args:
        spec: The program.
        part: The rows.
        hyperparameters: Those of the member.
    """
    if spec.targets is None:
        return part
    assert part.teacher_logits is not None
    assert part.scores is not None
    answers = TeacherRows(part.label, part.teacher_logits, part.scores)
    return part._replace(target=spec.targets(answers, hyperparameters))


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
    part = part._replace(teacher_logits=logits, teacher_embedding=embedding, scores=scores)
    return add_targets(spec, part, hyperparameters)
