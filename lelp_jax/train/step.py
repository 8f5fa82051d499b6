"""Pure training and prediction steps of one member, and of a fleet of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lelp_jax.methods.base import LossInputs
from lelp_jax.projection.base import Projection, Rows
from lelp_jax.train import optimizer
from lelp_jax.train.state import (
    Array,
    FleetState,
    Frozen,
    GroupRows,
    Members,
    MemberState,
    Params,
    StepLog,
    StepSpec,
)

# What a member's seed is used for, besides the initialisation of the network.
_DROPOUT, _NOISE, _LOSS, _EXTRA, _STATE = 1, 2, 3, 4, 5


def init_member(spec: StepSpec, example: jax.Array, seed: jax.Array) -> MemberState:
    """Returns a new member.

    Args:
        spec: The program.
        example: Inputs of one row, [1, features...].
        seed: Seed of the initialisation, [] uint32.
    """
    key = jax.random.key(seed)
    extra, method = (
        make(jax.random.fold_in(key, use), spec.dims) if make and spec.dims else None
        for make, use in ((spec.init, _EXTRA), (spec.init_state, _STATE))
    )
    params = Params(spec.model.init(key, example)["params"], extra)
    # The numbers given here do not enter the state, only the structure of the rule does.
    opt_state = optimizer.build(spec.optimizer, spec.steps, 0.0, 0.0).init(params)
    return MemberState(params, opt_state, method, jnp.zeros((), bool))


def init_fleet(spec: StepSpec, example: jax.Array, seeds: jax.Array) -> FleetState:
    """Returns a new fleet; one member per seed, [members] uint32."""
    members = jax.vmap(lambda seed: init_member(spec, example, seed))(seeds)
    return FleetState(jnp.zeros((), jnp.int32), members)


def answers(
    spec: StepSpec,
    frozen: Frozen,
    constants: Mapping[str, Array],
    batch: jax.Array,
    label: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Returns what the frozen teacher says of a batch; no gradient passes.

    Args:
        spec: The program.
        frozen: Teacher and projection of the member.
        constants: The method's other arrays; `column_mask` where there is a projection.
        batch: [batch, features...].
        label: Class, [batch] int32; -1 where unknown.

    Returns:
        Logits, [batch, classes], embedding, [batch, dims], and scores, [batch, classes, subclasses]
        float32, or None without `spec.score`. As in the scores of the rows none is NaN, and in
        every class one is finite.
    """
    assert spec.teacher is not None
    outputs = spec.teacher.apply({"params": frozen.teacher}, batch, train=False)
    logits, embedding = jax.lax.stop_gradient((outputs.logits, outputs.embedding))
    if spec.score is None:
        return logits, embedding, None
    assert frozen.projection is not None
    mask = constants["column_mask"]
    # A noisy input is no row of the data set.
    rows = Rows(embedding, jnp.full(len(batch), -1), label)  # type: ignore[arg-type]
    projection = Projection("", frozen.projection, mask)  # type: ignore[arg-type]
    scores = jnp.asarray(spec.score(projection, rows), jnp.float32)
    # Far out, squared distances overflow: where the scores of a class say nothing, its
    # pseudo-subclasses share alike. A teacher that is not finite still shows, by its logits.
    tells = jnp.isfinite(scores.max(axis=-1, keepdims=True))
    return logits, embedding, jnp.where(tells, scores, jnp.where(mask, 0.0, -jnp.inf))


