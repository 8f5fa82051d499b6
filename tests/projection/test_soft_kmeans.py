"""Soft k-means against scikit-learn and its own formula."""

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.projection import base, soft_kmeans
from lelp_jax.projection.base import arrays_of
from lelp_jax.projection.engine.rows import EmbeddedRows
from tests.helpers.embeddings import (
    CLASSES,
    COUNT,
    DIMS,
    KMEANS,
    complement,
    distance,
    example,
    principal,
    with_embedding,
)


def coordinates(
    rows: EmbeddedRows, weights: np.ndarray, projection: base.Projection
) -> list[np.ndarray]:
    """Returns the coordinates of all rows for each class, in float64."""
    arrays = {key: value.astype(np.float64) for key, value in arrays_of(projection).items()}
    residual = rows.embedding.astype(np.float64) @ complement(weights)
    return [(residual - arrays["mean"][i]) @ arrays["basis"][i] for i in range(CLASSES)]


def test_soft_kmeans_scores_are_scaled_squared_distances():
    rows, weights = example()
    projection = soft_kmeans.fit(rows, weights, KMEANS, 0)
    scores = np.asarray(projection.scores(rows))
    assert scores.shape == (COUNT, CLASSES, 3)
    for index, place in enumerate(coordinates(rows, weights, projection)):
        values, vectors = principal(rows, weights, index)
        assert values[3] > 0
        assert distance(projection.basis[index], vectors[:, :4]) < 2e-4
        middle = projection.centers[index].astype(np.float64)
        squared = np.square(place[:, None] - middle).sum(axis=2)
        spread = squared[rows.label == index].min(axis=1).mean()
        np.testing.assert_allclose(projection.radius[index] ** 2, spread, rtol=1e-4)
        np.testing.assert_allclose(scores[:, index], -squared / (2 * spread), rtol=1e-3, atol=1e-3)


def test_soft_kmeans_is_as_good_as_scikit_learn():
    from sklearn.cluster import KMeans

    rows, weights = example()
    projection = soft_kmeans.fit(rows, weights, KMEANS, 11)
    for index, place in enumerate(coordinates(rows, weights, projection)):
        own = place[rows.label == index]
        best = KMeans(3, n_init=20, random_state=0).fit(own).inertia_
        np.testing.assert_allclose(projection.radius[index] ** 2 * len(own), best, rtol=0.02)


def test_soft_kmeans_is_repeatable_and_finds_planted_clusters():
    rows, weights = example()
    first, second = (soft_kmeans.fit(rows, weights, KMEANS, 4) for _ in range(2))
    for name, values in arrays_of(first).items():
        np.testing.assert_array_equal(values, arrays_of(second)[name])
    random = np.random.default_rng(0)
    planted = random.integers(0, 3, COUNT)
    outside = np.linalg.svd(complement(weights))[0][:, :3]
    embedding = 20 * outside.T[planted] + 0.1 * random.normal(size=(COUNT, DIMS))
    clustered = with_embedding(rows, embedding)
    scores = np.asarray(soft_kmeans.fit(clustered, weights, KMEANS, 0).scores(clustered))
    for index in range(CLASSES):
        table = np.zeros((3, 3), int)
        np.add.at(table, (planted, scores[:, index].argmax(axis=1)), 1)
        assert sorted(table.max(axis=1)) == sorted(np.bincount(planted))
        assert len(set(table.argmax(axis=1))) == 3


def test_soft_kmeans_with_a_row_per_centre_stays_finite():
    random = np.random.default_rng(0)
    rows = EmbeddedRows(
        random.normal(size=(7, DIMS)).astype(np.float32),
        np.arange(7),
        np.array([0, 0, 0, 1, 1, 1, 1], np.int32),
    )
    weights = random.normal(size=(DIMS, 2)).astype(np.float32)
    projection = soft_kmeans.fit(rows, weights, KMEANS, 0)
    scores = np.asarray(projection.scores(rows))
    assert np.isfinite(scores).all()
    assert (projection.radius > 0).all()
    assert sorted(scores[:3, 0].argmax(axis=1)) == [0, 1, 2]


def test_soft_kmeans_refuses_more_subclasses_than_distinct_rows():
    random = np.random.default_rng(0)
    weights = random.normal(size=(37, 2)).astype(np.float32)
    distinct = random.normal(size=(3, 37)).astype(np.float32) + 10
    embedding = np.concatenate([random.normal(size=(20, 37)), np.repeat(distinct, [5, 9, 20], 0)])
    rows = EmbeddedRows(
        embedding.astype(np.float32), np.arange(54), np.repeat([0, 1], [20, 34]).astype(np.int32)
    )
    projection = soft_kmeans.fit(rows, weights, KMEANS, 0)
    assert np.isfinite(projection.scores(rows)).all()
    with pytest.raises(UserError, match=r"num_subclasses 4 exceeds the 3 distinct rows of class 1"):
        soft_kmeans.fit(rows, weights, KMEANS | {"num_subclasses": 4}, 0)


@pytest.mark.parametrize("distinct", [1, 2, 3, 5])
def test_soft_kmeans_counts_rows_that_differ_by_rounding_once(distinct):
    random = np.random.default_rng(distinct)
    weights = random.normal(size=(37, 1)).astype(np.float32)
    different = random.normal(size=(distinct, 37)) * 10 + 100
    # Rows of one kind differ along the weights alone, which the coordinates leave out.
    along = random.normal(size=(61, 1)) @ weights.T
    embedding = (different[np.arange(61) % distinct] + along).astype(np.float32)
    rows = EmbeddedRows(embedding, np.arange(61), np.zeros(61, np.int32))
    settings = KMEANS | {"num_subclasses": distinct}
    scores = soft_kmeans.fit(rows, weights, settings, 0).scores(rows)
    assert len(np.unique(np.argmax(scores, axis=2))) == distinct
    told = (
        f"the {distinct} distinct rows" if distinct > 1 else "the rank 0 .*; leave the method out"
    )
    with pytest.raises(UserError, match=told):
        soft_kmeans.fit(rows, weights, settings | {"num_subclasses": distinct + 1}, 0)


def test_soft_kmeans_ignores_what_lies_along_the_weights():
    rows, weights = example()
    projection = soft_kmeans.fit(rows, weights, KMEANS, 0)
    along = np.random.default_rng(1).normal(size=(COUNT, CLASSES)) @ weights.T * 3
    before = np.asarray(projection.scores(rows))
    after = np.asarray(projection.scores(with_embedding(rows, rows.embedding + along)))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)
