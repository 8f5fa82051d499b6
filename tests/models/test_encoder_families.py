"""All families of pretrained encoders beside transformers: states, heads, positions, gradients."""

import dataclasses
import functools
import json
import shutil
import types
import typing
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.models import pretrained
from lelp_jax.models.encoder import positions
from lelp_jax.models.encoder.architecture import Architecture, Family
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.encoder.trunk import Trunk, embed
from lelp_jax.models.pretrained.families import BY_NAME, MODEL_TYPES
from lelp_jax.models.tokens import PAD, mask
from tests.helpers import checkpoints

_SIZES = {
    "vocab_size": len(checkpoints.SPECIAL) + len(checkpoints.WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 168,
    "num_labels": 3,
}
_DEBERTA = {
    **_SIZES,
    "relative_attention": True,
    "position_biased_input": False,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": "p2c|c2p",
    "position_buckets": 16,
}
# The class in transformers without "Config", and its config.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "albert": ("Albert", {**_SIZES, "embedding_size": 16, "num_hidden_groups": 2}),
    "bert": ("Bert", _SIZES),
    "camembert": ("Camembert", {**_SIZES, "type_vocab_size": 1, "pad_token_id": 1}),
    "deberta-v2": ("DebertaV2", _DEBERTA),
    "deberta-v2 with a distance and types": (
        "DebertaV2",
        {
            **_DEBERTA,
            "max_relative_positions": 30,
            "pos_att_type": ["c2p", "p2c"],
            "type_vocab_size": 2,
            "pooler_hidden_act": "tanh",
        },
    ),
    "distilbert": (
        "DistilBert",
        {
            "vocab_size": _SIZES["vocab_size"],
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 40,
            "max_position_embeddings": 168,
            "num_labels": 3,
        },
    ),
    "electra": ("Electra", {**_SIZES, "embedding_size": 16}),
    "electra of one width": ("Electra", {**_SIZES, "embedding_size": 32}),
    "modernbert": ("ModernBert", {**_SIZES, "local_attention": 8, "pad_token_id": 0}),
    "modernbert of another pattern": (
        "ModernBert",
        {
            **_SIZES,
            "local_attention": 13,
            "pad_token_id": 0,
            "classifier_pooling": "mean",
            "classifier_activation": "relu",
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "global_rope_theta": 500.0,
            "local_rope_theta": 20.0,
        },
    ),
    "mpnet": ("MPNet", _SIZES),
    "roberta": ("Roberta", {**_SIZES, "type_vocab_size": 1, "pad_token_id": 3}),
    "xlm-roberta": ("XLMRoberta", {**_SIZES, "type_vocab_size": 1}),
}
# One for each network that is new beside BERT's.
NETWORKS = ("deberta-v2", "electra", "modernbert", "mpnet")


@pytest.fixture(scope="module")
def torch_side() -> types.SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return types.SimpleNamespace(torch=torch, transformers=transformers)


@pytest.fixture(scope="module")
def folders(torch_side, tmp_path_factory):
    """Writes the checkpoint of a variant, with a head, as transformers does; each once."""

    @functools.cache
    def write(variant: str) -> tuple[Path, Any]:
        name, sizes = VARIANTS[variant]
        config = getattr(torch_side.transformers, f"{name}Config")(**sizes)
        torch_side.torch.manual_seed(0)
        model = getattr(torch_side.transformers, f"{name}ForSequenceClassification")(config).eval()
        with torch_side.torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch_side.torch.randn_like(parameter))
        folder = tmp_path_factory.mktemp("encoder")
        model.save_pretrained(folder)
        checkpoints.tokenizer().save(str(folder / "tokenizer.json"))
        return folder, model

    return write


def texts(length: int, lengths: tuple[int, ...]) -> np.ndarray:
    tokens = np.random.default_rng(0).integers(4, 40, (len(lengths), length), np.int32)
    return np.where(np.arange(length) < np.array(lengths)[:, None], tokens, PAD).astype(np.int32)


def reference(side, model, tokens: np.ndarray):
    """Returns logits and the last hidden state, by transformers."""
    held = mask(tokens)
    with side.torch.no_grad():
        outputs = model(
            side.torch.tensor(np.where(held, tokens, model.config.pad_token_id or 0).astype(int)),
            attention_mask=side.torch.tensor(held.astype(np.int64)),
            output_hidden_states=True,
        )
    return outputs.logits.numpy(), outputs.hidden_states[-1].numpy()


