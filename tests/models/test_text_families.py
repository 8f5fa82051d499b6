"""Small networks for texts: padding, references in NumPy, gradients, and a task they must learn."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.models import build, identify, output_layer
from lelp_jax.models.tokens import PAD

NUM_TOKENS, OUTPUTS, LENGTH = 12, 3, 7
SEARCH_SPACE: dict[str, dict[str, Any]] = {
    "bag_of_embeddings": {"dims": 4, "hidden": (5,)},
    "text_cnn": {"dims": 4, "widths": (1, 2, 5), "filters": 3},
    "bilstm": {"dims": 4, "units": 3},
}
every_model = pytest.mark.parametrize("name", SEARCH_SPACE)


def network(name: str, **settings: Any) -> Any:
    return build(
        {"name": name, "dropout": 0.0} | SEARCH_SPACE[name] | settings, OUTPUTS, NUM_TOKENS
    )


def texts(*lengths: int) -> np.ndarray:
    # Always five rows, so that one compiled program serves most of the tests.
    ends = np.array([*lengths, *[0] * (5 - len(lengths))])[:, None]
    tokens = np.random.default_rng(0).integers(0, NUM_TOKENS, (5, LENGTH))
    return np.where(np.arange(LENGTH) < ends, tokens, PAD).astype(np.int32)


@functools.cache
def parameters(name: str, seed: int = 0) -> Any:
    """Random parameters: larger than a new network's, and with biases that are not 0."""
    shapes = jax.eval_shape(network(name).init, jax.random.key(0), texts(7, 3, 1, 5, 2))["params"]
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(0, 0.7, leaf.shape).astype(np.float32), shapes)


@functools.cache
def compiled(name: str) -> Any:
    model = network(name)
    return jax.jit(lambda params, tokens: model.apply({"params": params}, tokens, train=True))


