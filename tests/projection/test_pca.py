"""Principal components by every solver: float64 references and invariances."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core.errors import UserError
from lelp_jax.projection.engine import pca, stream
from lelp_jax.projection.engine.rows import EmbeddedRows
from tests.helpers.embeddings import (
    CLASSES,
    COUNT,
    DIMS,
    SEEDS,
    complement,
    distance,
    example,
    principal,
    with_embedding,
)

SOLVERS = ("covariance", "randomized")
TOP = 3


def fit(rows: EmbeddedRows, weights: np.ndarray, solver: str, count: int = TOP) -> pca.ClassPCA:
    return pca.fit(rows, weights, null_space=True, count=count, solver=solver)


def angle(found: np.ndarray, wanted: np.ndarray) -> float:
    """Returns the sine of the largest principal angle between two spans, in float64."""
    first, second = (np.linalg.qr(part.astype(np.float64))[0] for part in (found, wanted))
    return float(np.linalg.norm(first - second @ (second.T @ first), 2))


def decaying(
    seed: int, count: int, dims: int, gap: float = 0.02
) -> tuple[EmbeddedRows, np.ndarray]:
    """Returns rows of which eigenvalues TOP and TOP + 1 differ by `gap` of the largest."""
    random = np.random.default_rng(seed)
    variance = np.concatenate([[1, 0.6, 0.4], (0.4 - gap) * np.geomspace(1, 0.05, dims - 3)])
    label = (np.arange(count) % CLASSES).astype(np.int32)
    embedding = np.empty((count, dims))
    for index in range(CLASSES):
        own = label == index
        # White to the last bit, so that the spectrum is the one asked for.
        noise = np.linalg.qr(random.normal(size=(own.sum(), dims + 1)))[0]
        noise = np.linalg.qr(noise - noise.mean(axis=0))[0][:, :dims]
        turn = np.linalg.qr(random.normal(size=(dims, dims)))[0]
        embedding[own] = noise * np.sqrt(variance * own.sum()) @ turn.T
    rows = EmbeddedRows(embedding.astype(np.float32), np.arange(count), label)
    return rows, np.zeros((dims, CLASSES), np.float32)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every pass take many batches, most of them not full."""
    monkeypatch.setattr(stream, "_MOST_ROWS", 64)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_small_gaps_are_resolved_whatever_the_common_mean(mean):
    rows, weights = decaying(0, 900, 24)
    shifted = with_embedding(rows, rows.embedding + mean * np.ones(24))
    found = fit(shifted, weights, "covariance")
    for index in range(CLASSES):
        values, vectors = principal(shifted, weights, index)
        assert values[TOP - 1] - values[TOP] > 0.01 * values[0]
        assert angle(found.components[index][:, :TOP], vectors[:, :TOP]) < 1e-3
        np.testing.assert_allclose(found.variance[index, :TOP], values[:TOP], rtol=1e-4)
        own = shifted.embedding[rows.label == index].astype(np.float64)
        np.testing.assert_allclose(found.mean[index], own.mean(axis=0), rtol=1e-6, atol=1e-5)


def test_constant_dimensions_and_duplicate_rows_change_nothing():
    rows, weights = example()
    constant = np.full((COUNT, 3), [1e-32, 7.0, -900.0])
    wide = np.concatenate([rows.embedding, constant], axis=1)
    wide = np.concatenate([wide, wide, wide])
    wide_weights = np.concatenate([weights, np.zeros((3, CLASSES), np.float32)])
    tripled = EmbeddedRows(wide.astype(np.float32), np.arange(3 * COUNT), np.tile(rows.label, 3))
    found = fit(tripled, wide_weights, "covariance")
    assert found.rank.tolist() == [8, 8]
    for index in range(CLASSES):
        _, vectors = principal(rows, weights, index)
        padded = np.concatenate([vectors[:, :TOP], np.zeros((3, TOP))])
        assert angle(found.components[index][:, :TOP], padded) < 1e-3


