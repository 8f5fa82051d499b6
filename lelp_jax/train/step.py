"""Pure training and prediction steps of one member, and of a fleet of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lelp_jax.methods.base import TeacherRows
from lelp_jax.models import variables
from lelp_jax.train import gradients, optimizer, plan
from lelp_jax.train.gradients import Batch, Fixed
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

# What a member's seed is used for, besides the initialisation of the network and the steps.
_EXTRA, _STATE = 4, 5


def init_member(
    spec: StepSpec,
    example: jax.Array,
    seed: jax.Array,
    initial: Mapping[str, Any] | None = None,
) -> MemberState:
    """Initialises a member.

    Args:
        spec: The program.
        example: Inputs of one row, [1, features...].
        seed: Seed of the initialisation, [] uint32.
        initial: Parameters of the network that take the place of fresh ones, a part of its tree.

    Raises:
        ValueError: `initial` does not fit the network.
    """
    key = jax.random.key(seed)
    extra, method = (
        make(jax.random.fold_in(key, use), spec.dims) if make and spec.dims else None
        for make, use in ((spec.init, _EXTRA), (spec.init_state, _STATE))
    )
    network, statistics = variables.initialize(spec.model, key, example)
    if initial is not None:
        network = replace_parameters(network, initial)
    params = Params(network, extra, statistics)
    # The numbers given here do not enter the state, only the structure of the rule does.
    opt_state = optimizer.build(spec.optimizer, spec.steps, 0.0, 0.0).init(params.trained)
    # Copied, not shared: steps give the buffers of both away.
    average = jax.tree.map(jnp.copy, params) if spec.average else None
    return MemberState(params, opt_state, method, jnp.zeros((), bool), average=average)


def replace_parameters(fresh: Mapping[str, Any], initial: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replaces the fresh parameters at the paths of `initial`.

    Args:
        fresh: Nested dict of arrays.
        initial: A part of such a dict, with arrays of the same shapes; they take the type of those
            they replace.

    Raises:
        ValueError: A path is not one of a fresh parameter, or shapes differ.
    """
    return _replace_at(fresh, initial, ())


def _replace_at(fresh: Any, initial: Any, path: tuple[str, ...]) -> Any:
    place = "/".join(path)
    if isinstance(fresh, Mapping) != isinstance(initial, Mapping):
        kinds = [
            "a group" if isinstance(tree, Mapping) else "an array" for tree in (fresh, initial)
        ]
        raise ValueError(
            f"parameter {place!r} is {kinds[0]} of the network, but given as {kinds[1]}"
        )
    if isinstance(fresh, Mapping):
        unknown = sorted(set(initial) - set(fresh))
        if unknown:
            raise ValueError(
                f"no parameter {'/'.join((*path, unknown[0]))!r} in the network; "
                f"known there: {', '.join(sorted(fresh))}"
            )
        return {
            key: _replace_at(value, initial[key], (*path, key)) if key in initial else value
            for key, value in fresh.items()
        }
    if fresh.shape != initial.shape:
        raise ValueError(
            f"parameter {place!r} has shape {fresh.shape} in the network, but {initial.shape} is "
            "given"
        )
    return jnp.asarray(initial, fresh.dtype)


def init_fleet(
    spec: StepSpec,
    example: jax.Array,
    seeds: jax.Array,
    initial: Mapping[str, Any] | None = None,
    group: Array | None = None,
) -> FleetState:
    """Initialises a fleet.

    Args:
        spec: The program.
        example: Inputs of one row, [1, features...].
        seeds: One per member, [members] uint32.
        initial: Parameters of the network that take the place of fresh ones, a part of its tree,
            each [groups, ...].
        group: Which of these a member takes, [members] int32; None without any.

    Raises:
        ValueError: `initial` does not fit the network.
    """

    def one_member(seed: jax.Array, group: Array | None) -> MemberState:
        own = jax.tree.map(lambda array: jnp.asarray(array)[group], initial)
        return init_member(spec, example, seed, own)

    if initial is None:
        group = None
    elif group is None:
        raise ValueError("initial parameters need the group of every member")
    members = jax.vmap(one_member)(seeds, group)
    return FleetState(jnp.zeros((), jnp.int32), members)


