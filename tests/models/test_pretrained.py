"""Checkpoints of the Hugging Face hub: names, types, files, damage, and the way from the hub."""

import dataclasses
import json
import re
from pathlib import Path

import huggingface_hub
import huggingface_hub.errors
import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lelp_jax.core.errors import Unavailable, UserError
from lelp_jax.models import pretrained
from tests.helpers import checkpoints
from tests.helpers.trees import assert_equal

PLACE = "config.teacher.checkpoint"
FILES = ("config.json", "tokenizer.json", "model.safetensors")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 442\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    return checkpoints.write(tmp_path / "encoder")


def load(folder: Path) -> pretrained.Pretrained:
    return pretrained.load(str(folder), PLACE)


def rewrite(folder: Path, change) -> None:
    """Replaces the tensors of a checkpoint by what a function makes of them."""
    path = folder / "model.safetensors"
    tensors = change({name: array.copy() for name, array in load_file(path).items()})
    save_file(tensors, path)


def reconfigure(folder: Path, **entries) -> None:
    """Changes entries of config.json; None removes one."""
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def test_what_is_loaded(folder):
    loaded = load(folder)
    assert loaded.folder == folder
    assert loaded.tokenizer_file == folder / "tokenizer.json"
    assert loaded.architecture.longest == 40
    tensors = load_file(folder / "model.safetensors")
    block = loaded.parameters["layer_1"]
    prefix = "encoder.layer.1.attention"
    keys = block["query_key_value"]["kernel"][:, 32:64]
    np.testing.assert_array_equal(keys.T, tensors[f"{prefix}.self.key.weight"])
    np.testing.assert_array_equal(
        block["attention_norm"]["scale"], tensors[f"{prefix}.output.LayerNorm.weight"]
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.parameters)} == {np.dtype("float32")}
    assert set(loaded.parameters) - set(loaded.trunk("mean")) == {"pooler"}
    assert set(loaded.trunk("pooler")) == set(loaded.parameters)


def test_fingerprint_is_of_the_content(folder, tmp_path):
    first = load(folder).fingerprint
    other = checkpoints.write(tmp_path / "other", prefix="bert.")
    assert load(other).fingerprint == first
    reconfigure(other, layer_norm_eps=1e-6)
    assert load(other).fingerprint != first
    assert load(checkpoints.write(tmp_path / "third", seed=1)).fingerprint != first

    def nudge(tensors):
        bias = tensors["encoder.layer.1.output.dense.bias"]
        bias[3] = np.nextafter(bias[3], 2, dtype=np.float32)
        return tensors

    rewrite(folder, nudge)
    assert load(folder).fingerprint != first


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "albert"])
def test_prefixes_and_heads_of_other_tasks(family, tmp_path):
    plain = load(checkpoints.write(tmp_path / "plain", family))
    folder = checkpoints.write(tmp_path / "task", family, prefix=f"{family}.")
    heads = {
        name: np.zeros((2, 3), np.float32)
        for name in ("cls.predictions.bias", "classifier.weight", "lm_head.bias", "vocab_norm.bias")
    }
    rewrite(folder, lambda tensors: {**tensors, **heads})
    assert_equal(load(folder).parameters, plain.parameters)


@pytest.mark.parametrize("model_type", ["xlm-roberta", "camembert"])
def test_other_names_of_a_family(model_type, tmp_path):
    folder = checkpoints.write(tmp_path / "encoder", "roberta", pad_token_id=3)
    reconfigure(folder, model_type=model_type)
    architecture = load(folder).architecture
    assert (architecture.family, architecture.first_position) == ("roberta", 4)


def test_old_names_of_normalisations(folder):
    new = load(folder).parameters

    def older(tensors):
        old = {"weight": "gamma", "bias": "beta"}
        pattern = re.compile(r"(?<=LayerNorm\.)(weight|bias)$")
        return {pattern.sub(lambda m: old[m[0]], name): a for name, a in tensors.items()}

    rewrite(folder, older)
    assert "embeddings.LayerNorm.gamma" in load_file(folder / "model.safetensors")
    assert_equal(load(folder).parameters, new)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_types_become_float32(folder, dtype):
    exact = load(folder).parameters
    rewrite(folder, lambda tensors: {name: a.astype(dtype) for name, a in tensors.items()})
    rounded = jax.tree.map(lambda leaf: leaf.astype(dtype).astype(np.float32), exact)
    assert_equal(load(folder).parameters, rounded)


