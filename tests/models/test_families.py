"""Model families: shapes, output layer, dropout, and settings that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.core.errors import UserError


def inputs(rows: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("hidden", [(), (5,), (7, 4)])
def test_outputs_and_output_layer(hidden):
    model = models.build({"name": "mlp", "hidden": hidden}, 4)
    params = model.init(jax.random.key(0), inputs())["params"]
    outputs = model.apply({"params": params}, inputs(), train=False)
    weights, bias = models.output_layer(params)
    assert outputs.logits.shape == (6, 4)
    assert outputs.embedding.shape == (6, hidden[-1] if hidden else 6)
    assert weights.shape == (outputs.embedding.shape[1], 4)
    # What the output layer sees is the embedding: a projection may rely on it.
    np.testing.assert_allclose(
        np.asarray(outputs.embedding) @ weights + bias, outputs.logits, rtol=1e-5, atol=1e-5
    )


def test_forward_pass_matches_numpy():
    model = models.build({"name": "mlp", "hidden": (5, 4)}, 3)
    params = model.init(jax.random.key(1), inputs())["params"]
    x = inputs().reshape(6, -1).astype(np.float64)
    for name in ("Dense_0", "Dense_1"):
        x = np.maximum(x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
    outputs = model.apply({"params": params}, inputs(), train=False)
    np.testing.assert_allclose(outputs.embedding, x, rtol=1e-5, atol=1e-5)


def test_dropout_is_off_in_prediction_and_scaled_in_training():
    model = models.build({"name": "mlp", "hidden": (2000,), "dropout": 0.25}, 2)
    params = model.init(jax.random.key(0), inputs())["params"]
    off = model.apply({"params": params}, inputs()).embedding
    plain = models.build({"name": "mlp", "hidden": (2000,)}, 2).apply({"params": params}, inputs())
    np.testing.assert_array_equal(off, plain.embedding)

    def on(seed: int) -> jax.Array:
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply({"params": params}, inputs(), train=True, rngs=rngs).embedding

    first, active = np.asarray(on(0)), np.asarray(off) > 0
    dropped = active & (first == 0)
    assert dropped.sum() / active.sum() == pytest.approx(0.25, abs=0.03)
    kept = active & ~dropped
    np.testing.assert_allclose(first[kept], np.asarray(off)[kept] / 0.75, rtol=1e-5)
    assert (np.asarray(on(1)) != first).any()
    np.testing.assert_array_equal(on(0), first)


def test_models_of_equal_settings_are_one_program():
    first, second = (models.build({"name": "mlp", "hidden": (5,)}, 4) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != models.build({"name": "mlp", "hidden": (5,)}, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "mpl", "hidden": (5,)}, "did you mean 'mlp'"),
        ({"hidden": (5,)}, "model.name must be 'mlp', .*, got ''"),
        ({"name": "mlp", "hiden": (5,)}, "did you mean 'hidden'"),
        ({"name": "mlp", "hidden": (5,), "num_outputs": 3}, "num_outputs"),
        (
            {"name": "mlp", "hidden": (0,)},
            r"hidden\[0\] must be a whole number of 1 or more, got 0",
        ),
        ({"name": "mlp", "hidden": (5.5,)}, "whole number"),
        ({"name": "mlp"}, "hidden"),
        ({"name": "mlp", "hidden": (5,), "dropout": 1.0}, "dropout"),
        ({"name": "mlp", "hidden": (5,), "dropout": -0.1}, "dropout"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        models.build(settings, 2)


def test_parameters_are_float32_and_depend_on_the_seed():
    model = models.build({"name": "mlp", "hidden": (5,)}, 4)
    first, second = (model.init(jax.random.key(s), inputs()[:1])["params"] for s in (0, 1))
    for leaf in jax.tree.leaves(first):
        assert leaf.dtype == jnp.float32
    assert (first["Dense_0"]["kernel"] != second["Dense_0"]["kernel"]).any()
