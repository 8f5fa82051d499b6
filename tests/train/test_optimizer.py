"""Schedules and layer-wise rates against closed forms."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.methods.base import Dims, LossInputs, LossOutput, identity_readout
from lelp_jax.models.mlp import MLP
from lelp_jax.train import optimizer
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import GroupRows, Members, StepSpec
from lelp_jax.train.step import init_fleet, train_fleet

STEPS, PEAK = 10, 0.5


def sizes(config: OptimizerConfig) -> np.ndarray:
    """Returns the size of every update: Adam of a constant gradient moves by the rate."""
    rule = optimizer.build(config, STEPS, PEAK, 0.0)
    params = {"w": jnp.ones((1, 1))}

    def one_step(state: Any, _: None) -> Any:
        updates, state = rule.update({"w": jnp.ones((1, 1))}, state, params)
        return state, -updates["w"][0, 0]

    return np.asarray(jax.lax.scan(one_step, rule.init(params), None, STEPS + 2)[1])


@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_linear_falls_evenly_to_zero_after_the_warmup(warmup: float) -> None:
    count = np.arange(STEPS + 2)
    first = warmup * STEPS
    wanted = PEAK * np.clip((STEPS - count) / (STEPS - first), 0, 1)
    if first:
        wanted = wanted * np.minimum((count + 1) / first, 1)
    found = sizes(OptimizerConfig("linear", warmup_fraction=warmup))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found[STEPS - 1] > 0.01
    assert (found[STEPS:] == 0).all()


@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_steps_drops_at_half_and_at_three_quarters(warmup: float) -> None:
    config, steps = OptimizerConfig("steps", warmup_fraction=warmup), 40
    found = optimizer.compute_rate(config, steps, PEAK, jnp.arange(steps + 3))
    count = np.arange(steps + 3)
    first = warmup * steps
    half, three_quarters = first + (steps - first) / 2, first + 3 * (steps - first) / 4
    wanted = np.where(count < half, 1, np.where(count < three_quarters, 0.1, 0.01))
    if first:
        wanted = wanted * np.minimum((count + 1) / first, 1)
    np.testing.assert_allclose(found, PEAK * wanted, rtol=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 1.5])
def test_sgd_is_that_of_pytorch(clip_norm: float) -> None:
    """Nesterov momentum; vectors do not decay; the decay is added after clipping."""
    random, decay = np.random.default_rng(1), 0.3
    config = OptimizerConfig("steps", 0.2, clip_norm, "sgd")
    start = {"b": random.normal(size=3), "k": random.normal(size=(2, 3))}
    gradients = [jax.tree.map(lambda x: random.normal(size=x.shape), start) for _ in range(STEPS)]
    kept = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    groups = [
        {"params": [kept["k"]], "weight_decay": decay},
        {"params": [kept["b"]], "weight_decay": 0.0},
    ]
    rule = torch.optim.SGD(groups, lr=PEAK, momentum=0.9, nesterov=True)

    @jax.jit
    def train(params: Any, gradients: Any) -> Any:
        own = optimizer.build(config, STEPS, PEAK, decay)

        def one_step(carry: Any, gradient: Any) -> Any:
            params, state = carry
            updates, state = own.update(gradient, state, params)
            params = jax.tree.map(jnp.add, params, updates)
            return (params, state), params

        return jax.lax.scan(one_step, (params, own.init(params)), gradients)[1]

    as_float = jax.tree.map(jnp.float32, start)
    found = train(as_float, jax.tree.map(lambda *x: jnp.float32(np.stack(x)), *gradients))
    clipped = 0
    for step, gradient in enumerate(gradients):
        for name, value in gradient.items():
            kept[name].grad = torch.tensor(value)
        if clip_norm:
            clipped += float(torch.nn.utils.clip_grad_norm_(kept.values(), clip_norm)) > clip_norm
        for group in rule.param_groups:
            group["lr"] = PEAK * (0.1 if step >= 6 else 1) * (0.1 if step >= 8 else 1)
            group["lr"] *= min((step + 1) / 2, 1)
        rule.step()
        for name, value in kept.items():
            np.testing.assert_allclose(found[name][step], value.detach(), rtol=2e-5, atol=1e-6)
    assert (clipped > STEPS / 2) == bool(clip_norm)


def test_schedules_start_alike_and_are_known_by_name() -> None:
    starts = [sizes(OptimizerConfig(name))[0] for name in ("cosine", "linear", "steps", "constant")]
    np.testing.assert_allclose(starts, PEAK, rtol=1e-5)
    with pytest.raises(UserError, match="'linear', 'steps' or 'constant', got 'step'"):
        sections.build(OptimizerConfig, {"schedule": "step"}, "optimizer")


class Layers(MLP):
    """A network of two layers that knows their order."""

    def depth_from_top(self, path: tuple[str, ...]) -> int:
        """Returns 0 for the output layer, 2 for a bias below it and 3 for its matrix."""
        if path[0] == "head":
            return 0
        assert path[0] == "Dense_0"
        return {"bias": 2, "kernel": 3}[path[1]]


def loss(inputs: LossInputs, constants: Any, hyperparameters: Any) -> LossOutput:
    """Returns a loss of the logits and of a parameter of its own."""
    del constants, hyperparameters
    assert inputs.extra is not None
    error = jnp.square(inputs.logits - inputs.extra["target"]).sum(axis=-1)
    return LossOutput(error, {})


def make_extra(key: jax.Array, dims: Dims) -> dict[str, jax.Array]:
    del key
    return {"target": jnp.ones(dims.classes)}


@functools.cache
def moved(layer_decay: float) -> Any:
    """Returns by how much two members' parameters move in one step."""
    spec = StepSpec(
        model=Layers(num_outputs=2, hidden=(3,)),
        loss=loss,
        readout=identity_readout,
        optimizer=OptimizerConfig("constant"),
        steps=4,
        dims=Dims(2, 3, 0, 6),
        init=make_extra,
        layer_decay=layer_decay,
    )
    random = np.random.default_rng(0)
    inputs = random.normal(size=(6, 4)).astype(np.float32)
    hyperparameters = {
        "learning_rate": np.array([0.01, 0.03], np.float32),
        "weight_decay": np.array([0.0, 0.5], np.float32),
    }
    members = Members(hyperparameters, np.arange(2, dtype=np.uint32), np.zeros(2, np.int32))
    rows = GroupRows(
        row=np.arange(6, dtype=np.int32)[None],
        label=np.zeros((1, 6), np.int32),
        weight=np.ones((1, 6), np.float32),
        teacher_logits=None,
        scores=None,
        constants={},
    )
    order = np.tile(np.arange(6, dtype=np.int32), (1, 2, 1))

    @jax.jit
    def one_step(members: Members, rows: GroupRows, inputs: jax.Array, order: jax.Array) -> Any:
        start = init_fleet(spec, inputs[:1], members.seed)
        end, _ = train_fleet(spec, start, members, rows, inputs, order)
        return jax.tree.map(jnp.subtract, end.members.params, start.members.params)

    return jax.device_get(one_step(members, rows, inputs, order))


def test_lower_layers_move_less_and_the_methods_own_parameters_as_before() -> None:
    plain, slowed = moved(1.0), moved(0.5)
    for layer, kind, factor in (
        ("head", "kernel", 1),
        ("head", "bias", 1),
        ("Dense_0", "bias", 1 / 4),
        ("Dense_0", "kernel", 1 / 8),
    ):
        wanted = factor * plain.network[layer][kind]
        assert (np.abs(wanted).max(axis=tuple(range(1, wanted.ndim))) > 1e-4).all()
        np.testing.assert_allclose(slowed.network[layer][kind], wanted, rtol=1e-4, atol=1e-7)
    assert (plain.extra["target"] != 0).all()
    np.testing.assert_array_equal(slowed.extra["target"], plain.extra["target"])


def test_a_model_without_layers_cannot_have_their_rates() -> None:
    with pytest.raises(ValueError, match="depth_from_top"):
        optimizer.decay_layers({}, MLP(num_outputs=2, hidden=()), 0.9)
