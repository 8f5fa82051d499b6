"""Counts of words and pairs, beside those of scikit-learn."""

import numpy as np
import pytest

from lelp_jax.report.diagnostics import word_counts

TEXTS = (
    "The cat, the CAT and the dog.",
    "A dog and a cat!",
    "the bird <b>sings</b>; the bird flies",
    "birds_of a feather, 7 of them",
    "",
    "?! ...",
    "naïve Straße и кот",
    "the the the",
)


def test_features_are_those_of_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer

    reference = TfidfVectorizer(token_pattern=r"\w+", ngram_range=(1, 2))
    expected = reference.fit_transform(TEXTS).toarray()
    unseen = ("the bird and an unknown one", "nothing")
    seen, others = word_counts.compute_features(TEXTS, unseen, 1000, 1000)
    assert seen.shape == expected.shape
    # Columns are in another order here.
    order, wanted = np.lexsort(np.round(seen, 6)), np.lexsort(np.round(expected, 6))
    np.testing.assert_allclose(seen[:, order], expected[:, wanted], rtol=1e-6)
    np.testing.assert_allclose(seen @ others.T, expected @ reference.transform(unseen).T, rtol=1e-6)
    assert seen.dtype == others.dtype == np.float32


def test_the_words_of_most_texts_are_taken_and_ties_go_by_their_letters():
    texts = ["b c", "c a", "b c", "z z z z"]
    seen, _ = word_counts.compute_features(texts, [], 4, 9)
    weight = {m: 1 + np.log(5 / (1 + m)) for m in (1, 2, 3)}
    # "c" is in three texts; "b" and "b c" are in two; of the others "a" comes first.
    expected = np.array([[1, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0], [0, 0, 0, 0]], float)
    expected *= [weight[3], weight[2], weight[2], weight[1]]
    expected[:3] /= np.linalg.norm(expected[:3], axis=1, keepdims=True)
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_features_do_not_depend_on_the_order_of_the_rows():
    order = np.random.default_rng(0).permutation(len(TEXTS))
    seen, unseen = word_counts.compute_features(TEXTS, TEXTS, 9, 99)
    again, _ = word_counts.compute_features([TEXTS[row] for row in order], [], 9, 99)
    np.testing.assert_array_equal(again, seen[order])
    np.testing.assert_array_equal(unseen, seen)


def test_a_text_is_read_so_many_words_far():
    seen, _ = word_counts.compute_features(["a b c d", "a b x y", "a b"], [], 99, 2)
    np.testing.assert_array_equal(seen, np.repeat(seen[2:], 3, axis=0))
    assert seen.shape == (3, 3)


@pytest.mark.parametrize(
    ("text", "count"), [("猫は魚", 3), ("NumPy漢字", 3), ("кот", 1), ("\ud800 a", 1)]
)
def test_characters_written_without_blanks_are_words(text: str, count: int):
    # Words, and pairs of neighbours.
    assert word_counts.compute_features([text], [], 99, 99)[0].shape == (1, 2 * count - 1)


def test_texts_without_words_have_no_features():
    seen, unseen = word_counts.compute_features(["", "?"], ["a"], 9, 9)
    assert seen.shape == (2, 0)
    assert unseen.shape == (1, 0)
