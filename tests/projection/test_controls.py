"""The controls: true fine labels and random splits."""

import dataclasses

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.projection import PROJECTORS, oracle, random_split
from lelp_jax.projection.engine.rows import EmbeddedRows


def fine_rows() -> tuple[EmbeddedRows, np.ndarray]:
    # Class 0 has the fine labels 4 and 9, class 1 has 0, 5 and 7; 5 is in both.
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0], np.int32)
    fine = np.array([4, 9, 4, 4, 7, 0, 5, 7, 7, 5, -1], np.int32)
    return EmbeddedRows(np.zeros((11, 4), np.float32), np.arange(11), label, fine), np.zeros((4, 2))


def test_oracle_scores():
    rows, weights = fine_rows()
    few = dataclasses.replace(
        rows, label=rows.label[:9], fine_label=rows.fine_label[:9], index=rows.index[:9]
    )
    projection = oracle.fit(few, weights, {}, 0)
    np.testing.assert_array_equal(projection.column_mask, [[True, True, False], [True] * 3])
    prior = np.log([[0.75, 0.25, 1.0], [0.2, 0.2, 0.6]])
    prior[0, 2] = -np.inf
    never = -np.inf
    scores = projection.scores(rows)
    np.testing.assert_allclose(scores[0], [[0, never, never], prior[1]], rtol=1e-6)
    np.testing.assert_allclose(scores[1], [[never, 0, never], prior[1]], rtol=1e-6)
    np.testing.assert_allclose(scores[4], [prior[0], [never, never, 0]], rtol=1e-6)
    np.testing.assert_allclose(scores[5], [prior[0], [0, never, never]], rtol=1e-6)
    np.testing.assert_allclose(scores[6], [prior[0], [never, 0, never]], rtol=1e-6)
    # A fine label that the class did not have when fitted, and a row without one.
    np.testing.assert_allclose(scores[9], prior, rtol=1e-6)
    np.testing.assert_allclose(scores[10], prior, rtol=1e-6)
    unknown = projection.scores(
        EmbeddedRows(rows.embedding[:3], np.arange(3), np.array([-1, 1, 0]), np.array([4, 40, 9]))
    )
    np.testing.assert_allclose(unknown[:2], [prior, prior], rtol=1e-6)
    assert np.isfinite(scores.max(axis=2)).all()
    np.testing.assert_allclose(np.exp(prior).sum(axis=1), 1)


def test_oracle_counts_a_fine_label_shared_by_two_classes_in_both():
    rows, weights = fine_rows()
    projection = oracle.fit(rows, weights, {}, 0)
    scores = projection.scores(rows)
    assert projection.column_mask.all()
    assert scores[6, 1].tolist() == [-np.inf, 0, -np.inf]
    assert scores[9, 0].tolist() == [-np.inf, 0, -np.inf]


def test_oracle_refuses_a_class_without_fine_labels():
    rows, weights = fine_rows()
    bare = dataclasses.replace(rows, fine_label=np.where(rows.label == 1, -1, rows.fine_label))
    with pytest.raises(UserError, match="class 1"):
        oracle.fit(bare, weights, {}, 0)
    with pytest.raises(UserError, match="class 0"):
        oracle.fit(dataclasses.replace(rows, fine_label=np.full(11, -1)), weights, {}, 0)


def split(index: np.ndarray, seed: int, classes: int = 3, count: int = 4) -> np.ndarray:
    rows = EmbeddedRows(
        np.zeros((len(index), 1), np.float32), index, np.zeros(len(index), np.int32)
    )
    projection = random_split.fit(rows, np.zeros((1, classes)), {"num_subclasses": count}, seed)
    return np.asarray(projection.scores(rows))


def test_random_split_gives_every_row_one_subclass_of_every_class():
    scores = split(np.arange(6000), 3)
    assert scores.shape == (6000, 3, 4)
    assert ((scores == 0).sum(axis=2) == 1).all()
    assert ((scores == 0) | (scores == -np.inf)).all()
    share = (scores == 0).mean(axis=0)
    # Five standard deviations.
    np.testing.assert_allclose(share, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 6000))
    chosen = scores.argmax(axis=2)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert abs((chosen[:, first] == chosen[:, second]).mean() - 0.25) < 0.03


def test_random_split_depends_on_seed_and_index_alone():
    index = np.arange(500)
    order = np.random.default_rng(0).permutation(500)
    first = split(index, 3)
    np.testing.assert_array_equal(split(index[order], 3), first[order])
    np.testing.assert_array_equal(split(index[200:210], 3), first[200:210])
    other = split(index, 4)
    assert abs((other == first).all(axis=2).mean() - 0.25) < 0.05


@pytest.mark.parametrize("name", PROJECTORS)
def test_projectors_are_registered_under_their_own_name(name):
    assert PROJECTORS[name].name == name