def test_every_family_is_compared():
    assert {variant.partition(" ")[0] for variant in VARIANTS} == set(MODEL_TYPES)
    assert set(BY_NAME) == set(MODEL_TYPES.values()) == set(typing.get_args(Family))


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_and_heads_are_those_of_transformers(variant, folders, torch_side):
    folder, model = folders(variant)
    loaded = pretrained.load(str(folder), "here")
    assert loaded.architecture.pooler
    trunk = Trunk(loaded.architecture, "pooler")
    program = jax.jit(lambda params, tokens: trunk.apply({"params": params}, tokens))
    tensors = load_file(folder / "model.safetensors")
    [head] = [
        name.removesuffix(".weight")
        for name, tensor in tensors.items()
        if name.endswith(".weight") and tensor.shape == (3, 32)
    ]
    for length, lengths in ((160, (160, 1, 47)), (12, (12, 5, 12))):
        tokens = texts(length, lengths)
        logits, states = reference(torch_side, model, tokens)
        ours = program(loaded.trunk("pooler"), tokens)
        held = mask(tokens)
        assert np.std(states[held]) > 0.1
        np.testing.assert_allclose(ours.hidden[held], states[held], atol=2e-5)
        ours = ours.pooled @ tensors[f"{head}.weight"].T + tensors[f"{head}.bias"]
        np.testing.assert_allclose(ours, logits, atol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_architectures_survive_a_file(variant, folders):
    architecture = pretrained.load(str(folders(variant)[0]), "here").architecture
    text = json.dumps(architecture.describe())
    assert sections.build(Architecture, json.loads(text), "here") == architecture


def test_older_words_of_modernbert(folders, tmp_path):
    """Those of the config.json that the authors published."""
    folder, _ = folders("modernbert")
    shutil.copytree(folder, tmp_path / "older")
    path = tmp_path / "older/config.json"
    values = json.loads(path.read_text())
    assert values.pop("layer_types")[:3] == ["full_attention", *["sliding_attention"] * 2]
    assert values.pop("rope_parameters")["full_attention"]["rope_theta"] == 160_000
    values |= {"global_attn_every_n_layers": 3, "position_embedding_type": "absolute"}
    values |= {"global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0}
    path.write_text(json.dumps(values))
    new = pretrained.load(str(folder), "here").architecture
    assert pretrained.load(str(path.parent), "here").architecture == new
    path.write_text(json.dumps({**values, "local_rope_theta": None}))
    one_base = pretrained.load(str(path.parent), "here").architecture
    assert one_base == dataclasses.replace(new, local_rotary_base=160_000.0)


@pytest.mark.parametrize(
    ("variant", "entries", "message"),
    [
        ("deberta-v2", {"conv_kernel_size": 3}, "conv_kernel_size 3, of which only 0"),
        ("deberta-v2", {"share_att_key": False}, "share_att_key False, of which only True"),
        ("deberta-v2", {"pos_att_type": "c2p"}, r"pos_att_type 'c2p', of which only 'p2c\|c2p'"),
        ("deberta-v2", {"position_buckets": -1}, "buckets must be a whole number of 0 or more"),
        ("deberta-v2", {"pooler_hidden_act": "mish"}, "pooler_activation must be .*, got 'mish'"),
        ("modernbert", {"norm_bias": True}, "norm_bias True, of which only False"),
        ("modernbert", {"rope_scaling": {"type": "linear"}}, "scales its rotary positions"),
        (
            "modernbert",
            {"layer_types": ["full_attention"]},
            "windows must be one for each of the 4",
        ),
        ("modernbert", {"layer_types": ["chunked"] * 4}, r"windows\[0\] must be"),
        ("modernbert", {"local_attention": "8"}, "holds a value of another type"),
        ("mpnet", {"relative_attention_num_buckets": 16}, "num_buckets 16, of which only 32"),
    ],
)
def test_networks_that_are_not_built_are_refused(variant, entries, message, folders, tmp_path):
    shutil.copytree(folders(variant)[0], tmp_path / "other")
    path = tmp_path / "other/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    with pytest.raises(UserError, match=f"^here: .*{message}") as error:
        pretrained.load(str(path.parent), "here")
    assert "\n" not in str(error.value)


def test_a_head_of_another_shape_is_no_pooler(folders, tmp_path):
    shutil.copytree(folders("roberta")[0], tmp_path / "other")
    path = tmp_path / "other/model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "classifier.dense.weight": np.ones((7, 32), np.float32)}, path)
    assert not pretrained.load(str(path.parent), "here").architecture.pooler


@pytest.mark.parametrize("variant", NETWORKS)
def test_padding_and_other_rows_change_nothing(variant, folders):
    loaded = pretrained.load(str(folders(variant)[0]), "here")
    trunk = Trunk(loaded.architecture)
    program = jax.jit(lambda params, tokens: trunk.apply({"params": params}, tokens))
    params = loaded.trunk("mean")
    tokens = texts(12, (12, 5, 0))
    long = np.pad(tokens, ((0, 0), (0, 20)), constant_values=PAD)
    first, second = program(params, tokens), program(params, long)
    np.testing.assert_allclose(first.pooled, second.pooled, atol=1e-5)
    np.testing.assert_array_equal(first.pooled[2], 0)
    assert np.isfinite(second.hidden).all()
    np.testing.assert_allclose(first.pooled[:2], program(params, tokens[:2]).pooled, atol=1e-5)


@pytest.mark.parametrize("variant", NETWORKS)
def test_files_of_other_kinds_hold_the_same(variant, folders, torch_side, tmp_path):
    folder, model = folders(variant)
    exact = pretrained.load(str(folder), "here")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    checkpoints.tokenizer().save(str(tmp_path / "shards/tokenizer.json"))
    assert pretrained.load(str(tmp_path / "shards"), "here").fingerprint == exact.fingerprint
    tensors = load_file(folder / "model.safetensors")
    for dtype in (ml_dtypes.bfloat16, np.float16):
        save_file(
            {f"module.{name}": tensor.astype(dtype) for name, tensor in tensors.items()},
            tmp_path / "shards/model.safetensors",
        )
        rounded = pretrained.load(str(tmp_path / "shards"), "here")
        assert rounded.architecture == exact.architecture
        pairs = zip(
            jax.tree.leaves(rounded.parameters), jax.tree.leaves(exact.parameters), strict=True
        )
        for found, wanted in pairs:
            np.testing.assert_array_equal(found, wanted.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("variant", NETWORKS)
def test_all_parameters_are_trained(variant, folders):
    loaded = pretrained.load(str(folders(variant)[0]), "here")
    encoder = Encoder(3, loaded.architecture, "pooler", checkpointing=True)
    tokens = texts(12, (12, 5, 12))
    start = {
        "trunk": loaded.trunk("pooler"),
        "head": {"kernel": np.ones((32, 3), np.float32), "bias": np.zeros(3, np.float32)},
    }
    wanted = jax.eval_shape(encoder.init, jax.random.key(0), tokens)["params"]
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, wanted)

    def loss(params):
        rngs = {"dropout": jax.random.key(0)}
        outputs = encoder.apply({"params": params}, tokens, train=True, rngs=rngs)
        return jnp.square(outputs.logits - jnp.arange(3)).sum()

    for path, gradient in flatten_dict(jax.jit(jax.grad(loss))(start)).items():
        assert np.isfinite(gradient).all(), path
        # A bias of all keys changes no softmax, but it does with the query's distance.
        assert np.abs(gradient).max() > 0, path


@pytest.mark.parametrize("variant", NETWORKS)
def test_bfloat16_is_near_float32(variant, folders):
    loaded = pretrained.load(str(folders(variant)[0]), "here")
    program = jax.jit(embed, static_argnums=(0, 1, 2))
    exact, coarse = (
        program(loaded.architecture, "mean", dtype, loaded.trunk("mean"), texts(12, (12, 5, 12)))
        for dtype in ("float32", "bfloat16")
    )
    assert coarse.dtype == jnp.float32
    assert 1e-5 < np.abs(coarse - exact).max() < 0.1 * np.abs(exact).max()


def test_cut_layers_keep_their_windows_and_norms(folders):
    loaded = pretrained.load(str(folders("modernbert")[0]), "here")
    whole = loaded.architecture
    assert whole.windows == (0, 4, 4, 0)
    assert not whole.first_norm
    cut = pretrained.cut_architecture(whole, 2)
    assert (cut.windows, cut.first_norm) == ((4, 0), True)
    params = pretrained.cut_parameters(whole, loaded.trunk("mean"), 2)
    wanted = jax.eval_shape(Trunk(cut).init, jax.random.key(0), texts(12, (12,)))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, wanted)
    assert not pretrained.cut_architecture(whole, 4).first_norm


@given(st.integers(2, 60), st.integers(0, 600))
def test_rows_of_disentangled_distances(buckets, beyond):
    import torch
    from transformers.models.deberta_v2 import modeling_deberta_v2 as deberta

    longest = buckets // 2 + 2 + beyond
    distances = np.arange(-700, 701)
    ours = positions.disentangled_rows(distances, buckets, longest)
    theirs = deberta.make_log_bucket_position(torch.tensor(distances), buckets, longest)
    theirs = torch.clamp(theirs.to(torch.long) + buckets, 0, 2 * buckets - 1)
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_rows_of_biased_distances():
    import torch
    from transformers.models.mpnet import modeling_mpnet as mpnet

    distances = np.arange(-700, 701)
    theirs = mpnet.MPNetEncoder.relative_position_bucket(torch.tensor(-distances))
    np.testing.assert_array_equal(positions.bias_rows(distances, 32, 128), theirs.numpy())


@pytest.mark.parametrize("length", [1, 2, 7])
def test_shear_picks_the_distance_of_each_pair(length):
    scores = np.random.default_rng(0).normal(size=(3, length, 2 * length - 1))
    ours = positions.shear(jnp.asarray(scores))
    for row in range(length):
        for column in range(length):
            wanted = scores[:, row, length - 1 - (row - column)]
            np.testing.assert_allclose(ours[:, row, column], wanted, rtol=1e-6)


def test_descriptions_leave_out_what_is_as_in_bert(folders):
    small = Architecture("bert", 50, dims=16, layers=2, heads=2, hidden=24, positions=24)
    assert list(small.describe()) == [
        *("family", "num_tokens", "dims", "layers", "heads", "hidden", "positions"),
        *("first_position", "token_types", "embedding_dims", "groups", "inner", "activation"),
        *("norm_epsilon", "pooler"),
    ]
    other = dataclasses.replace(small, gated=True)
    assert other.describe() == {**small.describe(), "gated": True}
