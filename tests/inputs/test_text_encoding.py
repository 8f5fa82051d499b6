"""What networks see of texts: tokens of a checkpoint, words; how they are kept and saved."""

import collections
import functools
import json
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tokenizers import Tokenizer, models

from lelp_jax import inputs
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import Damaged, Interrupted, UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs import ragged
from lelp_jax.inputs.text_encoding import TextEncoding, read_tokenizer
from lelp_jax.inputs.words import Words
from tests.helpers import checkpoints

# As checkpoints.tokenizer numbers them.
NUMBER = {word: at for at, word in enumerate((*checkpoints.SPECIAL, *checkpoints.WORDS))}
TEXTS = ("the film was great", "Dull!", "a very, very slow ending", "", "warm and zzz", "the cast")


class Lines(Reporter):
    """Keeps what it is told to show."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def log(self, message):
        self.lines.append(message)


def session(interrupts=None) -> Session:
    return Session(Lines(), interrupts or Interrupts(), CurveLog(Path("metrics.jsonl")), 60)


def dataset(texts=TEXTS, max_length=16, train=None) -> Dataset:
    rows = np.arange(len(texts))
    train = rows[: len(texts) // 2] if train is None else np.asarray(train)
    rest = np.setdiff1d(rows, train)
    return Dataset(
        inputs=np.array([*texts, None], object)[:-1],
        labels=(rows % 2).astype(np.int32),
        fine_labels=None,
        train=train,
        validation=rest[: (len(rest) + 1) // 2],
        test=rest[(len(rest) + 1) // 2 :],
        class_names=("no", "yes"),
        fine_names=(),
        preprocessing=None,
        max_length=max_length,
    )


def numbers(*words: str) -> list[int]:
    return [NUMBER[word] for word in words]


def encoding(max_length=16) -> TextEncoding:
    return TextEncoding(checkpoints.tokenizer(), max_length)


def word_level(unknown=True, max_length=16) -> TextEncoding:
    """Splits nothing: each known text is one token."""
    vocabulary = {"b": 0, "u": 1} if unknown else {"b": 0}
    return TextEncoding(Tokenizer(models.WordLevel(vocabulary, unk_token="u")), max_length)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return checkpoints.write(tmp_path_factory.mktemp("checkpoint"))


def view(name: str, **settings):
    return inputs.build({"name": name, **settings}, "config.student.inputs")


# Tokens of a text.


def test_tokens_are_those_worked_out_by_hand():
    # "greatly" is "great" and "##ly"; no piece of "zzz" is known.
    tokens = encoding()(["The film!", "greatly zzz", ""])
    frame = [
        numbers("[CLS]", "the", "film", "!", "[SEP]"),
        numbers("[CLS]", "great", "##ly", "[UNK]", "[SEP]"),
        [*numbers("[CLS]", "[SEP]"), -1, -1, -1],
    ]
    assert tokens.dtype == np.int32
    assert tokens.tolist() == frame


def test_padding_and_truncation_of_the_file_are_replaced(tmp_path):
    tokenizer = checkpoints.tokenizer()
    tokenizer.enable_padding(length=9, pad_id=0)
    tokenizer.enable_truncation(4, direction="left")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = TextEncoding(read_tokenizer(tmp_path / "tokenizer.json", ""), 6)
    assert found(["the film was great", "dull"]).tolist() == [
        numbers("[CLS]", "the", "film", "was", "great", "[SEP]"),
        [*numbers("[CLS]", "dull", "[SEP]"), -1, -1, -1],
    ]


def test_a_long_text_is_cut_before_its_last_token_and_counted():
    tokens, uncut = encoding(4).encode(["the film was not very good", "dull", "great film"])
    assert tokens.pad().tolist() == [
        numbers("[CLS]", "the", "film", "[SEP]"),
        [*numbers("[CLS]", "dull", "[SEP]"), -1],
        numbers("[CLS]", "great", "film", "[SEP]"),
    ]
    assert uncut.tolist() == [8, 3, 4]


def test_a_length_without_room_for_text_is_refused():
    assert encoding(3)(["the film"]).tolist() == [numbers("[CLS]", "the", "[SEP]")]
    with pytest.raises(UserError, match=r"max_length 2 leaves no room.*take 3 or more"):
        encoding(2)


def test_a_text_without_tokens_becomes_the_unknown_one():
    assert word_level()(["", "b", "c"]).tolist() == [[1], [0], [1]]


def test_a_text_without_tokens_is_refused_where_none_stands_for_unknown_ones():
    with pytest.raises(UserError, match="row 1 has no token"):
        word_level(unknown=False)(["b", ""])
    with pytest.raises(UserError, match=r"rows 0 to 0 .*vocabulary"):
        word_level(unknown=False)(["c"])


def test_unknown_token_of_a_unigram_vocabulary():
    unigram = models.Unigram([("a", -1.0), ("<unk>", -2.0)], unk_id=1)
    assert TextEncoding(Tokenizer(unigram), 8)([""]).tolist() == [[1]]


@pytest.mark.parametrize("text", ["日本 film", "\x00film", "film\ud83d", "\u0301film", "ﬁlm 🤖"])
def test_unusual_characters_make_tokens_of_the_table(text):
    tokens = encoding()([text, "film"])
    held = tokens[0][tokens[0] != -1]
    assert held[0] == NUMBER["[CLS]"]
    assert held[-1] == NUMBER["[SEP]"]
    assert set(held.tolist()) <= set(NUMBER.values())
    assert (tokens[0] == -1).sum() == tokens.shape[1] - len(held)


def test_only_texts_are_taken():
    with pytest.raises(UserError, match="row 1 must be text, got None"):
        encoding()(["film", None])
    with pytest.raises(UserError, match="put it into a list"):
        encoding()("film")


@functools.cache
def shared() -> TextEncoding:
    return encoding(7)


@hypothesis.given(
    st.lists(st.text(st.sampled_from("the film zé!\n🤖"), max_size=12), min_size=1, max_size=6)
)
def test_a_text_has_the_same_tokens_alone_and_among_others(texts):
    together = shared()(texts)
    for row, text in zip(together, texts, strict=True):
        assert row[row != -1].tolist() == shared()([text])[0].tolist()
        assert (row[(row != -1).sum() :] == -1).all()


def test_chunks_change_nothing(monkeypatch):
    whole, uncut = encoding().encode(TEXTS)
    monkeypatch.setattr("lelp_jax.inputs.text_encoding._TEXTS_AT_ONCE", 4)
    parts, uncut_parts = encoding().encode(TEXTS)
    np.testing.assert_array_equal(whole.pad(), parts.pad())
    np.testing.assert_array_equal(uncut, uncut_parts)


def test_a_saved_encoding_gives_the_same_tokens(tmp_path):
    facts = json.loads(json.dumps(encoding(5).save(tmp_path)))
    loaded = inputs.ENCODINGS["texts"].load(tmp_path, facts)
    np.testing.assert_array_equal(loaded(TEXTS), encoding(5)(TEXTS))


# The view of a checkpoint's tokens.


def test_rows_of_the_view_are_rows_of_the_data(checkpoint, tmp_path):
    texts = [f"{a} {b}" for a in checkpoints.WORDS[:9] for b in checkpoints.WORDS[9:14]]
    order = np.random.default_rng(0).permutation(len(texts))
    made = view("tokens", checkpoint=str(checkpoint))
    plain = made.ensure(tmp_path, dataset(texts), session())
    shuffled = made.ensure(tmp_path, dataset([texts[at] for at in order]), session())
    np.testing.assert_array_equal(shuffled.values, plain.values[order])
    assert plain.fingerprint != shuffled.fingerprint
    assert len(np.unique(plain.values, axis=0)) == len(texts)
    np.testing.assert_array_equal(plain.values, plain.encoding(texts))


def test_the_view_says_what_is_cut_once(checkpoint, tmp_path):
    made, first, second = view("tokens", checkpoint=str(checkpoint)), session(), session()
    found = made.ensure(tmp_path, dataset(max_length=5), first)
    # Lengths with the frame: 6, 4, 8, 2, 5, 4. Of the validation texts "" and "warm and zzz" one
    # of 2 + 5 tokens is unknown.
    assert found.notes == (
        "2 of 6 texts (33.3 %) are cut at 5 tokens (median length 4, longest 8)",
        f"14.3 % of the tokens of validation texts are unknown to the vocabulary of {len(NUMBER)}",
    )
    assert first.reporter.lines == list(found.notes)
    again = made.ensure(tmp_path, dataset(max_length=5), second)
    assert again.notes == found.notes
    assert not second.reporter.lines


def test_tokens_are_made_once(checkpoint, tmp_path, monkeypatch):
    made = view("tokens", checkpoint=str(checkpoint))
    first = made.ensure(tmp_path, dataset(), session())
    other = made.ensure(tmp_path, dataset(max_length=5), session())
    monkeypatch.setattr(TextEncoding, "encode", None)
    again = made.ensure(tmp_path, dataset(), session())
    np.testing.assert_array_equal(first.values, again.values)
    assert (again.fingerprint, again.num_tokens) == (first.fingerprint, len(NUMBER))
    assert other.fingerprint != first.fingerprint


def test_another_tokenizer_makes_other_tokens(checkpoint, tmp_path):
    words = (*checkpoints.WORDS[1:], checkpoints.WORDS[0])
    other = checkpoints.write(tmp_path / "other", words=words)
    found = [
        view("tokens", checkpoint=str(folder)).ensure(tmp_path, dataset(), session())
        for folder in (checkpoint, other)
    ]
    assert found[0].fingerprint != found[1].fingerprint
    assert (found[0].values != found[1].values).any()


def test_vocabularies_beyond_two_bytes_are_kept_whole(tmp_path):
    for highest, size in ((65_535, 2), (65_536, 4)):
        tokens = ragged.Ragged(np.array([0, highest, 3]), np.array([2, 1]))
        names = ragged.write(tmp_path, tokens)
        assert np.load(tmp_path / names[0]).itemsize == size
        assert ragged.read(tmp_path, names, 2).pad().tolist() == [[0, highest], [3, -1]]


@pytest.mark.parametrize("damage", ["changed", "cut off", "gone", "swapped"])
@pytest.mark.parametrize("name", ["tokens.npy", "lengths.npy", "tokenizer.json"])
def test_damaged_tokens_are_made_again(checkpoint, tmp_path, name, damage):
    made = view("tokens", checkpoint=str(checkpoint))
    first = made.ensure(tmp_path, dataset(), session())
    (path,) = tmp_path.glob(f"inputs/*/{name}")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "swapped":
        # Another file that is sound, under this one's name.
        np.save(path, np.arange(6, dtype=np.uint16))
    else:
        changed = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        path.write_bytes(changed if damage == "changed" else content[:-2])
    again = made.ensure(tmp_path, dataset(), session())
    assert path.read_bytes() == content
    np.testing.assert_array_equal(again.values, first.values)


def test_tokens_of_other_texts_are_not_taken(checkpoint, tmp_path):
    made = view("tokens", checkpoint=str(checkpoint))
    made.ensure(tmp_path, dataset(), session())
    other = made.ensure(tmp_path, dataset(TEXTS[:4]), session())
    (folder,) = [path for path in (tmp_path / "inputs").iterdir() if path.name != other.fingerprint]
    for path in (tmp_path / "inputs" / other.fingerprint).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert made.ensure(tmp_path, dataset(), session()).values.shape[0] == len(TEXTS)
    with pytest.raises(Damaged, match=r"of 4 texts, not those of 6; delete .* to build it again"):
        ragged.read(tmp_path / "inputs" / other.fingerprint, ["tokens.npy", "lengths.npy"], 6)


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path):
    folder = checkpoints.write(tmp_path / "checkpoint")
    checkpoints.tokenizer((*checkpoints.WORDS, "boat")).save(str(folder / "tokenizer.json"))
    count = len(NUMBER)
    with pytest.raises(UserError, match=f"has {count + 1} tokens, but .* embeds {count}"):
        view("tokens", checkpoint=str(folder)).ensure(tmp_path, dataset(), session())
    assert not (tmp_path / "inputs").exists()


@pytest.mark.parametrize("content", ["", "{", "{}", '{"version": "9"}'])
def test_a_tokenizer_that_cannot_be_read_is_refused_with_a_hint(tmp_path, content):
    folder = checkpoints.write(tmp_path / "checkpoint")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"json is not a readable tokenizer.*AutoTokenizer"):
        view("tokens", checkpoint=str(folder)).ensure(tmp_path, dataset(), session())


def test_a_missing_tokenizer_is_said_to_be_missing(tmp_path):
    folder = checkpoints.write(tmp_path / "checkpoint")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("a\n")
    with pytest.raises(UserError, match=r"tokenizer\.json.*AutoTokenizer"):
        view("tokens", checkpoint=str(folder)).ensure(tmp_path, dataset(), session())
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\); copy it"):
        read_tokenizer(folder / "tokenizer.json", "copy it")


def test_texts_longer_than_the_checkpoint_reads_are_refused(checkpoint, tmp_path):
    made = view("tokens", checkpoint=str(checkpoint))
    with pytest.raises(UserError, match=r"config\.data\.max_length 41 exceeds the 40 tokens"):
        made.ensure(tmp_path, dataset(max_length=41), session())
    assert len(made.ensure(tmp_path, dataset(max_length=40), session()).values) == len(TEXTS)


@pytest.mark.parametrize("name", ["tokens", "embeddings"])
def test_a_checkpoint_has_to_be_named(tmp_path, name):
    with pytest.raises(UserError, match=f"inputs '{name}': checkpoint is empty"):
        view(name).ensure(tmp_path, dataset(), session())


@pytest.mark.parametrize("name", ["tokens", "words", "embeddings"])
def test_numbers_are_refused(name):
    class Numbers:
        of_texts = of_images = False

    with pytest.raises(UserError, match=f"'{name}'.*data are numbers"):
        view(name).check(Numbers())
    view(name).check(dataset())


def test_views_say_whether_they_are_of_tokens(checkpoint, tmp_path):
    for name, settings in (
        ("tokens", {"checkpoint": str(checkpoint)}),
        ("words", {"min_count": 1}),
        ("embeddings", {"checkpoint": str(checkpoint)}),
    ):
        made = view(name, **settings)
        found = made.ensure(tmp_path, dataset(), session())
        of_tokens = made.kind == "tokens"
        assert of_tokens == np.issubdtype(found.values.dtype, np.integer)
        assert of_tokens == (found.num_tokens > 0)


def test_an_interrupted_run_stops(checkpoint, tmp_path):
    interrupts = Interrupts()
    interrupts._receive(15, None)
    signalled = session(interrupts)
    with pytest.raises(Interrupted):
        view("words", min_count=1).ensure(tmp_path, dataset(), signalled)


# Words.


def test_words_are_numbered_by_frequency_then_by_their_characters():
    texts = ["b B a a! c c", "É e, x", "ﬁn", "c"]
    # c 3, a b e 2 each, "!" "," fin x 1 each.
    words = ["[UNK]", "c", "a", "b", "e", "!", ",", "fin", "x"]
    for wanted in (words, words[:3]):
        made = Words(vocabulary_size=len(wanted), min_count=1).tokenizer(np.array(texts, object))
        assert made.get_vocab() == {word: at for at, word in enumerate(wanted)}
    made = Words(min_count=2).tokenizer(np.array(texts, object))
    assert made.get_vocab() == {word: at for at, word in enumerate(words[:5])}


@hypothesis.given(st.lists(st.sampled_from([f"w{at}" for at in range(30)]), min_size=1))
def test_the_vocabulary_is_that_of_counting(words):
    counts = collections.Counter(words)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[:10]
    made = Words(vocabulary_size=11, min_count=1).tokenizer(np.array([" ".join(words)], object))
    assert made.get_vocab() == {word: at for at, word in enumerate(["[UNK]", *ranked])}


def test_ties_do_not_depend_on_the_order_of_a_hash_table():
    words = [f"{chr(97 + a)}{b}" for a in range(26) for b in range(20)]
    made = Words(vocabulary_size=200, min_count=1).tokenizer(np.array(words[::-1], object))
    ranked = ["[UNK]", *sorted(words)[:199]]
    assert made.get_vocab() == {word: at for at, word in enumerate(ranked)}


def test_words_are_those_of_training_rows_alone(tmp_path):
    texts = ["good film", "bad film", "odd film", "dire plot"]
    found = view("words", min_count=1).ensure(tmp_path, dataset(texts, train=[0, 1]), session())
    # film 2, bad 1, good 1.
    assert found.values.tolist() == [[3, 1], [2, 1], [0, 1], [0, 0]]
    assert found.num_tokens == 4
    assert found.notes[1].startswith("50.0 % of the tokens of validation texts are unknown")


def test_an_empty_text_is_the_unknown_word(tmp_path):
    found = view("words", min_count=1).ensure(tmp_path, dataset(["a b", "", "b"]), session())
    assert found.values.tolist() == [[1, 2], [0, -1], [2, -1]]
    np.testing.assert_array_equal(found.encoding(["a b", "", "b"]), found.values)


def test_words_are_kept_with_their_vocabulary(tmp_path, monkeypatch):
    made = view("words", min_count=1)
    first = made.ensure(tmp_path, dataset(), session())
    others = [
        view("words", min_count=1, vocabulary_size=3).ensure(tmp_path, dataset(), session()),
        view("words", min_count=2).ensure(tmp_path, dataset(), session()),
        made.ensure(tmp_path, dataset(train=[0, 2]), session()),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4
    monkeypatch.setattr(TextEncoding, "encode", None)
    monkeypatch.setattr(Words, "tokenizer", None)
    again = made.ensure(tmp_path, dataset(), session())
    np.testing.assert_array_equal(first.values, again.values)


def test_words_that_nothing_could_be_made_of_are_refused(tmp_path):
    with pytest.raises(UserError, match="no word is in the 3 training rows 9 times"):
        view("words", min_count=9).ensure(tmp_path, dataset(), session())
    for name, value in (("vocabulary_size", 1), ("min_count", 0)):
        with pytest.raises(UserError, match=rf"config\.student\.inputs\.{name} must be"):
            view("words", **{name: value})
