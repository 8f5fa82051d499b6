"""What a fleet is asked to do: its members and all that their training reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lelp_jax.methods.base import identity_readout
from lelp_jax.models import tokens, variables
from lelp_jax.models.outputs import Model
from lelp_jax.models.variables import Variables
from lelp_jax.projection.base import Projection
from lelp_jax.train.buckets import Buckets
from lelp_jax.train.config import EarlyStopping
from lelp_jax.train.state import GroupRows, Params, StepSpec
from lelp_jax.train.step import init_member

# Operations of the optimizer per number.
_OPTIMIZER = 20
# How often a number that the gradient needs is written and read in the forward pass, from 3.8 times
# (small CNN) to 4.0 (ResNet-20, WRN-16-4).
_ACCESSES = 4


@dataclasses.dataclass(frozen=True)
class Member:
    """One network to train.

    Attributes:
        fingerprint: Names everything it depends on.
        hyperparameters: Its traced ones.
        seed: Seed of initialisation, dropout and noise.
        order_seed: Seed of the order of examples.
        group: Which group of `FleetJob.rows` it learns from.
    """

    fingerprint: str
    hyperparameters: Mapping[str, float]
    seed: int
    order_seed: int
    group: int


@dataclasses.dataclass(frozen=True)
class FleetJob:
    """A fleet with all that its training reads.

    Attributes:
        stage: "teachers" or "students", for the log.
        spec: The program.
        batch_size: Examples per member and step.
        members: The members.
        rows: What they learn from, as host arrays.
        buckets: Which of each group's rows are seen when; the rest is padding.
        inputs: The table that `rows.row` points into, [rows, features...] or tokens [rows, length].
        validation_inputs: Likewise.
        validation_labels: [rows].
        initial: Parameters that the networks start from instead of fresh ones, a part of their
            tree, each [groups, ...]; None where all are fresh.
        early_stopping: Which parameters are kept, and when training ends early.
    """

    stage: str
    spec: StepSpec
    batch_size: int
    members: tuple[Member, ...]
    rows: GroupRows
    buckets: Buckets
    inputs: np.ndarray
    validation_inputs: np.ndarray
    validation_labels: np.ndarray
    initial: Any = None
    early_stopping: EarlyStopping = dataclasses.field(default_factory=EarlyStopping)


def count_served(spec: StepSpec, inputs: np.ndarray) -> int:
    """Counts the parameters that are needed to use a member, without making them."""
    params = _abstract_member(spec, inputs).params
    return _count(params.network if spec.readout is identity_readout else params.trained)


def count_trained(spec: StepSpec, inputs: np.ndarray) -> int:
    """Counts the numbers of one member that change in training, without the optimizer's."""
    member = _abstract_member(spec, inputs)
    return _count((member.params, member.method))


def estimate_work(spec: StepSpec, inputs: Any, batch_size: int, frozen: int = 0) -> int:
    """Estimates the operations of one step of one member.

    Args:
        spec: The program.
        inputs: Inputs of any rows, or their shape and type; of tokens all are counted.
        batch_size: Examples of the step.
        frozen: Numbers that the member reads in every step and never changes.
    """
    params = _abstract_member(spec, inputs).params
    looked_up = sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if any("embedding" in getattr(key, "key", "").lower() for key in path)
    )
    places = batch_size * (inputs.shape[1] if tokens.are_tokens(inputs) else 1)
    # A number takes a multiplication and an addition at each place; a convolution has many of them.
    forward = 2 * (count_trained(spec, inputs) - looked_up)
    forward = max(forward, _count_forward(spec.model, inputs).operations)
    beside = 2 * frozen
    if spec.teacher is not None:
        beside = max(beside, _count_forward(spec.teacher, inputs).operations)
    # Forward and twice as much backward, forward alone through what is frozen; the optimizer goes
    # over every number, and a table of embeddings is merely read.
    return (3 * forward + beside) * places + _OPTIMIZER * looked_up


def count_activations(spec: StepSpec, inputs: Any, batch_size: int) -> int:
    """Estimates the numbers that a member's forward pass keeps for the gradient; 0 if negligible.

    Args:
        spec: The program.
        inputs: Inputs of any rows, or their shape and type.
        batch_size: Examples that are seen at a time.
    """
    return _count_forward(spec.model, inputs).kept * batch_size // spec.accumulate


class _Forward(NamedTuple):
    """What the forward pass of one row takes beyond what the number of parameters tells.

    Attributes:
        operations: Additions and multiplications.
        kept: Numbers kept for the gradient.
    """

    operations: int
    kept: int


def _count_forward(model: Model, inputs: Any) -> _Forward:
    if not getattr(model, "of_images", False):
        return _Forward(0, 0)
    return _analyze_forward(model, inputs.shape[1:], np.dtype(inputs.dtype))  # type: ignore[arg-type]


# XLA counts without compiling; tracing takes up to a second.
@functools.lru_cache(maxsize=128)
def _analyze_forward(model: Model, shape: tuple[int, ...], dtype: np.dtype) -> _Forward:
    example = jax.ShapeDtypeStruct((1, *shape), dtype)
    network = trace_network(model, example)
    forward = jax.jit(functools.partial(variables.predict, model))
    costs: Any = forward.lower(network, example).cost_analysis()
    numbers = int(costs["bytes accessed"]) // 4 - _count(network)
    return _Forward(int(costs["flops"]), max(0, numbers) // _ACCESSES)


def trace_member(spec: StepSpec, inputs: Any) -> Params:
    """Traces the shapes and types of one member's parameters and running averages.

    Args:
        spec: The program.
        inputs: Inputs of any rows, [rows, features...], or their shape and type.
    """
    params: Params = _abstract_member(spec, inputs).params
    return params


def _abstract_member(spec: StepSpec, inputs: Any) -> Any:
    return _trace_member(spec, (1, *inputs.shape[1:]), np.dtype(inputs.dtype))


# Asked several times for every student of a grid; tracing an encoder takes a second.
@functools.lru_cache(maxsize=128)
def _trace_member(spec: StepSpec, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    example, seed = jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct((), np.uint32)
    return jax.eval_shape(functools.partial(init_member, spec), example, seed)


def count_frozen(spec: StepSpec, projection: Projection | None, inputs: np.ndarray) -> int:
    """Counts the numbers that a member reads in every step and never changes.

    Args:
        spec: The program.
        projection: The projection that it applies, if any.
        inputs: Inputs of any rows, [rows, features...].
    """
    if spec.teacher is None:
        return 0
    return _count((trace_network(spec.teacher, inputs), projection))


def embedding_dims(model: Model, inputs: np.ndarray) -> int:
    """Finds the dims of a model's embedding.

    Args:
        model: The model.
        inputs: Inputs of any rows, [rows, features...].
    """
    example = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    predict = functools.partial(variables.predict, model)
    outputs = jax.eval_shape(predict, trace_network(model, inputs), example)
    dims: int = outputs.embedding.shape[-1]
    return dims


def trace_network(model: Model, inputs: Any) -> Variables:
    """Traces the shapes and types of a model's parameters and running averages.

    Args:
        model: The model.
        inputs: Inputs of any rows, [rows, features...], or their shape and type.
    """
    example = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    initialize = functools.partial(variables.initialize, model)
    traced: Variables = jax.eval_shape(initialize, jax.random.key(0), example)
    return traced


def _count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
