"""Random projections: where their directions lie, and scores against a float64 reference."""

import dataclasses

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.projection import random_projection
from lelp_jax.projection.base import arrays_of
from lelp_jax.projection.engine import stream
from lelp_jax.projection.engine.rows import EmbeddedRows
from tests.helpers.embeddings import CLASSES, COUNT, DIMS, complement, example, with_embedding

SEARCH_SPACE = {"num_subclasses": 3, "null_space": True, "center": True, "standardize": True}
# What lies outside the range of the output weights.
ROOM = DIMS - CLASSES


def fit(rows: EmbeddedRows, weights: np.ndarray, seed: int = 0, **changed: object):
    return random_projection.fit(rows, weights, SEARCH_SPACE | changed, seed)


@pytest.mark.parametrize("count", [1, 3, ROOM])
def test_directions_are_orthonormal_and_orthogonal_to_the_weights(count):
    rows, weights = example()
    projection = fit(rows, weights, num_subclasses=count)
    basis = projection.basis
    assert basis.dtype == np.float32
    assert projection.column_mask.shape == (CLASSES, count)
    for index in range(CLASSES):
        np.testing.assert_allclose(basis[index].T @ basis[index], np.eye(count), atol=1e-6)
        np.testing.assert_allclose(weights.T @ basis[index], 0, atol=2e-6)
    free = fit(rows, weights, null_space=False, num_subclasses=DIMS).basis
    np.testing.assert_allclose(free[0] @ free[0].T, np.eye(DIMS), atol=1e-6)
    assert np.abs(weights.T @ free[0]).max() > 0.1


def test_directions_are_uniform_in_the_null_space():
    weights = example()[1]
    removed = np.linalg.qr(weights)[0]
    drawn = random_projection.directions(4000, 2, removed, 5).astype(np.float64)
    outside = complement(weights)
    for first, second, wanted in ((0, 0, outside / ROOM), (0, 1, 0 * outside)):
        product = np.einsum("cd,ce->de", drawn[:, :, first], drawn[:, :, second]) / len(drawn)
        # Five standard deviations: an entry's variance is at most 1 / (ROOM (ROOM + 2)).
        np.testing.assert_allclose(product, wanted, atol=5 / np.sqrt(4000 * ROOM * (ROOM + 2)))
    # Householder reflections alone leave a sign that is not random.
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=5 / np.sqrt(4000 * ROOM))


def test_directions_follow_the_seed_and_differ_between_classes():
    rows, weights = example()
    basis = [fit(rows, weights, seed).basis for seed in (0, 1, 0)]
    np.testing.assert_array_equal(basis[0], basis[2])
    assert np.abs(basis[0] - basis[1]).max() > 0.1
    assert np.abs(basis[0][0] - basis[0][1]).max() > 0.1


@pytest.mark.parametrize("mean", [1.0, 1000.0])
@pytest.mark.parametrize("null_space", [True, False])
@pytest.mark.parametrize(("center", "standardize"), [(True, True), (False, True), (True, False)])
def test_scores_match_a_float64_reference(mean, null_space, center, standardize):
    rows, weights = example(mean=mean)
    projection = fit(
        rows, weights, 4, null_space=null_space, center=center, standardize=standardize
    )
    basis = projection.basis.astype(np.float64)
    along = np.einsum("nd,cds->ncs", rows.embedding.astype(np.float64), basis)
    wanted = np.empty_like(along)
    for index in range(CLASSES):
        own = along[rows.label == index, index]
        variance = own.var(axis=0, ddof=1)
        np.testing.assert_allclose(projection.explained_variance[index], variance, rtol=1e-3)
        wanted[:, index] = along[:, index] - (own.mean(axis=0) if center else 0)
        wanted[:, index] /= np.sqrt(variance.mean()) if standardize else 1
    np.testing.assert_allclose(projection.scores(rows), wanted, rtol=1e-4, atol=1e-6 * mean)


class Guarded:
    """Rows that remember how many of them were read at once."""

    def __init__(self, embedding: np.ndarray):
        self.shape, self.dtype = embedding.shape, embedding.dtype
        self._embedding = embedding
        self.largest = 0

    def __len__(self) -> int:
        return len(self._embedding)

    def __getitem__(self, rows) -> np.ndarray:
        found = self._embedding[rows]
        self.largest = max(self.largest, len(found))
        return found


def test_rows_are_read_by_parts_and_those_of_no_class_left_out(monkeypatch):
    rows, weights = example(mean=30.0)
    whole = fit(rows, weights)
    monkeypatch.setattr(stream, "_MOST_ROWS", 64)
    random = np.random.default_rng(1)
    more = random.normal(size=(50, DIMS)).astype(np.float32) * 90
    guarded = Guarded(np.concatenate([rows.embedding, more]))
    label = np.concatenate([rows.label, np.full(50, -1, np.int32)])
    parts = fit(EmbeddedRows(guarded, np.arange(COUNT + 50), label), weights)
    assert guarded.largest <= 64
    for name, values in arrays_of(whole).items():
        np.testing.assert_allclose(arrays_of(parts)[name], values, rtol=1e-5, atol=1e-5)


def test_more_directions_than_dims_are_refused():
    rows, weights = example()
    with pytest.raises(
        UserError, match=r"num_subclasses 9 exceeds the 8 dims of the null-space .* of at most 8"
    ):
        fit(rows, weights, num_subclasses=9)
    fit(rows, weights, num_subclasses=9, null_space=False)
    with pytest.raises(UserError, match=r"exceeds the 10 dims of the embedding; .* of at most 10"):
        fit(rows, weights, num_subclasses=11, null_space=False)
    with pytest.raises(UserError, match="0 dims of the null-space embedding; leave the method out"):
        fit(rows, np.eye(DIMS, dtype=np.float32), num_subclasses=1)


def still_rows() -> dict[str, np.ndarray]:
    """Returns embeddings of rows that differ by nothing outside the weights' range but rounding."""
    random = np.random.default_rng(0)
    weights = example()[1]
    away = np.broadcast_to(np.float32(300), (COUNT, DIMS))
    along = random.normal(size=(COUNT, CLASSES)) @ weights.T * 1000
    return {
        "equal": away,
        "rounded": np.where(random.random((COUNT, DIMS)) < 0.5, away, np.nextafter(away, 0)),
        "along the weights": along - along[1::2].mean(axis=0),
    }


@pytest.mark.parametrize("kind", still_rows())
def test_a_class_without_variance_is_refused(kind):
    rows, weights = example()
    own, still = (rows.label == 1)[:, None], still_rows()[kind]
    with pytest.raises(UserError, match=r"class 1 does not vary .*; fit on more rows"):
        fit(with_embedding(rows, np.where(own, still, rows.embedding)), weights)
    # A little is enough, beside what is taken out.
    little = 5 if kind == "along the weights" else 1e-2
    varying = still + little * np.random.default_rng(1).normal(size=still.shape)
    fit(with_embedding(rows, np.where(own, varying, rows.embedding)), weights)


def test_a_class_of_one_row_is_refused():
    rows, weights = example()
    label = np.where(rows.label == 1, -1, 0)
    label[1] = 1
    with pytest.raises(UserError, match="class 1 does not vary"):
        fit(dataclasses.replace(rows, label=label), weights)


def test_a_row_that_is_not_finite_is_named():
    rows, weights = example()
    broken = rows.embedding.copy()
    broken[17, 3] = np.nan
    with pytest.raises(UserError, match="row 17 is not finite"):
        fit(with_embedding(rows, broken), weights)
