"""Logistic regression against scikit-learn called by hand, and against the optimum's conditions."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from lelp_jax.core import metrics
from lelp_jax.references import linear
from lelp_jax.references.linear import Examples, fit_linear, limit_rows, list_candidates


def numbers(classes: int, rows: int = 90, weights: tuple[float, ...] = ()) -> Examples:
    """Returns rows of 2 x 3 features whose classes overlap; every tenth row has no class."""
    random = np.random.default_rng(classes)
    inputs = random.normal(size=(rows, 2, 3)).astype(np.float32)
    scores = inputs.reshape(rows, -1) @ random.normal(size=(6, classes))
    labels = (scores + random.gumbel(size=scores.shape)).argmax(axis=1).astype(np.int32)
    labels[::10] = -1
    return Examples(inputs, labels, np.array(weights or [1.0] * classes, np.float32))


def texts(rows: int = 60) -> Examples:
    """Returns texts of two classes, each with a word of its own beside common ones."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, rows).astype(np.int32)
    common = [" ".join(random.choice(["one", "two", "three", "a"], 4)) for _ in range(rows)]
    own = [("bad", "good")[label] for label in labels]
    words = [f"{text} {word}" for text, word in zip(common, own, strict=True)]
    return Examples(np.array(words, object), labels, np.ones(2, np.float32))


def labelled(examples: Examples, index: np.ndarray) -> np.ndarray:
    return index[examples.labels[index] >= 0]


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_those_of_scikit_learn(classes: int) -> None:
    examples = numbers(classes)
    fitted, held_out = np.arange(60), np.arange(60, 90)
    rows = labelled(examples, fitted)
    assert len(rows) == 54
    flat = examples.inputs.reshape(90, 6).astype(float)
    for candidate in list_candidates("numbers"):
        ours = fit_linear(examples, rows, candidate)
        theirs = LogisticRegression(C=candidate["C"]).fit(flat[rows], examples.labels[rows])
        expected = theirs.predict_proba(flat[held_out])
        found = np.exp(metrics.log_softmax(ours.predict(examples.inputs[held_out])))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert ours.parameters == (7 if classes == 2 else 21)
        assert ours.converged


def test_a_fit_meets_the_conditions_of_the_optimum() -> None:
    """The gradient of C * weighted loss + |w|^2 / 2 is zero, in NumPy alone."""
    examples = numbers(3, weights=(0.5, 1.0, 3.0))
    rows = labelled(examples, np.arange(90))
    ours = fit_linear(examples, rows, {"C": 0.1})
    assert ours.model is not None
    probability = np.exp(metrics.log_softmax(ours.predict(examples.inputs[rows])))
    weight = examples.class_weights[examples.labels[rows]].astype(float)
    residual = weight[:, None] * (probability - np.eye(3)[examples.labels[rows]])
    gradient = 0.1 * residual.T @ examples.inputs[rows].reshape(len(rows), -1) + ours.model.coef_
    np.testing.assert_allclose(gradient, 0, atol=2e-3)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=2e-2)


def test_every_candidate_is_scored_on_the_validation_rows() -> None:
    for examples, held_out in ((numbers(2), np.arange(61, 70)), (texts(), np.arange(40, 60))):
        rows = labelled(examples, np.arange(40))
        found = linear.score_candidates(examples, rows, held_out)
        assert len(found) == len(list_candidates(examples.kind))
        for candidate, scores in zip(list_candidates(examples.kind), found, strict=True):
            logits = fit_linear(examples, rows, candidate).predict(examples.inputs[held_out])
            assert scores == metrics.evaluate(logits, examples.labels[held_out])


@pytest.mark.parametrize("ngrams", [1, 2])
def test_texts_are_weighted_counts_of_terms(ngrams: int) -> None:
    examples = texts()
    rows, held_out = np.arange(40), np.arange(40, 60)
    ours = fit_linear(examples, rows, {"C": 10.0, "ngrams": ngrams})
    # The words of these texts are those of scikit-learn's own pattern, but for the short one.
    vectorizer = TfidfVectorizer(
        ngram_range=(1, ngrams), min_df=2, sublinear_tf=True, token_pattern=r"\w+"
    )
    features = vectorizer.fit_transform(examples.inputs[rows])
    model = LogisticRegression(C=10.0).fit(features, examples.labels[rows])
    expected = model.predict_proba(vectorizer.transform(examples.inputs[held_out]))
    found = np.exp(metrics.log_softmax(ours.predict(examples.inputs[held_out])))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert ours.parameters == features.shape[1] + 1
    assert (expected.argmax(axis=1) == examples.labels[held_out]).all()


@pytest.mark.parametrize(
    ("good", "bad"), [("很好的电影", "不好的电影"), ("Хорошо сделано", "плохо сделано"), ("5", "1")]
)
def test_texts_of_any_script_have_words(good: str, bad: str) -> None:
    labels = np.arange(8, dtype=np.int32) % 2
    examples = Examples(np.array([bad, good] * 4, object), labels, np.ones(2, np.float32))
    found = fit_linear(examples, np.arange(6), {"C": 100.0, "ngrams": 1}).predict(examples.inputs)
    assert (found.argmax(axis=1) == labels).all()