@pytest.mark.parametrize("solver", SOLVERS)
def test_hardly_more_rows_than_directions(solver):
    rows, weights = example()
    few = EmbeddedRows(rows.embedding[:8], rows.index[:8], rows.label[:8])
    found = fit(few, weights, solver)
    # Four rows of each class span three directions around their mean.
    assert found.rank.tolist() == [3, 3]
    for index in range(CLASSES):
        _, vectors = principal(few, weights, index)
        assert angle(found.components[index][:, :TOP], vectors[:, :TOP]) < 1e-3


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("gap", [0.2, 0.001])
def test_the_randomized_solver_captures_the_variance(gap):
    rows, weights = decaying(1, 2000, 90, gap)
    found = fit(rows, weights, "randomized")
    # Otherwise its vectors would span everything, and it would be exact.
    assert found.components.shape[2] * 5 < 90
    for index in range(CLASSES):
        own = rows.embedding[rows.label == index].astype(np.float64)
        values = np.linalg.eigvalsh(np.cov(own.T))[::-1]
        basis = found.components[index][:, :TOP].astype(np.float64)
        np.testing.assert_allclose(basis.T @ basis, np.eye(TOP), atol=1e-5)
        assert np.trace(basis.T @ np.cov(own.T) @ basis) > 0.99 * values[:TOP].sum()


@pytest.mark.parametrize("solver", SOLVERS)
def test_components_are_outside_the_range_of_the_weights(solver):
    rows, weights = example()
    components = fit(rows, weights, solver).components[:, :, :8]
    np.testing.assert_allclose(np.einsum("dk,cds->cks", weights, components), 0, atol=2e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@given(seed=SEEDS, others=st.integers(0, 40))
def test_order_and_rows_of_no_class_do_not_matter(solver, seed, others):
    rows, weights = example()
    random = np.random.default_rng(seed)
    order = random.permutation(COUNT)
    embedding = np.concatenate([rows.embedding, 1e3 * random.normal(size=(40, DIMS))])
    label = np.concatenate([rows.label, np.full(40, -1, np.int32)])
    order = random.permutation(np.concatenate([np.arange(COUNT), COUNT + np.arange(others)]))
    mixed = EmbeddedRows(embedding.astype(np.float32)[order], order, label[order])
    before, after = (fit(part, weights, solver) for part in (rows, mixed))
    for index in range(CLASSES):
        first, second = before.components[index][:, :TOP], after.components[index][:, :TOP]
        assert distance(first, second) < 1e-3
    np.testing.assert_allclose(after.variance[:, :TOP], before.variance[:, :TOP], rtol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_orthogonal_maps_and_scale_carry_components_along(solver, seed, scale):
    rows, weights = example()
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(DIMS, DIMS)))[0]
    turned = with_embedding(rows, scale * rows.embedding @ turn.T)
    before = fit(rows, weights, solver)
    after = fit(turned, (turn @ weights).astype(np.float32), solver)
    for index in range(CLASSES):
        mapped = turn @ before.components[index][:, :TOP]
        assert distance(mapped, after.components[index][:, :TOP]) < 1e-3
    np.testing.assert_allclose(
        after.variance[:, :TOP], scale**2 * before.variance[:, :TOP], rtol=1e-3
    )


def test_rows_that_are_not_finite_are_named():
    rows, weights = example()
    for value in (np.nan, np.inf):
        embedding = np.array(rows.embedding)
        embedding[77, 3] = value
        shifted = dataclasses.replace(with_embedding(rows, embedding), index=rows.index + 1000)
        for solver in SOLVERS:
            with pytest.raises(UserError, match="embedding of row 1077 is not finite"):
                fit(shifted, weights, solver)
    embedding = np.array(rows.embedding)
    embedding[77] *= 1e30
    for scale in (1, 1e-35):
        with pytest.raises(UserError, match="embedding of row 77 is too large"):
            fit(with_embedding(rows, scale * embedding), weights, "covariance")


