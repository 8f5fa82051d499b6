"""What a fleet is asked to do: its members and all that their training reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lelp_jax.methods.base import identity_readout
from lelp_jax.models.outputs import Model
from lelp_jax.train.state import GroupRows, Params, StepSpec
from lelp_jax.train.step import init_member


@dataclasses.dataclass(frozen=True)
class Member:
    """One network to train.

    Attributes:
        fingerprint: Names everything it depends on.
        numeric: Its traced settings.
        seed: Seed of initialisation, dropout and noise.
        order_seed: Seed of the order of examples.
        group: Which group of `FleetJob.rows` it learns from.
    """

    fingerprint: str
    numeric: Mapping[str, float]
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
        group_sizes: How many of each group's rows may be drawn; the rest is padding, [groups].
        inputs: The table that `rows.row` points into, [rows, features...].
        validation_inputs: [rows, features...].
        validation_labels: [rows].
    """

    stage: str
    spec: StepSpec
    batch_size: int
    members: tuple[Member, ...]
    rows: GroupRows
    group_sizes: np.ndarray
    inputs: np.ndarray
    validation_inputs: np.ndarray
    validation_labels: np.ndarray


def count_served(spec: StepSpec, inputs: np.ndarray) -> int:
    """Returns how many parameters a member has that are needed to use it, without making them."""
    params = _abstract_member(spec, inputs).params
    return _count(params.network if spec.readout is identity_readout else params)


def count_trained(spec: StepSpec, inputs: np.ndarray) -> int:
    """Returns how many numbers of one member change in training, the optimizer's apart."""
    member = _abstract_member(spec, inputs)
    return _count((member.params, member.method))


def abstract_params(spec: StepSpec, inputs: Any) -> Params:
    """Returns shapes and types of what the optimizer moves in one member.

    Args:
        spec: The program.
        inputs: Inputs of any rows, [rows, features...], or their shape and type.
    """
    params: Params = _abstract_member(spec, inputs).params
    return params


def _abstract_member(spec: StepSpec, inputs: Any) -> Any:
    example = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    seed = jax.ShapeDtypeStruct((), np.uint32)
    return jax.eval_shape(functools.partial(init_member, spec), example, seed)


def count_frozen(
    spec: StepSpec, projection: Mapping[str, np.ndarray] | None, inputs: np.ndarray
) -> int:
    """Returns how many numbers a member reads in every step and never changes.

    Args:
        spec: The program.
        projection: Arrays of the projection that it applies, if any.
        inputs: Inputs of any rows, [rows, features...].
    """
    if spec.teacher is None:
        return 0
    return _count((abstract_parameters(spec.teacher, inputs), projection))


def embedding_dims(model: Model, inputs: np.ndarray) -> int:
    """Returns the dims of what a model's output layer sees.

    Args:
        model: The model.
        inputs: Inputs of any rows, [rows, features...].
    """
    example = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    params = {"params": abstract_parameters(model, inputs)}
    outputs = jax.eval_shape(lambda p, x: model.apply(p, x, train=False), params, example)
    dims: int = outputs.embedding.shape[-1]
    return dims


def abstract_parameters(model: Model, inputs: np.ndarray) -> Any:
    """Returns shapes and types of a model's parameters.

    Args:
        model: The model.
        inputs: Inputs of any rows, [rows, features...].
    """
    example = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    return jax.eval_shape(model.init, jax.random.key(0), example)["params"]


def _count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
