"""The clusterings of the embedding: their centres, what they sample, and scores by distance."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core.errors import UserError
from lelp_jax.projection import PROJECTORS, centers, scoring
from lelp_jax.projection.base import arrays_of
from lelp_jax.projection.engine import sample
from lelp_jax.projection.engine.rows import EmbeddedRows
from tests.helpers.embeddings import CLASSES, COUNT, DIMS, SEEDS, example, with_embedding

KINDS = ("kmeans", "agglomerative", "tsne_kmeans")
SEARCH_SPACE = {"num_subclasses": 3, "assignment": "hard", "sample_size": COUNT}
NO_WEIGHTS = np.zeros((DIMS, CLASSES), np.float32)


def planted(mean: float = 0.0) -> tuple[EmbeddedRows, np.ndarray]:
    """Returns rows in three tight clusters per class, and which cluster each is in."""
    random = np.random.default_rng(0)
    rows, _ = example()
    cluster = random.integers(0, 3, COUNT)
    middles = 10 * np.linalg.qr(random.normal(size=(DIMS, 3 * CLASSES)))[0].T
    embedding = middles[3 * rows.label + cluster] + 0.1 * random.normal(size=(COUNT, DIMS))
    return with_embedding(rows, embedding + mean), cluster


def scores_of(kind: str, rows: EmbeddedRows, seed: int = 0, **changed: object) -> np.ndarray:
    projector = PROJECTORS[kind]
    fitted = projector.fit(rows, NO_WEIGHTS, SEARCH_SPACE | changed, seed)
    return scoring.collect(fitted, rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_planted_clusters_are_found(kind, mean):
    rows, cluster = planted(mean)
    scores = scores_of(kind, rows)
    assert set(np.unique(scores)) == {-np.inf, 0.0}
    for index in range(CLASSES):
        own = rows.label == index
        table = np.zeros((3, 3), int)
        np.add.at(table, (cluster[own], scores[own, index].argmax(axis=1)), 1)
        assert (np.sort(table, axis=1)[:, :2] == 0).all()
        assert sorted(table.argmax(axis=1)) == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_centres_are_the_means_of_their_rows(kind):
    rows, cluster = planted()
    fitted = PROJECTORS[kind].fit(rows, NO_WEIGHTS, SEARCH_SPACE, 0)
    for index in range(CLASSES):
        own = rows.label == index
        wanted = np.stack([rows.embedding[own & (cluster == s)].mean(axis=0) for s in range(3)])
        found = fitted.mean[index] + fitted.centers[index]
        order = [np.linalg.norm(wanted - centre, axis=1).argmin() for centre in found]
        np.testing.assert_allclose(found, wanted[order], atol=1e-4)
        spread = np.square(rows.embedding[own] - wanted[cluster[own]]).sum(axis=1).mean()
        np.testing.assert_allclose(fitted.radius[index] ** 2, spread, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_soft_scores_are_distances_and_hard_ones_their_nearest(kind):
    rows, _ = example(mean=200.0)
    projector = PROJECTORS[kind]
    soft = projector.fit(rows, NO_WEIGHTS, SEARCH_SPACE | {"assignment": "soft"}, 4)
    arrays = {name: values.astype(np.float64) for name, values in arrays_of(soft).items()}
    offset = rows.embedding.astype(np.float64)[:, None] - arrays["mean"]
    squared = np.square(offset[:, :, None] - arrays["centers"]).sum(axis=-1)
    wanted = -squared / (2 * np.square(arrays["radius"])[:, None])
    scores = scoring.collect(soft, rows)
    np.testing.assert_allclose(scores, wanted, rtol=1e-3, atol=1e-3)
    # In the row's own class to the last digits: they decide how it is split.
    own = (np.arange(COUNT), rows.label)
    np.testing.assert_allclose(scores[own], wanted[own], atol=2e-4)
    hard = scoring.collect(projector.fit(rows, NO_WEIGHTS, SEARCH_SPACE, 4), rows)
    np.testing.assert_array_equal(hard.argmax(axis=2), squared.argmin(axis=2))
    assert (np.isfinite(hard).sum(axis=2) == 1).all()


def test_agglomerative_merges_as_scikit_learn():
    from sklearn.cluster import AgglomerativeClustering

    rows, _ = example()
    fitted = PROJECTORS["agglomerative"].fit(rows, NO_WEIGHTS, SEARCH_SPACE, 0)
    for index in range(CLASSES):
        own = rows.embedding[rows.label == index]
        label = AgglomerativeClustering(3).fit_predict(own)
        wanted = np.stack([own[label == s].mean(axis=0) for s in range(3)])
        found = fitted.mean[index] + fitted.centers[index]
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_sample_stands_for_all_rows(kind):
    rows, cluster = planted()
    scores = scores_of(kind, rows, sample_size=60)
    for index in range(CLASSES):
        own = rows.label == index
        assert len(set(zip(cluster[own], scores[own, index].argmax(axis=1), strict=True))) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_fits_are_repeatable_and_ignore_rows_of_no_class(kind):
    rows, _ = example()
    first = scores_of(kind, rows, 7, assignment="soft")
    np.testing.assert_array_equal(scores_of(kind, rows, 7, assignment="soft"), first)
    random = np.random.default_rng(1)
    more = EmbeddedRows(
        np.concatenate([rows.embedding, random.normal(size=(30, DIMS)).astype(np.float32) * 50]),
        np.arange(COUNT + 30),
        np.concatenate([rows.label, np.full(30, -1, np.int32)]),
    )
    projector = PROJECTORS[kind]
    settings = SEARCH_SPACE | {"assignment": "soft", "sample_size": 2 * COUNT}
    both = [projector.fit(part, NO_WEIGHTS, settings, 7) for part in (rows, more)]
    for name, values in arrays_of(both[0]).items():
        np.testing.assert_allclose(arrays_of(both[1])[name], values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_more_clusters_than_distinct_rows_are_refused(kind):
    rows, _ = example()
    few = np.random.default_rng(0).normal(size=(4, DIMS))[np.arange(COUNT) % 4] + 5
    clustered = with_embedding(rows, np.where((rows.label == 1)[:, None], few, rows.embedding))
    scores_of(kind, clustered, num_subclasses=2)
    with pytest.raises(UserError, match="num_subclasses 3 exceeds the 2 distinct rows of class 1"):
        scores_of(kind, clustered)


@given(seed=SEEDS, size=st.integers(1, 300), least=st.integers(1, 40))
def test_samples_are_in_proportion_and_follow_the_rows(seed, size, least):
    random = np.random.default_rng(seed)
    label = random.integers(-1, 3, 250).astype(np.int32)
    rows = EmbeddedRows(np.zeros((250, 1), np.float32), random.permutation(1000)[:250], label)
    drawn = sample.stratified(rows, 3, size, least, seed)
    total = (label >= 0).sum()
    for index, own in enumerate(drawn):
        count = (label == index).sum()
        assert (label[own] == index).all()
        assert len(set(own)) == len(own) == min(count, max(round(size * count / total), least))
    order = random.permutation(250)
    shuffled = dataclasses.replace(rows, index=rows.index[order], label=label[order])
    for own, again in zip(drawn, sample.stratified(shuffled, 3, size, least, seed), strict=True):
        assert set(rows.index[own]) == set(shuffled.index[again])


def test_far_classes_keep_their_own_differences():
    """Rows 1000 deviations from another class are split as if it were not there."""
    rows, _ = example(mean=0.0)
    embedding = rows.embedding.astype(np.float64)
    embedding[rows.label == 1] += 5000
    mean = np.stack([embedding[rows.label == index].mean(axis=0) for index in range(CLASSES)])
    offset = np.random.default_rng(0).normal(size=(CLASSES, 3, DIMS))
    fitted = centers.around(mean, offset, np.ones(CLASSES), soft=True)
    scores = np.asarray(fitted.scores(with_embedding(rows, embedding)))
    for index in range(CLASSES):
        own = rows.label == index
        place = (embedding[own] - mean[index])[:, None] - offset[index]
        wanted = -np.square(place).sum(axis=-1) / 2
        difference = scores[own, index] - wanted
        assert np.abs(difference - difference.mean(axis=1, keepdims=True)).max() < 0.05
