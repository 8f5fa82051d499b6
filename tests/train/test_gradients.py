"""The gradient of a batch in parts is the gradient of the batch."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.core.errors import UserError
from lelp_jax.methods import METHODS
from lelp_jax.methods.base import Dims, LossInputs, LossOutput, identity_readout
from lelp_jax.train import gradients
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.gradients import Batch, Fixed
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import Members, MemberState, StepSpec
from lelp_jax.train.step import init_member

ROWS, FEATURES = 12, 4
RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.uniform(0.1, 3, ROWS).astype(np.float32)
INPUTS = RANDOM.normal(size=(ROWS, FEATURES)).astype(np.float32)
SEARCH_SPACE = {
    "temperature": 2.0,
    "alpha": 0.3,
    "label_smoothing": 0.1,
    "hard_mixing": 0.0,
    "warmup": 0.0,
}
TEACHER = RANDOM.normal(size=(ROWS, 2)).astype(np.float32)
KD = StepSpec(
    model=models.build({"name": "mlp", "hidden": (5,)}, 2),
    loss=METHODS["kd"].loss,
    readout=identity_readout,
    optimizer=OptimizerConfig(),
    steps=10,
)


def batch(weight: np.ndarray = WEIGHT, inputs: np.ndarray = INPUTS) -> Batch:
    label = (np.arange(ROWS) % 3 - 1).astype(np.int32)
    position = np.arange(ROWS, dtype=np.int32)
    given = Batch(inputs, label, weight, TEACHER, None, None, None, position)
    return jax.tree.map(jnp.asarray, given)


def member() -> Members:
    return Members(
        {name: np.float32(x) for name, x in SEARCH_SPACE.items()}, np.uint32(3), np.int32(0)
    )


@functools.cache
def compiled(spec: StepSpec) -> Any:
    def run(state: MemberState, batch: Batch) -> Any:
        return gradients.batch_gradient(spec, state, member(), batch, Fixed(jnp.int32(4), {}, None))

    return jax.jit(run)


@functools.cache
def start(spec: StepSpec) -> MemberState:
    return jax.jit(functools.partial(init_member, spec))(INPUTS[:1], np.uint32(0))


def run(spec: StepSpec, batch: Batch) -> Any:
    return jax.device_get(compiled(spec)(start(dataclasses.replace(spec, accumulate=1)), batch))


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_give_the_gradient_of_the_whole_batch(parts: int) -> None:
    spec = dataclasses.replace(KD, accumulate=parts)
    none_of_the_first = np.where(np.arange(ROWS) < ROWS // parts, 0, WEIGHT).astype(np.float32)
    for weight in (WEIGHT, none_of_the_first, np.zeros(ROWS, np.float32)):
        whole, log, _ = run(KD, batch(weight))
        summed, log_of_parts, _ = run(spec, batch(weight))
        sizes = [np.abs(leaf).max() for leaf in jax.tree.leaves(whole)]
        assert min(sizes) > 0.01 or not weight.any()
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), summed, whole)
        np.testing.assert_allclose(log_of_parts, log, rtol=1e-6)
        np.testing.assert_allclose(log.weight, weight.sum(), rtol=1e-6)


def watching(inputs: LossInputs, constants: Any, hyperparameters: Any) -> LossOutput:
    """Returns a loss whose state keeps what it saw, call by call."""
    del constants, hyperparameters
    assert inputs.embedding is not None
    assert inputs.position is not None
    assert inputs.key is not None
    count = inputs.state["count"]
    state = {
        "count": count + 1,
        "first": inputs.state["first"].at[count].set(inputs.position[0]),
        "drawn": inputs.state["drawn"].at[count].set(jax.random.uniform(inputs.key)),
        "embedding": inputs.state["embedding"].at[count].set(inputs.embedding[0]),
    }
    return LossOutput(jnp.square(inputs.logits).sum(axis=-1), {}, state)


def make_state(key: jax.Array, dims: Dims) -> dict[str, jax.Array]:
    del key
    return {
        "count": jnp.zeros((), jnp.int32),
        "first": jnp.full(4, -1),
        "drawn": jnp.zeros(4),
        "embedding": jnp.zeros((4, dims.embedding)),
    }


@pytest.mark.parametrize(("dropout", "noise"), [(0.5, 0.0), (0.0, 0.5), (0.0, 0.0)])
def test_parts_are_every_third_row_with_keys_of_their_own(dropout: float, noise: float) -> None:
    spec = StepSpec(
        model=models.build({"name": "mlp", "hidden": (16,), "dropout": dropout}, 2),
        loss=watching,
        readout=identity_readout,
        optimizer=OptimizerConfig(),
        steps=10,
        input_noise=noise,
        dims=Dims(2, 16, 0, ROWS),
        init_state=make_state,
        accumulate=3,
    )
    # Every row is the same, so that only random draws can make the parts differ.
    _, _, (state, _) = run(spec, batch(inputs=np.tile(INPUTS[:1], (ROWS, 1))))
    assert state["count"] == 3
    assert state["first"].tolist() == [0, 1, 2, -1]
    assert len(np.unique(state["drawn"])) == 4
    different = len(np.unique(state["embedding"][:3].round(5), axis=0))
    assert different == (3 if dropout or noise else 1)


def test_a_batch_that_cannot_be_cut_is_refused() -> None:
    rule = OptimizerConfig()
    assert TrainConfig(10, 12, rule, accumulate=3).accumulate == 3
    with pytest.raises(UserError, match=r"batch_size 12 .*accumulate 5"):
        TrainConfig(10, 12, rule, accumulate=5)