def compute_targets(
    spec: StepSpec, rows: GroupRows, members: Members, num_seen: int
) -> jax.Array | None:
    """Computes the targets of all rows for every member, if the steps need not compute them.

    Args:
        spec: The program.
        rows: All groups of rows.
        members: The members; targets depend on their temperature and the like.
        num_seen: How many rows the steps to come see, those seen again counted again.

    Returns:
        [members, rows, outputs] float32; None where the method has no targets, where the teacher
        answers in every step, and where it would be more work or memory than it saves.
    """
    if spec.targets is None or spec.teacher is not None:
        return None
    assert rows.teacher_logits is not None
    assert rows.scores is not None
    targets, answers = spec.targets, (rows.label, rows.teacher_logits, rows.scores)
    numbers = len(members.group) * rows.scores.size // len(rows.scores)
    if not plan.precomputes_targets(rows.label.shape[1], num_seen, numbers):
        return None

    def one_member(member: Members) -> jax.Array:
        own = (jnp.asarray(array)[member.group] for array in answers)
        return targets(TeacherRows(*own), member.hyperparameters)

    result: jax.Array = _for_each(one_member, members)
    return result


def gather_batch(
    spec: StepSpec,
    rows: GroupRows,
    inputs: jax.Array,
    member: Members,
    position: jax.Array,
    targets: jax.Array | None,
) -> Batch:
    """Gathers the rows that a member sees in one step.

    Args:
        spec: The program.
        rows: All groups of rows.
        inputs: Inputs of the whole data set, [all rows, features...].
        member: The member.
        position: Which rows of its group it sees, [batch] int32.
        targets: Those of all rows of its group, [rows, outputs]; None leaves them to this step.
    """
    stored = (rows.label, rows.weight, rows.teacher_logits, rows.teacher_embedding, rows.scores)
    (label, weight, teacher_logits, teacher_embedding, scores), view = jax.tree.map(
        lambda array: array[member.group, position], (stored, rows.view)
    )
    target = None
    if targets is not None:
        target = targets[position]
    elif spec.targets is not None and spec.teacher is None:
        target = spec.targets(TeacherRows(label, teacher_logits, scores), member.hyperparameters)
    return Batch(
        # One gather of the part that is seen; slicing first would copy the table.
        inputs=inputs[rows.row[member.group, position], : spec.length or None],
        label=label,
        weight=weight,
        teacher_logits=teacher_logits,
        teacher_embedding=teacher_embedding,
        target=target,
        scores=scores,
        position=position,
        view=view,
    )


def train_member(
    spec: StepSpec, state: MemberState, member: Members, batch: Batch, fixed: Fixed
) -> tuple[MemberState, StepLog]:
    """Does one step of one member.

    Args:
        spec: The program.
        state: Its state.
        member: Its hyperparameters, without the member axis.
        batch: The rows that it sees.
        fixed: What is the same for all of them.

    Returns:
        The new state and the loss.
    """
    # (1) The gradient of the mean loss.
    gradient, log, carried = gradients.batch_gradient(spec, state, member, batch, fixed)
    # (2) The update, with the member's own learning rate and decay.
    rule = optimizer.build(
        spec.optimizer,
        spec.steps,
        member.hyperparameters["learning_rate"],
        member.hyperparameters["weight_decay"],
    )
    updates, opt_state = rule.update(gradient, state.opt_state, state.params.trained)
    if spec.layer_decay != 1:
        slowed = optimizer.decay_layers(updates.network, spec.model, spec.layer_decay)
        updates = updates._replace(network=slowed)
    params = optax.apply_updates(state.params.trained, updates)
    params = params._replace(statistics=carried.statistics)
    average = update_average(spec.average, state.average, params, fixed.step)
    # (3) A member whose loss or gradient is not finite has diverged. It and members that are done
    # keep what they had: the others of the fleet go on in the same program.
    # A sum takes one pass over the gradient; squares for a norm would first be written to memory.
    sums = jnp.stack([leaf.sum() for leaf in jax.tree.leaves(gradient)])
    # XLA makes a sum of scalars a chain of additions, and copies it into the update of each array:
    # ResNet-20 would take a quarter longer to compile. It leaves a cumulative sum whole.
    total = jax.lax.cumsum(sums)[-1]
    finite = jnp.isfinite(log.total) & jnp.isfinite(total)
    idle = fixed.step >= spec.steps
    if state.best is not None:
        idle |= state.best.stopped
    diverged = state.diverged | (~finite & ~idle)
    keep = diverged | idle
    params, opt_state, method, average = jax.tree.map(
        lambda new, old: jnp.where(keep, old, new),
        (params, opt_state, carried.method, average),
        (state.params, state.opt_state, state.method, state.average),
    )
    return MemberState(params, opt_state, method, diverged, state.best, average), log


