"""Texts as embeddings of a checkpoint: their values, how they are kept, and saved students' own."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from lelp_jax import inputs
from lelp_jax.core import parallel
from lelp_jax.core.errors import Interrupted, UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.inputs import embedding_stage
from lelp_jax.inputs.frozen import FrozenEncoder
from lelp_jax.models import token_batches
from lelp_jax.models.token_batches import make_batches
from lelp_jax.models.tokens import lengths
from tests.helpers import checkpoints, stored
from tests.inputs.test_text_encoding import dataset, session

# Of one to ten words, in no order of length, each beginning with a word of its own.
_RANDOM = np.random.default_rng(1)
TEXTS = [
    " ".join([checkpoints.WORDS[row], *_RANDOM.choice(checkpoints.WORDS[:24], size=7 * row % 10)])
    for row in range(24)
]


class Stopped(Interrupts):
    """Asks to stop at the n-th look."""

    def __init__(self, at: int):
        super().__init__()
        self.left = at

    def check(self):
        self.left -= 1
        if self.left < 0:
            raise Interrupted(15)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return checkpoints.write(tmp_path_factory.mktemp("checkpoint"), num_hidden_layers=1)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Makes batches of 4 texts at most and parts of 2 batches."""
    monkeypatch.setattr(token_batches, "_TOKENS_PER_BATCH", 32)
    monkeypatch.setattr(embedding_stage, "_BATCHES_PER_PART", 2)


@pytest.fixture
def embedded(monkeypatch) -> list[int]:
    """Returns a list to which the sizes of embedded batches are added."""
    sizes = []
    original = FrozenEncoder.embed

    def counted(self, tokens, batch):
        sizes.append(len(batch.rows))
        return original(self, tokens, batch)

    monkeypatch.setattr(FrozenEncoder, "embed", counted)
    return sizes


def ensure(checkpoint, root, data=None, watch=None, **settings):
    settings = {"name": "embeddings", "checkpoint": str(checkpoint), **settings}
    made = inputs.build(settings, "config.student.inputs")
    return made.ensure(root, data or dataset(TEXTS), session(watch))


def network(checkpoint, pooling="mean") -> FrozenEncoder:
    from lelp_jax.models import pretrained

    return FrozenEncoder(pretrained.load(str(checkpoint), "test"), pooling, "float32")


def standardized(raw, train):
    """Mean 0 and variance 1 over some rows, in float64."""
    raw = np.asarray(raw, np.float64)
    return (raw - raw[train].mean(axis=0)) / raw[train].std(axis=0)


def test_every_row_is_in_one_batch_that_is_long_enough():
    counts = np.random.default_rng(0).integers(1, 41, size=200)
    for longest in (40, 64, 512):
        found = make_batches(counts, longest)
        rows = np.concatenate([batch.rows for batch in found])
        # In one order on every machine: by length, then as they came.
        assert rows.tolist() == sorted(range(200), key=lambda row: (counts[row], row))
        for batch in found:
            assert counts[batch.rows].max() <= batch.length <= longest
            assert len(batch.rows) * batch.length <= max(32, batch.length)
            # No more padding than a third of the places, but in the shortest.
            assert batch.length <= max(8, 1.5 * counts[batch.rows].min() + 8)
    assert {batch.length for batch in make_batches(counts, 512)} == {8, 16, 24, 32, 48}


def test_rows_are_embedded_as_one_at_a_time(checkpoint, tmp_path):
    found = ensure(checkpoint, tmp_path)
    alone = network(checkpoint)
    raw = np.concatenate([alone(found.encoding.tokens([text])) for text in TEXTS])
    assert len({batch.length for batch in alone.batches(found.encoding.tokens(TEXTS))}) == 2
    assert found.values.dtype == np.float32
    assert found.num_tokens == 0
    np.testing.assert_allclose(
        found.values, standardized(raw, dataset(TEXTS).train), rtol=1e-4, atol=1e-4
    )


