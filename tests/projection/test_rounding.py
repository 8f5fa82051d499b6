"""What is rounding and what is not: against float64, at the border, and at any scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core.errors import UserError
from lelp_jax.projection import PROJECTORS, scoring
from lelp_jax.projection.engine import moments, pca, stream
from lelp_jax.projection.engine.rows import EmbeddedRows, rescale
from lelp_jax.teachers import weights as estimation
from tests.helpers.embeddings import (
    CLASSES,
    COUNT,
    DIMS,
    SEEDS,
    complement,
    example,
    with_embedding,
)

SOLVERS = ("covariance", "randomized")
SETTINGS = {
    "num_subclasses": 3,
    "num_components": 4,
    "num_rotations": 2,
    "null_space": True,
    "rotate": True,
    "center": True,
    "standardize": True,
    "assignment": "soft",
    "sample_size": COUNT,
    "solver": "covariance",
}
IN_NULL_SPACE = ("lelp", "lelp_ensemble", "soft_kmeans", "random_projection")
WITH_ANY_WEIGHTS = ("kmeans", "agglomerative")


def layered(seed: int, mean: float, levels: np.ndarray) -> tuple[EmbeddedRows, np.ndarray]:
    """Returns rows of deviation 1 along weights and of given ones outside, and the weights."""
    random = np.random.default_rng(seed)
    rows, weights = example(seed)
    turn = np.linalg.svd(complement(weights))[0]
    outside, along = turn[:, : DIMS - CLASSES], turn[:, DIMS - CLASSES :]
    embedding = random.normal(size=(COUNT, CLASSES)) @ along.T
    embedding += (random.normal(size=(COUNT, DIMS - CLASSES)) * levels) @ outside.T
    return with_embedding(rows, embedding + mean * random.normal(size=DIMS)), weights


def rounding_of(rows: EmbeddedRows) -> np.ndarray:
    """Returns the largest variance that may be rounding, of each class, in float64."""
    wide = rows.embedding.astype(np.float64)
    own = [wide[rows.label == index] for index in range(CLASSES)]
    total = np.array([part.var(axis=0).sum() for part in own])
    return moments.rounding_variance(total, np.array([np.square(x).sum(1).mean() for x in own]))


@pytest.mark.parametrize("solver", SOLVERS)
@given(seed=SEEDS, mean=st.sampled_from([0.0, 1.0, 1e4]), data=st.data())
def test_ranks_at_the_border_are_those_of_float64(solver, seed, mean, data):
    room = DIMS - CLASSES
    powers = data.draw(
        st.lists(st.sampled_from([-3.0, -1.0, 1.0, 2.0]), min_size=room, max_size=room)
    )
    # By variance: from a thousandth of what may be rounding up to a hundred times it.
    rows, _ = layered(seed, mean, np.zeros(room))
    levels = np.sqrt(rounding_of(rows).max()) * np.sqrt(10.0 ** np.array(powers))
    rows, weights = layered(seed, mean, levels)
    found = pca.fit(rows, weights, null_space=True, count=3, solver=solver)
    outside = rows.embedding.astype(np.float64) @ complement(weights)
    for index, floor in enumerate(rounding_of(rows)):
        values = np.linalg.eigvalsh(np.cov(outside[rows.label == index].T))
        # Within a half of the border either answer will do.
        assert (values > 1.5 * floor).sum() <= found.rank[index] <= (values > floor / 1.5).sum()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("mean", [0.0, 1.0, 1e4])
@pytest.mark.parametrize(("dims", "classes"), [(24, 2), (40, 20), (16, 16), (16, 19)])
def test_nothing_is_left_outside_the_weights(solver, mean, dims, classes):
    random = np.random.default_rng(0)
    weights = random.normal(size=(dims, classes)).astype(np.float32)
    label = (np.arange(40 * classes) % classes).astype(np.int32)
    embedding = random.normal(size=(len(label), classes)) @ weights.T + mean
    rows = EmbeddedRows(embedding.astype(np.float32), np.arange(len(label)), label)
    assert not pca.fit(rows, weights, null_space=True, count=3, solver=solver).rank.any()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("null_space", [True, False])
def test_the_last_bits_of_a_large_mean_have_no_rank(solver, null_space):
    rows, weights = example()
    random = np.random.default_rng(0)
    place = np.tile(300 * random.normal(size=DIMS).astype(np.float32), (COUNT, 1))
    rounded = np.where(random.random(place.shape) < 0.5, place, np.nextafter(place, np.float32(0)))
    for embedding, rank in ((rounded, 0), (rounded + 0.1 * rows.embedding, 3)):
        found = pca.fit(
            with_embedding(rows, embedding),
            weights,
            null_space=null_space,
            count=3,
            solver=solver,
        )
        assert (found.rank >= rank).all()
        assert found.rank.any() == (rank > 0)


@pytest.mark.parametrize("kind", IN_NULL_SPACE)
def test_methods_without_a_null_space_are_refused(kind):
    rows, weights = layered(0, 1.0, np.zeros(DIMS - CLASSES))
    square = np.random.default_rng(1).normal(size=(DIMS, DIMS)).astype(np.float32)
    full = EmbeddedRows(rows.embedding, rows.index, (rows.index % DIMS).astype(np.int32))
    for some, output_weights in ((rows, weights), (full, square)):
        told = {
            "random_projection": "does not vary in its null|exceeds the 0 dims of the null",
        }.get(kind, "num_subclasses 3 exceeds the rank 0 of the null")
        with pytest.raises(UserError, match=f"({told})-space embedding.*leave the method out"):
            PROJECTORS[kind].fit(some, output_weights, SETTINGS, 0)
        free = SETTINGS | {"null_space": False}
        PROJECTORS[kind].fit(rows, weights, free | {"num_subclasses": 2}, 0)


@pytest.mark.parametrize("kind", ["lelp", "soft_kmeans", "random_projection"])
def test_what_is_accepted_does_not_follow_the_last_bit(kind):
    border = np.sqrt(rounding_of(layered(0, 1.0, np.zeros(DIMS - CLASSES))[0]).max())
    rows, weights = layered(0, 1.0, np.full(DIMS - CLASSES, 4 * border))
    fitted = PROJECTORS[kind].fit(rows, weights, SETTINGS, 0)
    moved = with_embedding(rows, np.nextafter(rows.embedding, np.float32(np.inf)))
    own = (np.arange(COUNT), rows.label)
    before, after = (scoring.collect(fitted, part)[own].argmax(axis=1) for part in (rows, moved))
    assert (before != after).mean() < 0.02


@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("spread", [1.0, 1e-1, 1e-2])
def test_estimated_weights_leave_nothing_of_their_own_range(mean, spread):
    random = np.random.default_rng(0)
    dims, classes = 24, 6
    weights = random.normal(size=(dims, classes))
    # Only the differences between classes can be told from logits.
    weights -= weights.mean(axis=1, keepdims=True)
    label = (np.arange(600) % classes).astype(np.int32)
    embedding = random.normal(size=(600, classes)) * np.geomspace(1, spread, classes) @ weights.T
    embedding = (embedding + mean * weights[:, 0]).astype(np.float32)
    logits = (embedding @ weights).astype(np.float32)
    estimated, _ = estimation.estimate(embedding, logits, False, "teacher.npz")
    rows = EmbeddedRows(embedding, np.arange(600), label)
    assert not pca.fit(rows, estimated, null_space=True, count=3).rank.any()


@pytest.mark.parametrize("exponent", [-100, -63, 63, 100])
@pytest.mark.parametrize("kind", [*IN_NULL_SPACE, *WITH_ANY_WEIGHTS])
def test_scores_are_the_same_at_any_scale(kind, exponent):
    rows, weights = example(mean=3.0)
    scaled = with_embedding(rows, np.ldexp(rows.embedding, exponent))
    fitted = [PROJECTORS[kind].fit(part, weights, SETTINGS, 0) for part in (rows, scaled)]
    before, after = (
        scoring.collect(one, part) for one, part in zip(fitted, (rows, scaled), strict=True)
    )
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)
    unrotated = SETTINGS | {"rotate": False}
    if kind == "lelp":
        basis = [PROJECTORS[kind].fit(part, weights, unrotated, 0).basis for part in (rows, scaled)]
        np.testing.assert_allclose(basis[1], basis[0], atol=1e-3)


@pytest.mark.parametrize("exponent", [-63, 63])
def test_estimated_weights_have_the_range_of_those_at_any_scale(exponent):
    rows, weights = example()
    logits = rows.embedding @ weights
    embedding = np.ldexp(rows.embedding, exponent)
    for of_logits in (0, exponent):
        found, explained = estimation.estimate(
            embedding, np.ldexp(logits, of_logits), False, "teacher.npz"
        )
        assert explained > 0.999
        wanted = weights - weights.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(np.ldexp(found, exponent - of_logits), wanted, atol=1e-3)


def test_rows_of_ordinary_size_are_taken_as_they_are():
    rows, _ = example()
    assert rescale(rows) == (rows, 1.0)
    nothing = with_embedding(rows, np.zeros_like(rows.embedding))
    assert rescale(nothing) == (nothing, 1.0)
    # Rows of no class do not count.
    few = EmbeddedRows(
        np.concatenate([rows.embedding, np.full((9, DIMS), 1e30, np.float32)]),
        np.arange(COUNT + 9),
        np.concatenate([rows.label, np.full(9, -1, np.int32)]),
    )
    assert rescale(few)[1] == 1.0


@pytest.mark.parametrize("kind", WITH_ANY_WEIGHTS)
@pytest.mark.parametrize("rounded", [False, True])
def test_a_class_of_one_place_has_no_clusters(kind, rounded):
    rows, weights = example()
    random = np.random.default_rng(0)
    place = np.tile(300 * random.normal(size=DIMS).astype(np.float32), (COUNT, 1))
    if rounded:
        place = np.where(
            random.random(place.shape) < 0.5, place, np.nextafter(place, np.float32(0))
        )

    def fit(offset: float, count: int) -> np.ndarray:
        moved = place + offset * random.normal(size=place.shape)
        mixed = with_embedding(rows, np.where((rows.label == 1)[:, None], moved, rows.embedding))
        settings = SETTINGS | {"num_subclasses": count}
        return scoring.collect(PROJECTORS[kind].fit(mixed, weights, settings, 0), mixed)

    with pytest.raises(UserError, match="exceeds the 1 distinct rows of class 1; leave the method"):
        fit(0, 3)
    assert np.isfinite(fit(0, 1)).all()
    assert np.isfinite(fit(1e-2, 3)).all()


def test_a_pass_counts_the_squares_of_whole_rows():
    rows, weights = example(mean=5.0)
    removed = pca.range_basis(weights)
    origin = stream.origin(rows, CLASSES)
    found = moments.collect(rows, CLASSES, origin, removed)
    offset = rows.embedding.astype(np.float64) - origin[rows.label]
    wanted = [np.square(offset[rows.label == index]).sum() for index in range(CLASSES)]
    np.testing.assert_allclose(found.square, wanted, rtol=1e-5)