def update_average(
    decay: float, average: Params | None, params: Params, step: jax.Array
) -> Params | None:
    """Computes the moving average of parameters and running averages after a step.

    The decay rises to `decay` as (1 + step) / (10 + step), so that the initial values do not weigh
    on a short training (as `num_updates` of TensorFlow's ExponentialMovingAverage).

    Args:
        decay: Share of the former average, once many steps are done.
        average: The average before; None where there is none.
        params: What the step led to.
        step: The step's number from 0, [] int32.
    """
    if average is None:
        return None
    share = jnp.minimum(decay, (1 + step) / (10 + step))
    result: Params = jax.tree.map(lambda old, new: share * old + (1 - share) * new, average, params)
    return result


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
    # Gathered once for all steps: each member reads its group's teacher from a copy of its own.
    frozen = jax.tree.map(lambda array: array[members.group], rows.frozen)
    targets = compute_targets(spec, rows, members, positions.shape[0] * positions.shape[2])

    def one_step(state: FleetState, position: jax.Array) -> tuple[FleetState, StepLog]:
        def one_member(
            state_: MemberState,
            member: Members,
            position: jax.Array,
            frozen: Frozen | None,
            targets: jax.Array | None,
        ) -> tuple[MemberState, StepLog]:
            batch = gather_batch(spec, rows, inputs, member, position, targets)
            constants = {name: array[member.group] for name, array in rows.constants.items()}
            return train_member(spec, state_, member, batch, Fixed(state.step, constants, frozen))

        new, log = _for_each(one_member, state.members, members, position, frozen, targets)
        return FleetState(state.step + 1, new), log

    if positions.shape[0] == 1:
        # XLA unrolls such a loop late: a step of ResNet-20 on a CPU would take a tenth longer.
        state, log = one_step(state, positions[0])
        return state, jax.tree.map(lambda array: array[None], log)
    return jax.lax.scan(one_step, state, positions)


def predict_fleet(
    spec: StepSpec,
    params: Params,
    hyperparameters: Mapping[str, jax.Array],
    constants: Mapping[str, Any],
    inputs: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Computes class logits, [members, batch, classes], and embeddings, [members, batch, dims].

    Args:
        spec: The program.
        params: Parameters and running averages with a leading member axis.
        hyperparameters: Traced ones, [members] each.
        constants: The method's arrays, each [members, ...].
        inputs: [batch, features...].
    """

    def one_member(
        params: Params, hyperparameters: Mapping[str, jax.Array], constants: Mapping[str, Any]
    ) -> tuple[jax.Array, jax.Array]:
        outputs = variables.predict(spec.model, params.variables, inputs)
        return spec.readout(outputs, params.extra, constants, hyperparameters), outputs.embedding

    return _for_each(one_member, params, hyperparameters, constants)


def _for_each(function: Callable[..., Any], *members: Any) -> Any:
    """Calls a function of one member for each along the leading axis of its arguments."""
    if jax.tree.leaves(members)[0].shape[0] > 1:
        return jax.vmap(function)(*members)
    # Under vmap even a lone member's matrix products become batched ones, which are slower: a step
    # of MiniLM on a CPU takes a third longer.
    alone = function(*jax.tree.map(lambda array: array[0], members))
    return jax.tree.map(lambda array: array[None], alone)