@pytest.mark.parametrize("inputs", [["!", "?", "", "..."], ["one", "two", "three", "four"]])
def test_texts_that_share_no_word_are_fitted_nevertheless(inputs: list[str]) -> None:
    labels = np.array([0, 0, 0, 1], np.int32)
    examples = Examples(np.array(inputs, object), labels, np.ones(2, np.float32))
    scored = linear.score_candidates(examples, np.arange(4), np.arange(4))
    assert all(np.isfinite(scores["nll"]) for scores in scored)
    logits = fit_linear(examples, np.arange(4), {"C": 100.0, "ngrams": 1}).predict(examples.inputs)
    # Words of single texts are used where there are no others; without words all texts are alike.
    assert metrics.accuracy(logits, labels) == (1 if inputs[0] == "one" else 0.75)


@given(counts=st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
def test_classes_without_a_row_get_a_finite_probability(counts: list[int]) -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), counts)
    inputs = np.random.default_rng(0).normal(size=(len(labels), 2)).astype(np.float32)
    examples = Examples(inputs, labels, np.ones(3, np.float32))
    fitted = fit_linear(examples, np.arange(len(labels)), {"C": 1.0})
    probability = np.exp(metrics.log_softmax(fitted.predict(inputs)))
    missing = np.array(counts) == 0
    expected = 1 / (len(labels) + 1) / (1 + missing.sum() / (len(labels) + 1))
    np.testing.assert_allclose(probability[:, missing], expected, rtol=1e-5)
    assert (probability[:, ~missing].max(axis=1) > expected).all()


def test_a_class_weight_of_two_is_each_of_its_rows_twice() -> None:
    weighted = numbers(2, weights=(1.0, 2.0))
    rows = labelled(weighted, np.arange(90))
    plain = dataclasses.replace(weighted, class_weights=np.ones(2, np.float32))
    repeated = np.concatenate([rows, rows[weighted.labels[rows] == 1]])
    found = fit_linear(weighted, rows, {"C": 1.0}).predict(weighted.inputs)
    expected = fit_linear(plain, repeated, {"C": 1.0}).predict(plain.inputs)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    without = fit_linear(plain, rows, {"C": 1.0}).predict(plain.inputs)
    assert np.abs(without - expected).max() > 0.1


def test_large_sets_of_rows_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = numbers(3)
    sets = [np.arange(20, 60), np.arange(0, 80, 2)]
    assert limit_rows(examples, sets, choosing=True) == sets
    # 6 features times 3 outputs: 180 values are 10 rows.
    monkeypatch.setattr(linear, "_FITTING", {"numbers": 180})
    monkeypatch.setattr(linear, "_CHOOSING", {"numbers": 180})
    fitted, chosen = (limit_rows(examples, sets, choosing=choosing) for choosing in (False, True))
    assert [len(rows) for rows in fitted] == [10, 10]
    assert [len(rows) for rows in chosen] == [5, 5]
    for rows, part, smaller in zip(sets, fitted, chosen, strict=True):
        assert set(smaller) < set(part) < set(rows)
        assert (np.diff(part) > 0).all()


def test_texts_are_counted_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = texts()
    words = sum(map(len, examples.inputs)) / len(examples.inputs) / 5
    monkeypatch.setattr(linear, "_FITTING", {"texts": 12.5 * words})
    assert [len(rows) for rows in limit_rows(examples, [np.arange(60)], choosing=False)] == [12]


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3)])
def test_images_are_fitted_in_the_scale_of_networks(classes: int, channels: int) -> None:
    """Dark and bright pixels, so that arithmetic in eight bits would wrap around."""
    random = np.random.default_rng(classes)
    images = random.integers(0, 256, (90, 2, 3, channels)).astype(np.uint8)
    flat = (images.reshape(90, -1).astype(float) - 127.5) / 63.75
    assert flat.min() < -1.9
    assert flat.max() > 1.9
    scores = flat @ random.normal(size=(flat.shape[1], classes))
    labels = (scores + random.gumbel(size=scores.shape)).argmax(axis=1).astype(np.int32)
    examples = Examples(images, labels, np.ones(classes, np.float32))
    assert examples.kind == "images"
    rows, held_out = np.arange(60), np.arange(60, 90)
    for candidate in list_candidates("images"):
        ours = fit_linear(examples, rows, candidate).predict(images[held_out])
        theirs = LogisticRegression(C=candidate["C"]).fit(flat[rows], labels[rows])
        expected = theirs.predict_proba(flat[held_out])
        np.testing.assert_allclose(np.exp(metrics.log_softmax(ours)), expected, atol=5e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_rows_are_predicted_a_few_at_a_time(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large images would not fit into memory as floats."""
    examples = numbers(classes)
    fitted = fit_linear(examples, labelled(examples, np.arange(60)), {"C": 1.0})
    at_once = fitted.predict(examples.inputs)
    sizes, read = [], linear._read_floats
    monkeypatch.setattr(linear, "_PREDICTED_VALUES", 42)
    monkeypatch.setattr(linear, "_read_floats", lambda x: sizes.append(len(x)) or read(x))
    np.testing.assert_allclose(fitted.predict(examples.inputs), at_once, rtol=1e-6)
    assert sizes == [7] * 12 + [6]