def test_the_embedding_is_the_mean_of_hidden_states(checkpoint):
    # That of one batch of all texts, padded to the longest, worked out apart from the batches.
    from lelp_jax.models.encoder.trunk import Trunk

    made = network(checkpoint)
    tokens = inputs.ENCODINGS["texts"].load(checkpoint, {"max_length": 16})(TEXTS)
    trunk = Trunk(made.checkpoint.architecture)
    params = {"params": made.checkpoint.trunk("mean")}
    hidden = np.asarray(jax.jit(trunk.apply)(params, tokens).hidden, np.float64)
    wanted = [row[:count].mean(axis=0) for row, count in zip(hidden, lengths(tokens), strict=True)]
    np.testing.assert_allclose(made(tokens), wanted, rtol=1e-4, atol=1e-5)


def test_rows_are_those_of_the_data_in_any_order(checkpoint, tmp_path):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    tokens = inputs.ENCODINGS["texts"].load(checkpoint, {"max_length": 16})(TEXTS)
    made = network(checkpoint)
    values = made(tokens)
    assert len(np.unique(values.round(4), axis=0)) == len(TEXTS)
    np.testing.assert_allclose(made(tokens[order]), values[order], rtol=1e-5, atol=1e-5)


def test_embeddings_are_computed_once(checkpoint, tmp_path, embedded):
    first = ensure(checkpoint, tmp_path)
    assert sum(embedded) == len(TEXTS)
    again = ensure(checkpoint, tmp_path)
    assert sum(embedded) == len(TEXTS)
    np.testing.assert_array_equal(first.values, again.values)
    assert again.fingerprint == first.fingerprint
    others = [
        ensure(checkpoint, tmp_path, pooling="cls"),
        ensure(checkpoint, tmp_path, compute_dtype="bfloat16"),
        ensure(checkpoint, tmp_path, dataset(TEXTS, train=[0, 5, 9])),
        ensure(checkpoint, tmp_path, dataset(TEXTS, max_length=8)),
        ensure(checkpoints.write(tmp_path / "other", seed=1, num_hidden_layers=1), tmp_path),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_a_stopped_run_goes_on_where_it_was(checkpoint, tmp_path, embedded):
    whole = ensure(checkpoint, tmp_path / "whole")
    total = len(embedded)
    # Two looks come before the first batch. The fifth batch belongs to a part that is not done.
    embedded.clear()
    with pytest.raises(Interrupted):
        ensure(checkpoint, tmp_path / "stopped", watch=Stopped(at=2 + 5))
    assert len(embedded) == 5
    assert len(list((tmp_path / "stopped").glob("embeddings/*/part_*.npy"))) == 2
    embedded.clear()
    resumed = ensure(checkpoint, tmp_path / "stopped")
    assert len(embedded) == total - 4
    np.testing.assert_array_equal(resumed.values, whole.values)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def forget(path: Path) -> None:
    """Leaves the checksums as a process that was killed while it wrote the first one."""
    checksums = path.with_name("finished.jsonl")
    first, *others = checksums.read_bytes().split(b"\n")[1:]
    checksums.write_bytes(b"\n".join([b"", first[:20], *others]))


DAMAGES = {
    "empty": empty,
    "cut": lambda path: stored.cut(path, -3),
    "flipped": lambda path: stored.flip(path, path.stat().st_size - 2),
    "deleted": Path.unlink,
    "checksum cut": forget,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_part_that_is_not_as_it_was_written_is_computed_again(
    checkpoint, tmp_path, embedded, damage, package_log
):
    whole = ensure(checkpoint, tmp_path / "whole")
    with pytest.raises(Interrupted):
        ensure(checkpoint, tmp_path / "stopped", watch=Stopped(at=2 + 5))
    first = min((tmp_path / "stopped").glob("embeddings/*/part_*.npy"))
    DAMAGES[damage](first)
    embedded.clear()
    resumed = ensure(checkpoint, tmp_path / "stopped")
    assert len(embedded) == len(network(checkpoint).batches(resumed.encoding.tokens(TEXTS))) - 2
    np.testing.assert_array_equal(resumed.values, whole.values)
    warned = [text for _, text in package_log if text.endswith("computing it again")]
    assert warned == [f"{first} has changed since it was written; computing it again"] * (
        damage in ("empty", "cut", "flipped")
    )
    # What the finished artifact holds is listed in its marker.
    names = {path.name for path in first.parent.iterdir()}
    assert names == {
        path.name for path in next((tmp_path / "whole").glob("embeddings/*")).iterdir()
    }
    assert "finished.jsonl" not in names


@pytest.mark.parametrize("damage", ["flip", "delete", "parts"])
def test_damaged_embeddings_are_computed_again(checkpoint, tmp_path, embedded, damage):
    first = ensure(checkpoint, tmp_path)
    path = min(tmp_path.glob("embeddings/*/part_*.npy"))
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    elif damage == "delete":
        path.unlink()
    else:
        marker = path.parent / "stage.json"
        content = json.loads(marker.read_text())
        content["facts"]["parts"].pop()
        marker.write_text(json.dumps(content))
    embedded.clear()
    again = ensure(checkpoint, tmp_path)
    assert sum(embedded) == len(TEXTS)
    np.testing.assert_array_equal(again.values, first.values)


def _changed(folder: Path, change) -> Path:
    """Returns a checkpoint with other tensors."""
    from safetensors.numpy import load_file, save_file

    checkpoints.write(folder, num_hidden_layers=1)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_dead_dimensions_are_zero(tmp_path):
    last = "encoder.layer.0.output.LayerNorm"

    def kill(tensors):
        # Constant up to rounding; constant but for a spread that is none beside the others'.
        tensors[f"{last}.weight"][[3, 7]] = 0, 1e-8
        tensors[f"{last}.bias"][[3, 7]] = 1, 0

    found = ensure(_changed(tmp_path / "dead", kill), tmp_path)
    train = dataset(TEXTS).train
    assert np.isfinite(found.values).all()
    deviation = found.values[train].std(axis=0)
    assert found.values[:, [3, 7]].max() == found.values[:, [3, 7]].min() == 0
    np.testing.assert_allclose(np.delete(deviation, [3, 7]), 1, rtol=1e-4)
    assert found.notes[-1].startswith("2 of 32 features are constant over the training rows")


def test_values_that_are_not_finite_are_refused(tmp_path):
    def break_one(tensors):
        # The word of one text alone; its sum over dimensions is beyond float32.
        tensors["embeddings.word_embeddings.weight"][-1] = 3e38

    folder = _changed(tmp_path / "broken", break_one)
    texts = [*TEXTS[:20], checkpoints.WORDS[-1], *TEXTS[20:]]
    with pytest.raises(UserError, match=r"row 20 .*not finite in float32"):
        ensure(folder, tmp_path, dataset(texts))
    assert not list(tmp_path.glob("embeddings/*"))


def test_settings_that_the_checkpoint_does_not_have_are_refused(checkpoint, tmp_path):
    for name, value in (("pooling", "max"), ("compute_dtype", "int8")):
        with pytest.raises(UserError, match=f"{name} must be"):
            ensure(checkpoint, tmp_path, **{name: value})


def test_a_saved_encoding_gives_the_same_values(checkpoint, tmp_path):
    found = ensure(checkpoint, tmp_path)
    folder = tmp_path / "student"
    folder.mkdir()
    facts = json.loads(json.dumps(found.encoding.save(folder)))
    loaded = inputs.ENCODINGS["embeddings"].load(folder, facts)
    np.testing.assert_allclose(loaded(TEXTS), found.values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(loaded(TEXTS[5:6]), found.values[5:6], rtol=1e-4, atol=1e-4)


def test_a_saved_encoding_needs_its_checkpoint(tmp_path, monkeypatch):
    own = checkpoints.write(tmp_path / "own", num_hidden_layers=1)
    # Named from where the run was started, loaded from elsewhere.
    monkeypatch.chdir(tmp_path)
    found = ensure("own", tmp_path)
    facts = found.encoding.save(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load = inputs.ENCODINGS["embeddings"].load
    assert load(tmp_path, facts)(TEXTS).shape == found.values.shape
    checkpoints.write(own, seed=1, num_hidden_layers=1)
    with pytest.raises(UserError, match=r"fingerprint .* put back the one"):
        load(tmp_path, facts)
    shutil.rmtree(own)
    with pytest.raises(UserError, match=f"embeddings of {own}: the folder .* is missing"):
        load(tmp_path, facts)


def test_rows_may_be_spread_over_devices(checkpoint, monkeypatch):
    tokens = inputs.ENCODINGS["texts"].load(checkpoint, {"max_length": 16})(TEXTS)
    values = network(checkpoint)(tokens)
    monkeypatch.setattr(parallel, "is_cpu", lambda: False)
    np.testing.assert_allclose(network(checkpoint)(tokens), values, rtol=1e-5, atol=1e-5)
