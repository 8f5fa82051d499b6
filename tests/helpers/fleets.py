"""Small fleets of networks with one hidden layer, trained in one compiled program."""

import functools
from typing import Any

import jax
import numpy as np

from lelp_jax.train.state import GroupRows, Members, StepSpec
from lelp_jax.train.step import init_fleet, train_fleet

GROUPS, ROWS, BATCH = 2, 12, 8
INPUTS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


def members_of(count: int = 4, **hyperparameters: Any) -> Members:
    values = {
        "learning_rate": np.geomspace(1e-3, 3e-2, count),
        "weight_decay": np.linspace(0, 0.5, count),
        "temperature": np.linspace(1, 4, count),
        "beta": np.linspace(0.3, 1, count),
        "alpha": np.linspace(0, 0.8, count),
        "label_smoothing": 0.0,
        "hard_mixing": 0.0,
        "warmup": 0.0,
    } | hyperparameters
    return Members(
        {name: np.broadcast_to(v, count).astype(np.float32) for name, v in values.items()},
        np.arange(10, 10 + count, dtype=np.uint32),
        (np.arange(count) % GROUPS).astype(np.int32),
    )


def order_of(steps: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(2).integers(0, ROWS, (steps, count, BATCH)).astype(np.int32)


@functools.cache
def compiled(spec: StepSpec) -> Any:
    return jax.jit(functools.partial(train_fleet, spec))


@functools.cache
def compiled_init(spec: StepSpec) -> Any:
    return jax.jit(functools.partial(init_fleet, spec))


def run(spec: StepSpec, members: Members, rows: GroupRows, order: np.ndarray) -> Any:
    """Returns the state before and after all steps of an order, and the log of each step."""
    start = compiled_init(spec)(INPUTS[:1], members.seed)
    end, log = compiled(spec)(start, members, rows, INPUTS, order)
    return start, end, log