def shard(folder: Path) -> dict[str, str]:
    """Spreads the weights over two files with an index; returns the file of each tensor."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    file_of = {
        name: f"model-0000{number % 2 + 1}-of-00002.safetensors"
        for number, name in enumerate(tensors)
    }
    for file in set(file_of.values()):
        save_file({name: tensors[name] for name in tensors if file_of[name] == file}, folder / file)
    index = {"metadata": {}, "weight_map": file_of}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return file_of


def test_weights_in_several_files(folder):
    whole = load(folder)
    file_of = shard(folder)
    assert load(folder).fingerprint == whole.fingerprint
    assert_equal(load(folder).parameters, whole.parameters)
    (folder / next(iter(file_of.values()))).unlink()
    with pytest.raises(
        UserError, match=r"index.json names model-0000.-of-00002\.safetensors, of wh"
    ):
        load(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="no weight_map"):
        load(folder)


def test_the_single_file_goes_before_shards(folder, tmp_path, caplog):
    stale = checkpoints.write(tmp_path / "stale", seed=1)
    shard(stale)
    for path in stale.glob("*-of-*"):
        path.rename(folder / path.name)
    (stale / "model.safetensors.index.json").rename(folder / "model.safetensors.index.json")
    fresh = load(checkpoints.write(tmp_path / "fresh"))
    assert load(folder).fingerprint == fresh.fingerprint
    assert_equal(load(folder).parameters, fresh.parameters)
    assert "model.safetensors is read, not the files that model.safetensors.index" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["pytorch_model.bin"],
            r"pytorch_model.bin, are not read; .*AutoModel.from_pretrained\('/",
        ),
        (
            ["model.fp16.safetensors"],
            r"has model.fp16.safetensors, but neither .*; rename a single",
        ),
        (
            [f"model-{part}-of-5.safetensors" for part in range(1, 6)],
            r"has model-1-of-5.safetensors, .*-3-of-5.safetensors and 2 more, but neither .* index",
        ),
    ],
)
def test_weights_under_other_names_are_refused(folder, names, message):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).write_bytes(weights)
    with pytest.raises(UserError, match=f"^{PLACE}: .*{message}") as error:
        load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "prefix", ["module.", "module.bert.", "_orig_mod.", "model.", "_orig_mod.module.encoder."]
)
def test_prefixes_of_wrappers(folder, prefix, tmp_path):
    wrapped = checkpoints.write(tmp_path / "wrapped", prefix=prefix)
    assert load(wrapped).fingerprint == load(folder).fingerprint


def test_the_usual_encoder_is_taken_from_several(folder):
    whole = load(folder)
    rewrite(folder, lambda old: {**old, **{f"draft.{name}": 2 * old[name] for name in old}})
    assert load(folder).fingerprint == whole.fingerprint
    rewrite(folder, lambda old: {f"a.{name}": tensor for name, tensor in old.items()})
    with pytest.raises(UserError, match=r"several encoders: 'a.emb.* and 'a.draft.emb.* its own"):
        load(folder)


def without(name: str):
    return lambda tensors: {key: array for key, array in tensors.items() if name not in key}


def with_value(value: float):
    def change(tensors):
        tensors["encoder.layer.0.output.dense.weight"][1, 2] = value
        return tensors

    return change


def test_pooler_may_be_missing(folder):
    rewrite(folder, without("pooler"))
    loaded = load(folder)
    assert not loaded.architecture.pooler
    assert set(loaded.trunk("cls")) == {"embeddings", "layer_0", "layer_1"}
    with pytest.raises(UserError, match=rf"{PLACE}.*no pooler.*'mean' or 'cls'"):
        loaded.trunk("pooler")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer.1.output.dense.bias"), "'encoder.layer.1.output.dense.bias'"),
        (
            without("word_embeddings"),
            "no tensor .*, whatever is before its name; the first are 'embeddings.LayerN",
        ),
        (with_value(np.nan), "'encoder.layer.0.output.dense.weight' .* not finite"),
        (with_value(np.inf), "'encoder.layer.0.output.dense.weight' .* not finite"),
        (
            lambda tensors: {**tensors, "pooler.dense.weight": np.zeros((32, 31), np.float32)},
            r"'pooler.dense.weight' .* shape \(32, 31\), but config.json asks for \(32, 32\)",
        ),
        (
            lambda tensors: {**tensors, "pooler.dense.weight": np.zeros((32, 32), np.int8)},
            "holds int8; .* not quantised",
        ),
    ],
)
def test_damaged_weights_are_refused(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(UserError, match=f"^{PLACE}: .*{message}") as error:
        load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model_type": "brt"}, r"model_type 'brt', of which .* -m lelp_jax.answer --model=/"),
        ({"model_type": ["bert"]}, r"model_type \['bert'\], of which there is no network here"),
        ({"model_type": None}, 'has no model_type; .*"model_type": "bert"; known: albert, bert, '),
        ({"hidden_act": ["gelu"]}, "unknown activation"),
        ({"hidden_size": None}, "no hidden_size"),
        ({"hidden_size": "32"}, "dims must be a whole number"),
        ({"num_attention_heads": 5}, "multiple of heads"),
        ({"hidden_act": "swish"}, "unknown activation"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder True"),
        ({"vocab_size": 7}, "'embeddings.word_embeddings.weight' .* shape"),
        ({"num_hidden_layers": 3}, "no tensor 'encoder.layer.2"),
    ],
)
def test_other_networks_are_refused(folder, entries, message):
    reconfigure(folder, **entries)
    with pytest.raises(UserError, match=message) as error:
        load(folder)
    assert str(error.value).count("\n") == 0
    assert PLACE in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, ".*config.json is missing; give the folder of a Hugging Face"),
        ("config.json", b"{", "config.json cannot be read"),
        ("config.json", b"[]", "holds no object"),
        ("tokenizer.json", None, "tokenizer.json is missing"),
        ("model.safetensors", None, "pytorch_model.bin, are not read; .*save_pretrained"),
        ("model.safetensors", b"", "model.safetensors cannot be read"),
        ("model.safetensors", b"\x10" + bytes(7) + b'{"a": 1', "model.safetensors cannot be read"),
        ("model.safetensors", bytes(7) + b"\x40" + bytes(99), "model.safetensors cannot be read"),
        ("config.json", b'{"a": ' * 100_000, "config.json cannot be read"),
        ("config.json", b"[" * 100_000 + b"]" * 100_000, "config.json cannot be read"),
        *((file, POINTER, rf"{file} is a Git LFS pointer .*`git lfs pull` in /") for file in FILES),
    ],
)
def test_missing_and_damaged_files_are_refused(folder, file, content, message):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load(folder)
    assert str(error.value).startswith(f"{PLACE}: ")
    assert "\n" not in str(error.value)


def test_a_folder_around_the_checkpoint_is_told(folder):
    with pytest.raises(UserError, match=rf"config.json is missing; .*, such as {folder}$"):
        load(folder.parent)


def test_weights_that_end_early_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        load(folder)


class Hub:
    """Stands for the hub: keeps the calls, and answers with a folder or an error."""

    def __init__(self, cached: Path | Exception, fetched: Path | Exception) -> None:
        self.answers = {True: cached, False: fetched}
        self.calls: list[bool] = []
        self.wanted: list[list[str]] = []

    def __call__(
        self, name: str, *, allow_patterns, local_files_only: bool = False, revision: str = ""
    ) -> str:
        assert name == "somebody/encoder"
        # A snapshot is completed in place, never exchanged for a newer one.
        assert not revision or revision == Path(self.answers[True]).name
        assert not {"pytorch_model.bin", "onnx/model.onnx"} & set(allow_patterns)
        self.calls.append(local_files_only)
        self.wanted.append(allow_patterns)
        answer = self.answers[local_files_only]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


NOT_CACHED = huggingface_hub.errors.LocalEntryNotFoundError("Cannot find a snapshot")


def test_names_on_the_hub_are_fetched_once(folder, tmp_path, monkeypatch):
    (tmp_path / "broken off").mkdir()
    for cached, calls in (
        (folder, [True, True, False]),
        (NOT_CACHED, [True, False, True, False]),
        (tmp_path / "broken off", [True, False, True, False]),
    ):
        hub = Hub(cached, folder)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
        assert pretrained.load("somebody/encoder", PLACE).folder == folder
        assert hub.calls == calls


def test_a_pooling_that_another_program_did_not_fetch_is_looked_up(folder, monkeypatch, caplog):
    failure = huggingface_hub.errors.LocalEntryNotFoundError("Cannot find it")
    hub = Hub(folder, failure)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    for _ in range(2):
        assert pretrained.load("somebody/encoder", PLACE).folder == folder
    # Once only: without a network each time would take its while.
    assert hub.calls == [True, True, False, True, True]
    assert "modules.json" in hub.wanted[2]
    assert "model*.safetensors" not in hub.wanted[2]
    assert "whether somebody/encoder has a modules.json, which would say its pool" in caplog.text
    (folder / "modules.json").write_text("[]")
    pretrained.load("somebody/encoder", PLACE)
    assert hub.calls[5:] == [True, True]


def test_other_families_are_refused_before_their_weights_are_fetched(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "xlnet"}')
    hub = Hub(NOT_CACHED, tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    with pytest.raises(UserError) as error:
        pretrained.load("somebody/encoder", PLACE)
    assert hub.wanted == [["config.json"]] * 2
    assert str(error.value) == (
        f"{PLACE}: {tmp_path}/config.json has model_type 'xlnet', of which there is no network "
        "here (known: albert, bert, camembert, deberta-v2, distilbert, electra, modernbert, mpnet, "
        "roberta, xlm-roberta); let PyTorch answer as a teacher with `python -m lelp_jax.answer "
        "--model=somebody/encoder --data=DATA --out=teacher.npz`, and take config.teacher.source "
        "'arrays'"
    )


def test_unreachable_hub_is_said_in_one_line(monkeypatch):
    failure = huggingface_hub.errors.LocalEntryNotFoundError("Got: ConnectError\nAn error happened")
    failure.__cause__ = ConnectionError("[Errno -2] Name or service not known\nmore")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(NOT_CACHED, failure))
    with pytest.raises(Unavailable) as error:
        pretrained.load("somebody/encoder", PLACE)
    assert str(error.value) == (
        f"{PLACE}: 'somebody/encoder' is neither a folder nor could it be fetched from the Hugging "
        "Face hub (ConnectionError: [Errno -2] Name or service not known); where the hub can be "
        "reached, run `hf download somebody/encoder --local-dir DIR`, and give the folder DIR"
    )


def test_names_that_the_hub_does_not_know(monkeypatch):
    # Its constructor wants an answer of the server, of a class that differs between versions.
    kind = huggingface_hub.errors.RepositoryNotFoundError
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(NOT_CACHED, kind.__new__(kind)))
    with pytest.raises(UserError, match=f"^{PLACE}: 'somebody/encoder' .* check the spelling"):
        pretrained.load("somebody/encoder", PLACE)


@pytest.mark.parametrize("name", ["", "/nowhere/encoder", "a/b/c", "../encoder", "two words"])
def test_what_is_no_name_is_not_asked_for(name, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises(UserError, match=f"^{PLACE}: the folder {name!r} is missing"):
        pretrained.load(name, PLACE)


@pytest.mark.parametrize(
    ("layers", "kept"),
    [(6, [0, 1, 2, 3, 4, 5]), (4, [0, 2, 3, 5]), (3, [1, 3, 5]), (2, [2, 5]), (1, [5])],
)
def test_cut_keeps_evenly_spaced_layers(layers, kept, tmp_path):
    whole = load(checkpoints.write(tmp_path / "encoder", num_hidden_layers=6))
    architecture = pretrained.cut_architecture(whole.architecture, layers)
    params = pretrained.cut_parameters(whole.architecture, whole.parameters, layers)
    assert architecture == dataclasses.replace(whole.architecture, layers=layers)
    for new, old in enumerate(kept):
        assert_equal(params[f"layer_{new}"], whole.parameters[f"layer_{old}"])
    assert len(params) == layers + 2
    assert_equal(params["embeddings"], whole.parameters["embeddings"])


def test_cut_runs_shared_layers_fewer_times(tmp_path):
    sizes = {"num_hidden_layers": 4, "num_hidden_groups": 2}
    whole = load(checkpoints.write(tmp_path / "encoder", "albert", **sizes))
    assert whole.architecture.sequence == (0, 0, 1, 1)
    architecture = pretrained.cut_architecture(whole.architecture, 3)
    params = pretrained.cut_parameters(whole.architecture, whole.parameters, 3)
    assert architecture.sequence == (0, 0, 1)
    assert_equal(params, whole.parameters)
    for layers, message in ((0, r"1\.\.4, got 0"), (5, r"1\.\.4, got 5"), (1, r"at least groups")):
        with pytest.raises(UserError, match=message):
            pretrained.cut_architecture(whole.architecture, layers)
