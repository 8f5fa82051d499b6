"""Normalisation: precision, statistics of the whole batch on any devices, groups of channels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models.convolutional.normalization import BatchNorm, count_groups, normalize
from tests.helpers import processes

# Prints how far running averages, outputs and gradients on 8 devices are from those on one.
SHARDED = """
import json
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from lelp_jax import models
from lelp_jax.core import parallel

network = models.build({"name": "resnet", "depth": 8, "width": 3}, 2)
# Every device's rows have a mean of their own.
images = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)
images += np.arange(16)[:, None, None, None]
variables = jax.jit(network.init)(jax.random.key(0), images)

def loss(params, statistics, images):
    found, state = network.apply(
        {"params": params, "batch_stats": statistics}, images, train=True, mutable=["batch_stats"]
    )
    return (found.embedding**2).mean(), state["batch_stats"]

gradient = jax.jit(jax.grad(loss, has_aux=True))

def run(images):
    return jax.tree.leaves(gradient(variables["params"], variables["batch_stats"], images))

mesh = parallel.make_mesh(1, 8)
rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names[-1]))
one, eight = run(images), run(jax.device_put(images, rows))
apart = [float(np.abs(a - b).max() / (1e-3 + np.abs(a).max())) for a, b in zip(one, eight)]
print(json.dumps({"devices": jax.device_count(), "apart": max(apart)}))
"""


def apply(kind: str, images: np.ndarray, *, train: bool = True):
    """Returns normalised images and, with "batch", the averages after a step."""

    class Alone(nn.Module):
        @nn.compact
        def __call__(self, x):
            return normalize(x, kind, train=train)

    @jax.jit
    def start_and_step(images):
        variables = Alone().init(jax.random.key(0), images)
        return Alone().apply(variables, images, mutable=["batch_stats"])

    return start_and_step(images)


@pytest.mark.parametrize("mean", [0.0, 300.0, -5000.0])
@pytest.mark.parametrize("kind", ["batch", "group"])
def test_a_large_mean_costs_no_digits(kind, mean):
    random = np.random.default_rng(0)
    images = (mean + random.normal(size=(6, 4, 5, 8))).astype(np.float32)
    found, state = apply(kind, images)
    exact = images.astype(np.float64)
    if kind == "batch":
        axes, grouped = (0, 1, 2), exact
    else:
        axes, grouped = (1, 2, 4), exact.reshape(6, 4, 5, 4, 2)
    centre, variance = grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True)
    wanted = ((grouped - centre) / np.sqrt(variance + 1e-5)).reshape(images.shape)
    # Of the mean itself, float32 keeps 7 digits.
    np.testing.assert_allclose(found, wanted, atol=1e-5 + 4e-7 * abs(mean))
    if kind == "batch":
        (averages,) = state["batch_stats"].values()
        np.testing.assert_allclose(averages["mean"], 0.1 * centre.ravel(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(averages["var"], 0.9 + 0.1 * variance.ravel(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_batch_normalization_is_that_of_flax(dtype):
    random = np.random.default_rng(0)
    # Two members of a fleet, and three steps of each.
    images = jnp.asarray(random.normal(2, 3, (2, 3, 4, 3, 5, 6)), dtype)
    weights = jnp.asarray(random.normal(size=images.shape), dtype)
    theirs = nn.BatchNorm(dtype=dtype, momentum=0.9, use_fast_variance=False)
    ours = BatchNorm(dtype, nn.initializers.ones)
    layers = (
        (theirs, [{"use_running_average": not train} for train in (True, False)]),
        (ours, [{"train": train} for train in (True, False)]),
    )
    start = jax.tree.map(
        lambda leaf: jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), leaf.dtype),
        ours.init(jax.random.key(0), images[0, 0], train=True),
    )

    def run(layer, modes, images, weights):
        """Computes averages, all gradients and results of training, and a prediction."""

        def loss(params, images):
            def step(statistics, batch):
                variables = {"params": params, "batch_stats": statistics}
                found, state = layer.apply(variables, batch, **modes[0], mutable=["batch_stats"])
                return state["batch_stats"], found

            statistics, found = jax.lax.scan(step, start["batch_stats"], images)
            moved = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(statistics))
            return (weights * found).astype(jnp.float32).sum() + moved, (statistics, found)

        trained = jax.grad(loss, (0, 1), has_aux=True)(start["params"], images)
        return trained, layer.apply(start, images[0], **modes[1])

    def run_fleet(layer, modes):
        fleet = jax.vmap(lambda *arrays: run(layer, modes, *arrays))
        return jax.jit(fleet)(images, weights)

    wanted, found = (run_fleet(*pair) for pair in layers)
    assert jax.tree.structure(wanted) == jax.tree.structure(found)
    # Of bfloat16, gradients and results have three digits.
    for one, other in zip(jax.tree.leaves(wanted), jax.tree.leaves(found), strict=True):
        assert one.dtype == other.dtype
        allowed = 1e-5 if one.dtype == jnp.float32 else 1e-2
        one, other = (np.asarray(array, np.float32) for array in (one, other))
        np.testing.assert_allclose(other, one, atol=allowed * np.abs(one).max(), rtol=0)


def test_statistics_are_those_of_all_devices():
    found = processes.run_script(SHARDED, devices=8)
    assert found["devices"] == 8
    assert found["apart"] < 1e-4


def test_images_are_alone_with_groups_and_not_with_the_batch():
    images = np.random.default_rng(0).normal(size=(4, 5, 5, 8)).astype(np.float32)
    images *= np.arange(1, 5)[:, None, None, None]
    for kind, alone in (("group", True), ("batch", False)):
        together = apply(kind, images)[0]
        first = apply(kind, images[:1])[0]
        assert np.allclose(together[:1], first, atol=1e-5) == alone, kind
    # In prediction no image depends on others, whatever the normalisation; groups have no other
    # statistics than in training.
    np.testing.assert_allclose(
        apply("batch", images, train=False)[0][:1], apply("batch", images[:1], train=False)[0]
    )
    np.testing.assert_array_equal(apply("group", images, train=False)[0], apply("group", images)[0])
    assert not apply("group", images)[1]


@pytest.mark.parametrize(
    ("channels", "groups"),
    # 1,280 and 320 are MobileNetV2's, 24 one of its narrow ones; 7 is prime.
    [(1, 1), (2, 1), (6, 3), (7, 1), (16, 8), (24, 12), (64, 32), (96, 32), (320, 32), (1280, 32)],
)
def test_groups_divide_the_channels(channels, groups):
    assert count_groups(channels) == groups