def train_member(
    spec: StepSpec,
    state: MemberState,
    member: Members,
    step: jax.Array,
    rows: GroupRows,
    inputs: jax.Array,
    position: jax.Array,
    frozen: Frozen | None = None,
) -> tuple[MemberState, StepLog]:
    """Does one step of one member.

    Args:
        spec: The program.
        state: Its state.
        member: Its settings, without the member axis.
        step: The step's number from 0.
        rows: All groups of rows.
        inputs: Inputs of the whole data set, [all rows, features...].
        position: Which rows of its group the member sees, [batch] int32.
        frozen: The teacher of its group, for a program that asks it.

    Returns:
        The new state and the loss.
    """
    group = member.group
    label, weight = rows.label[group, position], rows.weight[group, position]
    batch = inputs[rows.row[group, position]]
    teacher_logits, teacher_embedding, scores = jax.tree.map(
        lambda array: array[group, position],
        (rows.teacher_logits, rows.teacher_embedding, rows.scores),
    )
    constants = {name: array[group] for name, array in rows.constants.items()}

    def key(use: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(member.seed), use), step)

    if spec.input_noise:
        noise = jax.random.normal(key(_NOISE), batch.shape, batch.dtype)
        batch = batch + spec.input_noise * noise
    if spec.teacher is not None:
        assert frozen is not None
        teacher_logits, teacher_embedding, fresh = answers(spec, frozen, constants, batch, label)
        scores = scores if fresh is None else fresh

    def mean_loss(params: Params) -> tuple[jax.Array, tuple[StepLog, Any]]:
        outputs = spec.model.apply(
            {"params": params.network}, batch, train=True, rngs={"dropout": key(_DROPOUT)}
        )
        seen = LossInputs(
            logits=outputs.logits,
            label=label,
            teacher_logits=teacher_logits,
            scores=scores,
            embedding=outputs.embedding,
            teacher_embedding=teacher_embedding,
            extra=params.extra,
            state=state.method,
            position=position,
            progress=step / spec.steps,
            key=key(_LOSS),
        )
        result = spec.loss(seen, constants, member.numeric)
        log = StepLog(jnp.sum(result.per_example * weight), jnp.sum(weight))
        mean = log.total / jnp.maximum(log.weight, jnp.finfo(jnp.float32).tiny)
        return mean, (log, result.state)

    gradient, (log, method) = jax.grad(mean_loss, has_aux=True)(state.params)
    rule = optimizer.build(
        spec.optimizer, spec.steps, member.numeric["learning_rate"], member.numeric["weight_decay"]
    )
    updates, opt_state = rule.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    finite = jnp.isfinite(log.total) & jnp.isfinite(optax.global_norm(gradient))
    diverged = state.diverged | (~finite & (step < spec.steps))
    keep = diverged | (step >= spec.steps)
    params, opt_state, method = jax.tree.map(
        lambda new, old: jnp.where(keep, old, new),
        (params, opt_state, method),
        (state.params, state.opt_state, state.method),
    )
    return MemberState(params, opt_state, method, diverged), log


def train_fleet(
    spec: StepSpec,
    state: FleetState,
    members: Members,
    rows: GroupRows,
    inputs: jax.Array,
    positions: jax.Array,
) -> tuple[FleetState, StepLog]:
    """Does several steps of all members in one program.

    Args:
        spec: The program.
        state: State of the fleet.
        members: What distinguishes its members.
        rows: All groups of rows.
        inputs: Inputs of the whole data set, [all rows, features...].
        positions: Rows seen, [steps, members, batch] int32.

    Returns:
        The new state, and the losses, [steps, members].
    """
    # Once for all steps: members of one group read the same teacher, each from a copy of its own.
    frozen = jax.tree.map(lambda array: array[members.group], rows.frozen)

    def one_step(state: FleetState, position: jax.Array) -> tuple[FleetState, StepLog]:
        def one_member(
            state_: MemberState, member: Members, position: jax.Array, frozen: Frozen | None
        ) -> tuple[MemberState, StepLog]:
            return train_member(spec, state_, member, state.step, rows, inputs, position, frozen)

        new, log = jax.vmap(one_member)(state.members, members, position, frozen)
        return FleetState(state.step + 1, new), log

    return jax.lax.scan(one_step, state, positions)


def predict_fleet(
    spec: StepSpec,
    params: Params,
    numeric: Mapping[str, jax.Array],
    constants: Mapping[str, Any],
    inputs: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns class logits, [members, batch, classes], and embeddings, [members, batch, dims].

    Args:
        spec: The program.
        params: Parameters with a leading member axis.
        numeric: Traced settings, [members] each.
        constants: The method's arrays, each [members, ...].
        inputs: [batch, features...].
    """

    def one_member(
        params: Params, numeric: Mapping[str, jax.Array], constants: Mapping[str, Any]
    ) -> tuple[jax.Array, jax.Array]:
        outputs = spec.model.apply({"params": params.network}, inputs, train=False)
        return spec.readout(outputs, params.extra, constants, numeric), outputs.embedding

    return jax.vmap(one_member)(params, numeric, constants)
