"""Networks that start from parameters given."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.methods import METHODS
from lelp_jax.methods.base import identity_readout
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import StepSpec
from lelp_jax.train.step import init_fleet, init_member
from tests.helpers.trees import assert_equal

SPEC = StepSpec(
    model=models.build({"name": "mlp", "hidden": (3,)}, 2),
    loss=METHODS["labels"].loss,
    readout=identity_readout,
    optimizer=OptimizerConfig(),
    steps=5,
)
EXAMPLE = np.zeros((1, 4), np.float32)
SEEDS = np.array([5, 6, 7], np.uint32)


def test_members_take_the_parameters_of_their_group_and_keep_the_others() -> None:
    kernel = np.random.default_rng(0).normal(size=(2, 4, 3))
    group = np.array([1, 0, 1], np.int32)
    initial = {"Dense_0": {"kernel": kernel}}
    fresh = jax.jit(functools.partial(init_fleet, SPEC))(EXAMPLE, SEEDS).members
    made = jax.jit(functools.partial(init_fleet, SPEC))(EXAMPLE, SEEDS, initial, group).members
    network = made.params.network
    assert network["Dense_0"]["kernel"].dtype == jnp.float32
    np.testing.assert_array_equal(
        network["Dense_0"]["kernel"], kernel.astype(np.float32)[[1, 0, 1]]
    )
    for layer, kind in (("Dense_0", "bias"), ("head", "kernel"), ("head", "bias")):
        np.testing.assert_array_equal(network[layer][kind], fresh.params.network[layer][kind])
    assert len(np.unique(network["head"]["kernel"][:, 0, 0])) == 3
    assert_equal(made.opt_state, fresh.opt_state)


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ({"Dense_9": {"kernel": EXAMPLE}}, "no parameter 'Dense_9' in the network; known.*Dense_0"),
        ({"head": {"scale": EXAMPLE}}, "no parameter 'head/scale'.*bias, kernel"),
        ({"head": {"kernel": EXAMPLE}}, r"'head/kernel' has shape \(3, 2\).*\(1, 4\)"),
        ({"head": EXAMPLE}, "'head' is a group of the network, but given as an array"),
        ({"head": {"bias": {"x": EXAMPLE}}}, "'head/bias' is an array .* as a group"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(initial: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(init_member, SPEC), EXAMPLE, SEEDS[0], initial)


def test_parameters_of_groups_need_the_groups() -> None:
    initial = {"Dense_0": {"kernel": np.zeros((2, 4, 3), np.float32)}}
    with pytest.raises(ValueError, match="group of every member"):
        jax.eval_shape(functools.partial(init_fleet, SPEC), EXAMPLE, SEEDS, initial)