def double(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ layer["kernel"] + layer["bias"]


def bag_reference(params: Any, text: np.ndarray) -> np.ndarray:
    """The embedding of one text without padding, [dims]."""
    mean = np.zeros(4)
    for token in text:
        mean += params["TokenEmbedding_0"]["table"][token] / len(text)
    return np.maximum(dense(params["Dense_0"], mean), 0)


def cnn_reference(params: Any, text: np.ndarray) -> np.ndarray:
    found = []
    for width in (1, 2, 5):
        kernel, bias = (params[f"width_{width}"][part] for part in ("kernel", "bias"))
        for number in range(3):
            answers = []
            for place in range(len(text)):
                answer = bias[number]
                for offset in range(width):
                    at = place - (width - 1) // 2 + offset
                    if 0 <= at < len(text):
                        vector = params["TokenEmbedding_0"]["table"][text[at]]
                        answer += vector @ kernel[4 * offset : 4 * offset + 4, number]
                answers.append(answer)
            found.append(max(0, *answers) if answers else 0.0)
    return np.array(found)


def lstm_reference(params: Any, text: np.ndarray) -> np.ndarray:
    found = []
    for way in ("forward", "backward"):
        cell_params = params[f"{way}_cell"]
        state, cell, states = np.zeros(3), np.zeros(3), []
        for token in text[:: -1 if way == "backward" else 1]:
            vector = params["TokenEmbedding_0"]["table"][token]
            take, keep, value, show = (
                vector @ cell_params[f"i{gate}"]["kernel"] + dense(cell_params[f"h{gate}"], state)
                for gate in "ifgo"
            )
            cell = sigmoid(keep) * cell + sigmoid(take) * np.tanh(value)
            state = sigmoid(show) * np.tanh(cell)
            states.append(state)
        found.append(np.max(states, axis=0) if states else np.zeros(3))
    return np.concatenate(found)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


REFERENCES = {
    "bag_of_embeddings": bag_reference,
    "text_cnn": cnn_reference,
    "bilstm": lstm_reference,
}


def reference(name: str, params: Any, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embeddings, [rows, ...] float64."""
    params = double(params)
    rows = np.stack([REFERENCES[name](params, row[row != PAD]) for row in tokens])
    return dense(params["head"], rows), rows


@every_model
def test_forward_pass_matches_numpy(name):
    tokens = texts(7, 3, 1, 5, 0)
    outputs = compiled(name)(parameters(name), tokens)
    logits, embedding = reference(name, parameters(name), tokens)
    np.testing.assert_allclose(outputs.embedding, embedding, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs.logits, logits, rtol=1e-5, atol=1e-5)
    assert output_layer(parameters(name))[0].shape == (embedding.shape[1], OUTPUTS)


@every_model
def test_padding_changes_nothing(name):
    tokens = texts(4, 3, 1, 2, 0)
    outputs = [
        compiled(name)(parameters(name), rows)
        for rows in (tokens, tokens[:, :4], np.pad(tokens, ((0, 0), (0, 9)), constant_values=PAD))
    ]
    for other in outputs[1:]:
        np.testing.assert_allclose(other.logits, outputs[0].logits, rtol=0, atol=1e-6)
    # Texts that differ are told apart, or the above would say nothing.
    assert len(np.unique(np.asarray(outputs[0].logits), axis=0)) == 5


def test_the_order_of_tokens_matters_to_all_but_the_bag():
    tokens = texts(5, 5)
    mixed = tokens[:, [3, 0, 4, 2, 1, 5, 6]]
    for name in SEARCH_SPACE:
        first, second = (compiled(name)(parameters(name), t).logits for t in (tokens, mixed))
        assert np.allclose(first, second, atol=1e-6) == (name == "bag_of_embeddings"), name


def weighted(name: str, params: Any, tokens: Any) -> Any:
    """A smooth number that depends on every logit."""
    logits = network(name).apply({"params": params}, tokens, train=True).logits
    return (jnp.sin(logits) * jnp.arange(1.0, 1 + logits.size).reshape(logits.shape)).sum()


@functools.cache
def gradient_of(name: str) -> Any:
    return jax.jit(jax.grad(functools.partial(weighted, name)))


@every_model
def test_gradient_matches_finite_differences_of_the_reference(name):
    params, tokens = parameters(name), texts(7, 3, 1, 5, 0)
    gradient = gradient_of(name)(params, tokens)
    random = np.random.default_rng(3)

    def value(moved: Any) -> float:
        logits = reference(name, moved, tokens)[0]
        return (np.sin(logits) * np.arange(1.0, 1 + logits.size).reshape(logits.shape)).sum()

    leaves, tree = jax.tree.flatten(double(params))
    for number, slope in enumerate(jax.tree.leaves(gradient)):
        way = random.normal(size=slope.shape)
        up, down = (
            value(tree.unflatten([*leaves[:number], leaf, *leaves[number + 1 :]]))
            for leaf in (leaves[number] + 1e-6 * way, leaves[number] - 1e-6 * way)
        )
        # No parameter is left out, whatever the tolerance.
        assert np.abs(slope).max() > 1e-4
        expected = np.sum(np.asarray(slope, np.float64) * way)
        np.testing.assert_allclose((up - down) / 2e-6, expected, rtol=1e-3, atol=1e-3)


@every_model
def test_only_tokens_of_the_text_are_given_a_gradient(name):
    tokens = texts(3, 2, 0)
    gradient = gradient_of(name)(parameters(name), tokens)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    moved = np.flatnonzero(np.abs(gradient["TokenEmbedding_0"]["table"]).max(axis=1))
    assert set(moved) == set(tokens[tokens != PAD])


@every_model
def test_a_batch_of_empty_texts_gives_finite_outputs_and_gradients(name):
    tokens = texts()
    outputs = compiled(name)(parameters(name), tokens)
    gradient = gradient_of(name)(parameters(name), tokens)
    for leaf in (*outputs, *jax.tree.leaves(gradient)):
        assert np.isfinite(leaf).all()
    # The output layer's bias is learned from them all the same.
    assert np.abs(gradient["head"]["bias"]).min() > 0


@every_model
def test_a_token_beyond_the_table_shows(name):
    tokens = texts(7, 3, 1, 5, 2)
    tokens[1, 0] = NUM_TOKENS
    logits = compiled(name)(parameters(name), tokens).logits
    np.testing.assert_array_equal(np.isnan(logits).any(axis=1), [False, True, False, False, False])


@every_model
def test_a_vectorised_network_answers_and_learns_as_each_one_does(name):
    each = [parameters(name, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    tokens = np.stack([texts(7, 3, 1, 5), texts(2, 0, 6, 4), texts(1, 1, 7, 0)])
    together = jax.jit(jax.vmap(jax.grad(functools.partial(weighted, name))))(stacked, tokens)
    for number, params in enumerate(each):
        alone = jax.tree.leaves(gradient_of(name)(params, tokens[number]))
        for one, all_ in zip(alone, jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(one, all_[number], rtol=1e-4, atol=1e-5)


@every_model
def test_dropout_is_off_in_prediction(name):
    apply = jax.jit(network(name, dropout=0.5).apply, static_argnames="train")
    variables = {"params": parameters(name)}
    off = apply(variables, texts(7, 3, 1, 5, 2), train=False)
    np.testing.assert_array_equal(
        off.logits, compiled(name)(parameters(name), texts(7, 3, 1, 5, 2)).logits
    )
    first, again, other = (
        np.asarray(
            apply(variables, texts(7, 3, 1, 5, 2), train=True, rngs={"dropout": jax.random.key(s)})[
                1
            ]
        )
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # The output layer sees what dropout left.
    assert ((first == 0) & (np.asarray(off.embedding) != 0)).any()


@every_model
def test_learns_whether_a_token_is_there(name):
    random = np.random.default_rng(5)
    tokens = random.integers(0, NUM_TOKENS, (192, LENGTH)).astype(np.int32)
    tokens[random.random((192, LENGTH)) < 0.2] = 4
    tokens = np.where(np.arange(LENGTH) < random.integers(1, LENGTH + 1, (192, 1)), tokens, PAD)
    label = (tokens == 4).any(axis=1).astype(np.int32)
    assert 0.3 < label.mean() < 0.7
    model = network(name, dims=8)
    rule = optax.adamw(3e-2)

    @jax.jit
    def train(params: Any) -> Any:
        def loss(params: Any, batch: Any) -> Any:
            logits = model.apply({"params": params}, jnp.asarray(tokens)[batch], train=True).logits
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, jnp.asarray(label)[batch]
            )
            return losses.mean()

        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            updates, state = rule.update(jax.grad(loss)(params, batch), state, params)
            return (optax.apply_updates(params, updates), state), None

        batches = jnp.arange(60 * 32).reshape(60, 32) % 128
        params = jax.lax.scan(step, (params, rule.init(params)), batches)[0][0]
        return model.apply({"params": params}, tokens[128:], train=False).logits

    start = jax.jit(model.init)(jax.random.key(0), tokens[:1])["params"]
    assert np.mean(np.argmax(train(start), axis=1) == label[128:]) >= 0.9


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bag_of_embeddings", {"dims": 0}, "dims must be a whole number of 1 or more, got 0"),
        (
            "bag_of_embeddings",
            {"hidden": (0,)},
            r"hidden\[0\] must be a whole number of 1",
        ),
        ("bag_of_embeddings", {"dropout": 1.0}, "dropout must be a number in"),
        ("text_cnn", {"filters": 0}, "filters must be a whole number of 1 or more"),
        ("text_cnn", {"dims": -1}, "dims must be a whole number of 1 or more"),
        ("text_cnn", {"widths": ()}, "widths is empty"),
        ("text_cnn", {"widths": (3, 3)}, "widths holds 3 twice"),
        ("text_cnn", {"widths": (0, 3)}, r"widths\[0\] must be a whole number of 1 or more"),
        ("text_cnn", {"dropout": -0.1}, "dropout must be a number in"),
        ("bilstm", {"units": 0}, "units must be a whole number of 1 or more"),
        ("bilstm", {"dims": 0}, "dims must be a whole number of 1 or more"),
        ("bilstm", {"dropout": 1.5}, "dropout must be a number in"),
        ("bilstm", {"num_tokens": 5}, "num_tokens"),
    ],
)
def test_bad_settings_are_refused(name, settings, message):
    with pytest.raises(UserError, match=message):
        network(name, **settings)


def test_widths_of_the_embedding_follow_from_the_defaults():
    for name, width in (("bag_of_embeddings", 64), ("text_cnn", 96), ("bilstm", 128)):
        model = build({"name": name}, OUTPUTS, NUM_TOKENS)
        outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), texts(7, 3, 1, 5, 2))
        assert outputs.embedding.shape == (5, width)
    linear = build({"name": "bag_of_embeddings", "hidden": ()}, OUTPUTS, NUM_TOKENS)
    outputs, _ = jax.eval_shape(linear.init_with_output, jax.random.key(0), texts(7, 3, 1, 5, 2))
    assert outputs.embedding.shape == (5, 64)


def test_a_family_whose_parameters_changed_says_so_in_fingerprints():
    bag = {"name": "bag_of_embeddings", "dims": 8}
    assert identify(bag) == bag
    assert identify({"name": "bilstm"}) == {"name": "bilstm", "version": 2}
    layers = {"name": "teacher_layers", "layers": 2}
    assert identify(layers) == layers
