"""LELP and its principal components: float64 references and the invariances that define them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core import search_space
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.methods import METHODS
from lelp_jax.projection import PROJECTORS, base, lelp
from lelp_jax.projection.engine import pca
from lelp_jax.projection.engine.rows import EmbeddedRows
from tests.helpers.embeddings import (
    CLASSES,
    COUNT,
    DIMS,
    LELP,
    SEEDS,
    complement,
    distance,
    example,
    principal,
    ranks,
    scores_of,
    with_embedding,
)


@pytest.mark.parametrize("rotate", [True, False])
def test_directions_are_orthonormal_and_orthogonal_to_the_weights(rotate):
    rows, weights = example()
    basis = lelp.fit(rows, weights, LELP | {"rotate": rotate}, 1).basis
    for index in range(CLASSES):
        np.testing.assert_allclose(basis[index].T @ basis[index], np.eye(3), atol=1e-5)
        np.testing.assert_allclose(weights.T @ basis[index], 0, atol=1e-5)
    free = lelp.fit(rows, weights, LELP | {"null_space": False}, 1).basis
    assert np.abs(np.einsum("dk,cds->cks", weights, free)).max() > 0.1


def test_directions_of_small_variance_are_orthogonal_to_the_weights_too():
    random = np.random.default_rng(0)
    embedding = random.normal(size=(2000, 12)) * np.geomspace(1, 5e-3, 12)
    weights = random.normal(size=(12, 2)).astype(np.float32)
    rows = EmbeddedRows(embedding.astype(np.float32), np.arange(2000), np.arange(2000) % 2)
    basis = lelp.fit(rows, weights, LELP | {"num_subclasses": 9}, 0).basis
    np.testing.assert_allclose(np.einsum("dk,cds->cks", weights, basis), 0, atol=1e-5)
    for index in range(CLASSES):
        np.testing.assert_allclose(basis[index].T @ basis[index], np.eye(9), atol=1e-5)


def test_scores_ignore_what_lies_along_the_weights():
    rows, weights = example()
    random = np.random.default_rng(1)
    projection = lelp.fit(rows, weights, LELP, 1)
    before = np.asarray(projection.scores(rows))
    along = random.normal(size=(COUNT, CLASSES)) @ weights.T * 3
    after = np.asarray(projection.scores(with_embedding(rows, rows.embedding + along)))
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert np.abs(along).max() > 5
    refitted = scores_of(with_embedding(rows, rows.embedding + along), weights, LELP, 1)
    np.testing.assert_allclose(refitted, before, atol=1e-3)


@pytest.mark.parametrize("mean", [1.0, 1000.0])
def test_subspace_matches_a_float64_eigendecomposition(mean):
    rows, weights = example(mean=mean)
    projection = lelp.fit(rows, weights, LELP, 2)
    for index in range(CLASSES):
        values, vectors = principal(rows, weights, index)
        assert distance(projection.basis[index], vectors[:, :3]) < 2e-4
        np.testing.assert_allclose(projection.explained_variance[index], values[:3], rtol=1e-4)
        np.testing.assert_allclose(projection.scale[index], np.sqrt(values[:3].mean()), rtol=1e-4)


def test_constant_dimensions_take_no_part():
    rows, weights = example()
    wide = np.concatenate([rows.embedding, np.full((COUNT, 2), [7.0, -900.0])], axis=1)
    wide_weights = np.concatenate([weights, np.zeros((2, CLASSES), np.float32)])
    projection = lelp.fit(with_embedding(rows, wide), wide_weights, LELP, 2)
    for index in range(CLASSES):
        basis = projection.basis[index]
        np.testing.assert_allclose(basis[DIMS:], 0, atol=1e-4)
        _, vectors = principal(rows, weights, index)
        assert distance(basis[:DIMS], vectors[:, :3]) < 2e-4
    assert ranks(with_embedding(rows, wide), wide_weights) == [8, 8]


def test_rotation_keeps_the_subspace_and_the_sum_of_squares():
    rows, weights = example()
    plain = lelp.fit(rows, weights, LELP | {"rotate": False}, 0)
    turned = [lelp.fit(rows, weights, LELP, seed) for seed in (0, 1)]
    squares = np.square(plain.scores(rows)).sum(axis=2)
    for projection in turned:
        for index in range(CLASSES):
            first, second = projection.basis[index], plain.basis[index]
            assert distance(first, second) < 1e-5
        np.testing.assert_allclose(
            np.square(projection.scores(rows)).sum(axis=2), squares, rtol=1e-4, atol=1e-4
        )
        assert np.abs(projection.basis - plain.basis).max() > 0.1
    assert np.abs(turned[0].basis - turned[1].basis).max() > 0.1
    again = lelp.fit(rows, weights, LELP, 0)
    np.testing.assert_array_equal(again.basis, turned[0].basis)


def test_rotation_depends_on_the_subspace_alone():
    import jax

    random = np.random.default_rng(3)
    directions = np.linalg.qr(random.normal(size=(2, 9, 4)))[0].astype(np.float32)
    other = directions @ np.linalg.qr(random.normal(size=(2, 4, 4)))[0].astype(np.float32)
    first, second = (np.asarray(lelp.rotate(x, jax.random.key(7))) for x in (directions, other))
    np.testing.assert_allclose(first, second, atol=1e-4)
    assert np.abs(directions - other).max() > 0.1


def test_rotated_directions_have_equal_variance_on_average():
    import jax

    directions = np.eye(12, 3, dtype=np.float32)[None]
    variance = np.zeros(12)
    variance[:3] = 9, 3, 0
    turned = np.stack([lelp.rotate(directions, jax.random.key(seed))[0] for seed in range(300)])
    mean = np.einsum("nds,d->ns", np.square(turned), variance).mean(axis=0)
    np.testing.assert_allclose(mean, 4, atol=0.8)
    # Haar: an entry of a 3 x 3 orthogonal matrix has mean 0 and mean square 1/3.
    np.testing.assert_allclose(turned[:, :3].mean(axis=0), 0, atol=0.15)


def test_standardised_scores_have_unit_mean_variance():
    rows, weights = example()
    scores = scores_of(rows, weights, LELP)
    for index in range(CLASSES):
        own = scores[rows.label == index, index].astype(np.float64)
        np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(own.var(axis=0, ddof=1).mean(), 1, rtol=1e-4)


def test_without_rotation_directions_are_ordered_and_signed_by_the_third_moment():
    rows, weights = example()
    projection = lelp.fit(rows, weights, LELP | {"rotate": False}, 0)
    scores = np.asarray(projection.scores(rows), np.float64)
    for index in range(CLASSES):
        _, vectors = principal(rows, weights, index)
        overlap = np.abs(np.sum(projection.basis[index] * vectors[:, :3], axis=0))
        np.testing.assert_allclose(overlap, 1, atol=1e-3)
        own = scores[rows.label == index, index]
        assert (np.diff(own.var(axis=0)) < 0).all()
        assert ((own**3).sum(axis=0) > 0).all()
    mirrored = with_embedding(rows, -rows.embedding)
    flipped = lelp.fit(mirrored, weights, LELP | {"rotate": False}, 0)
    np.testing.assert_allclose(flipped.basis, -projection.basis, atol=1e-3)


def test_literal_scores_are_inner_products():
    rows, weights = example()
    literal = LELP | {"center": False, "standardize": False}
    projection = lelp.fit(rows, weights, literal, 3)
    residual = rows.embedding.astype(np.float64) @ complement(weights)
    wanted = np.einsum("nd,cds->ncs", residual, projection.basis.astype(np.float64))
    np.testing.assert_allclose(projection.scores(rows), wanted, atol=1e-4)
    centred = np.asarray(lelp.fit(rows, weights, LELP | {"standardize": False}, 3).scores(rows))
    means = np.stack([wanted[rows.label == i, i].mean(axis=0) for i in range(CLASSES)])
    np.testing.assert_allclose(centred, wanted - means, atol=1e-3)
    scaled = np.asarray(lelp.fit(rows, weights, LELP | {"center": False}, 3).scores(rows))
    values = np.stack([principal(rows, weights, i)[0][:3].mean() for i in range(CLASSES)])
    np.testing.assert_allclose(scaled, wanted / np.sqrt(values)[:, None], atol=1e-3)


@given(seed=SEEDS)
def test_order_of_rows_does_not_matter(seed):
    rows, weights = example()
    order = np.random.default_rng(seed).permutation(COUNT)
    shuffled = EmbeddedRows(rows.embedding[order], rows.index[order], rows.label[order])
    np.testing.assert_allclose(
        scores_of(shuffled, weights, LELP), scores_of(rows, weights, LELP)[order], atol=1e-3
    )


@given(seed=SEEDS)
def test_orthogonal_maps_of_the_embedding_carry_the_subspace_along(seed):
    rows, weights = example()
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.normal(size=(DIMS, DIMS)))[0]
    before = lelp.fit(rows, weights, LELP, 0)
    turned = with_embedding(rows, rows.embedding @ turn.T)
    after = lelp.fit(turned, (turn @ weights).astype(np.float32), LELP, 0)
    for index in range(CLASSES):
        mapped = turn @ before.basis[index]
        assert distance(mapped, after.basis[index]) < 1e-3
    np.testing.assert_allclose(
        np.square(after.scores(turned)).sum(axis=2),
        np.square(before.scores(rows)).sum(axis=2),
        rtol=1e-3,
        atol=1e-3,
    )


@given(scale=st.floats(1e-4, 1e4))
def test_scale_of_the_embedding_does_not_matter(scale):
    rows, weights = example()
    scaled = with_embedding(rows, rows.embedding * scale)
    np.testing.assert_allclose(
        scores_of(scaled, weights, LELP), scores_of(rows, weights, LELP), atol=2e-3
    )


def test_more_subclasses_than_the_rank_are_refused_with_class_and_rank():
    rows, weights = example()
    flat = rows.embedding.copy()
    # Class 1 varies in 4 dimensions, all outside the range of the weights.
    outside = np.linalg.svd(complement(weights))[0][:, :4]
    own = rows.label == 1
    flat[own] = np.random.default_rng(0).normal(size=(own.sum(), 4)) @ outside.T + 3
    flat_rows = with_embedding(rows, flat)
    assert ranks(flat_rows, weights) == [8, 4]
    lelp.fit(flat_rows, weights, LELP | {"num_subclasses": 4}, 0)
    with pytest.raises(
        UserError, match=r"num_subclasses 5 exceeds the rank 4 .*null-space.*class 1"
    ):
        lelp.fit(flat_rows, weights, LELP | {"num_subclasses": 5}, 0)
    lelp.fit(rows, weights, LELP | {"num_subclasses": 8}, 0)
    with pytest.raises(UserError, match="rank 8"):
        lelp.fit(rows, weights, LELP | {"num_subclasses": 9}, 0)
    lelp.fit(rows, weights, LELP | {"num_subclasses": 10, "null_space": False}, 0)


def test_few_rows_limit_the_rank():
    rows, weights = example()
    few = EmbeddedRows(rows.embedding[:9], rows.index[:9], rows.label[:9])
    assert ranks(few, weights) == [4, 3]


def test_rank_does_not_fall_with_the_number_of_rows():
    random = np.random.default_rng(0)
    deviation = np.geomspace(1, 1e-2, 8)
    embedding = (random.normal(size=(200_000, 8)) * deviation).astype(np.float32)
    label = np.zeros(len(embedding), np.int32)
    rows = EmbeddedRows(embedding, np.arange(len(embedding)), label)
    assert ranks(rows, np.zeros((8, 1), np.float32)) == [8]


@pytest.mark.parametrize("count", [3, 7, 100])
def test_equal_rows_have_rank_zero(count):
    rows = EmbeddedRows(
        np.tile(np.float32([0.1, 123.4, -0.007]), (count, 1)),
        np.arange(count),
        np.zeros(count, np.int32),
    )
    assert ranks(rows, np.zeros((3, 1), np.float32)) == [0]


@pytest.mark.parametrize("dims", [2, 3, 6, 40])
def test_rank_of_exactly_dependent_dimensions(dims):
    random = np.random.default_rng(dims)
    for wanted in (1, dims // 2, dims):
        embedding = random.normal(size=(500, wanted)) @ random.normal(size=(wanted, dims))
        rows = EmbeddedRows(embedding.astype(np.float32), np.arange(500), np.zeros(500, np.int32))
        assert ranks(rows, np.zeros((dims, 1), np.float32)) == [wanted]


def test_dependent_output_weights_remove_their_range_only():
    rows, weights = example()
    single = weights[:, :1]
    doubled = np.concatenate([single, -2 * single], axis=1)
    assert pca.range_basis(doubled).shape == (DIMS, 1)
    assert pca.range_basis(np.zeros((DIMS, 2), np.float32)).shape == (DIMS, 0)
    basis = pca.range_basis(weights)
    assert distance(basis, np.linalg.qr(weights)[0]) < 1e-5
    projection = lelp.fit(rows, doubled, LELP | {"num_subclasses": 9}, 0)
    np.testing.assert_allclose(np.einsum("d,cds->cs", single[:, 0], projection.basis), 0, atol=1e-5)
    with_zero = np.concatenate([single, np.zeros_like(single)], axis=1)
    for index in range(CLASSES):
        assert (
            distance(
                lelp.fit(rows, with_zero, LELP, 0).basis[index],
                lelp.fit(rows, doubled, LELP, 0).basis[index],
            )
            < 1e-4
        )
    zero = np.zeros_like(weights)
    np.testing.assert_allclose(
        scores_of(rows, zero, LELP), scores_of(rows, zero, LELP | {"null_space": False}), atol=1e-5
    )


def test_saved_projections_come_back(tmp_path):
    rows, weights = example()
    projection = lelp.fit(rows, weights, LELP, 0)
    base.save(tmp_path / "projection.npz", base.Stored(projection, "lelp", 3, LELP))
    stored = base.load(tmp_path / "projection.npz", PROJECTORS)
    assert (stored.projector, stored.version, stored.hyperparameters) == ("lelp", 3, LELP)
    again = stored.projection
    np.testing.assert_array_equal(again.column_mask, projection.column_mask)
    np.testing.assert_array_equal(again.scores(rows), projection.scores(rows))
    with np.load(tmp_path / "projection.npz") as file:
        shapes = {name: file[name].shape for name in file.files}
    assert shapes == {
        "kind": (),
        "version": (),
        "settings": (),
        "column_mask": (CLASSES, 3),
        "basis": (CLASSES, DIMS, 3),
        "mean": (CLASSES, DIMS),
        "scale": (CLASSES,),
        "explained_variance": (CLASSES, 3),
    }


def test_projections_of_another_projector_or_version_are_refused(tmp_path):
    projection = lelp.fit(*example(), LELP, 0)
    path = tmp_path / "projection.npz"
    for name, version, told in (("lelp", 1, "version 1 of lelp"), ("other", 3, "'other'")):
        base.save(path, base.Stored(projection, name, version, LELP))
        with pytest.raises(ValueError, match=told):
            base.load(path, PROJECTORS)


def values_of(method: str) -> dict[str, Value]:
    """Returns what a method hands to its projector by default, for a few subclasses."""
    chosen = METHODS[method]
    assert chosen.projector is lelp.PROJECTOR
    return {name: chosen.search_space[name].default[0] for name in lelp.PROJECTOR.search_space} | {
        "num_subclasses": 3
    }


@pytest.mark.parametrize(("method", "null_space"), [("pca", False), ("lelp_unrotated", True)])
def test_principal_components_are_taken_as_they_are(method, null_space):
    rows, weights = example()
    basis = lelp.fit(rows, weights, values_of(method), 5).basis
    seen = weights if null_space else np.zeros_like(weights)
    for index in range(CLASSES):
        _, vectors = principal(rows, seen, index)
        overlap = np.abs(np.sum(basis[index] * vectors[:, :3], axis=0))
        np.testing.assert_allclose(overlap, 1, atol=1e-3)


def test_methods_that_leave_parts_of_lelp_out_refuse_to_put_them_back():
    for method, fixed in (("pca", ("null_space", "rotate")), ("lelp_unrotated", ("rotate",))):
        known = METHODS[method].search_space
        assert set(known) == set(METHODS["lelp"].search_space)
        for name in fixed:
            assert search_space.check(method, {name: False}, known)[name] == (False,)
            with pytest.raises(
                UserError, match=f"config.methods.{method}.{name} must be False, .*, got True"
            ):
                search_space.check(method, {name: (False, True)}, known)
    free = METHODS["lelp_unrotated"].search_space
    assert search_space.check("lelp_unrotated", {"null_space": (True, False)}, free)["null_space"]