def test_the_device_and_the_host_decompose_alike(monkeypatch):
    rows, weights = example()
    host = fit(rows, weights, "covariance")
    monkeypatch.setattr(pca.parallel, "is_cpu", lambda: False)
    device = fit(rows, weights, "covariance")
    assert host.rank.tolist() == device.rank.tolist() == [8, 8]
    np.testing.assert_allclose(device.variance, host.variance, rtol=1e-4, atol=1e-4)
    for first, second in zip(host.components, device.components, strict=True):
        assert distance(first[:, :TOP], second[:, :TOP]) < 1e-4


def test_auto_takes_covariances_where_they_fit(monkeypatch):
    rows, weights = example()
    taken = []
    for name, solve in pca._SOLVERS.items():
        monkeypatch.setitem(
            pca._SOLVERS, name, lambda *a, n=name, s=solve: taken.append(n) or s(*a)
        )
    fit(rows, weights, "auto")
    monkeypatch.setattr(pca, "_COVARIANCE_BYTES", 8 * CLASSES * DIMS**2 - 1)
    fit(rows, weights, "auto")
    assert taken == ["covariance", "randomized"]


def test_components_of_named_rows_are_computed_once(monkeypatch):
    rows, weights = example()
    named = dataclasses.replace(rows, name="some rows")
    first = fit(named, weights, "covariance")
    assert fit(named, weights, "covariance") is first
    assert pca.fit(named, weights, null_space=False, count=TOP, solver="covariance") is not first
    assert fit(rows, weights, "covariance") is not first
    other = dataclasses.replace(named, name="other rows")
    assert fit(other, weights, "covariance") is not first


class Recorder:
    """An array that remembers the largest stretch of rows that was read."""

    def __init__(self, array: np.ndarray):
        self.array, self.largest = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows) -> np.ndarray:
        result = self.array[rows]
        self.largest = max(self.largest, len(result))
        return result


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("solver", SOLVERS)
def test_rows_are_read_a_few_at_a_time(solver):
    rows, weights = example()
    recorder = Recorder(rows.embedding)
    found = fit(dataclasses.replace(rows, embedding=recorder), weights, solver)
    assert 0 < recorder.largest <= 64
    for index in range(CLASSES):
        _, vectors = principal(rows, weights, index)
        assert distance(found.components[index][:, :TOP], vectors[:, :TOP]) < 1e-3


@given(
    sizes=st.lists(st.integers(0, 70), min_size=2, max_size=4).filter(any),
    batch=st.sampled_from([64, 128]),
    seed=SEEDS,
)
def test_every_row_of_a_class_comes_once(sizes, batch, seed):
    label = np.concatenate([np.full(n, i - 1, np.int32) for i, n in enumerate(sizes)])
    order = np.random.default_rng(seed).permutation(len(label))
    rows = EmbeddedRows(order[:, None].astype(np.float32), order, label[order])
    before, stream._MOST_ROWS = stream._MOST_ROWS, batch
    try:
        seen = []
        for part in stream.class_batches(rows, len(sizes) - 1):
            for device in range(len(part.label)):
                count, own = int(part.count[device]), part.rows[device]
                np.testing.assert_array_equal(own[:count, 0], part.index[device, :count])
                np.testing.assert_array_equal(own[count:], 0)
                assert (label[part.index[device, :count]] == int(part.label[device])).all()
                seen += part.index[device, :count].tolist()
    finally:
        stream._MOST_ROWS = before
    assert sorted(seen) == np.flatnonzero(label >= 0).tolist()


def test_null_space_reference_is_the_complement():
    rows, weights = example()
    found = fit(rows, weights, "covariance")
    np.testing.assert_allclose(found.mean @ complement(weights), found.mean, atol=1e-5)
