"""Several splits of the same classes: LELP's rotations, and what a student of them learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.methods import METHODS, pseudo_subclass
from lelp_jax.methods.base import LossInputs, TeacherRows
from lelp_jax.models.outputs import Outputs
from lelp_jax.projection import PROJECTORS, base, lelp, lelp_ensemble, scoring
from lelp_jax.projection.base import arrays_of
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.projection.linear import LinearProjection
from tests.helpers.embeddings import CLASSES, LELP, distance, example, with_embedding

HEADS, COUNT, BATCH = 3, 4, 24
SEARCH_SPACE = {name: value for name, value in LELP.items() if name != "rotate"} | {
    "num_rotations": HEADS,
    "num_subclasses": COUNT,
}
SINGLE = LELP | {"num_subclasses": COUNT}


def fit(seed: int = 3, **changed: object) -> LinearProjection:
    return lelp_ensemble.fit(*example(), SEARCH_SPACE | changed, seed)


def test_one_rotation_is_lelp_and_more_leave_it_as_it_is():
    rows, weights = example()
    plain = lelp.fit(rows, weights, SINGLE, 3)
    one, several = fit(num_rotations=1), fit()
    assert (plain.column_mask.shape, one.column_mask.shape) == ((CLASSES, COUNT), (1, CLASSES, 4))
    for name in ("mean", "scale", "explained_variance"):
        np.testing.assert_array_equal(arrays_of(several)[name], arrays_of(plain)[name])
    np.testing.assert_array_equal(one.basis[0], plain.basis)
    np.testing.assert_array_equal(several.basis[0], plain.basis)
    np.testing.assert_array_equal(fit(num_rotations=HEADS + 2).basis[:HEADS], several.basis)
    np.testing.assert_allclose(
        np.asarray(one.scores(rows))[:, 0],
        plain.scores(rows),
        atol=1e-5,
    )


def test_heads_differ_and_span_the_same_subspaces():
    rows, _ = example()
    projection = fit()
    basis = projection.basis
    scores = np.asarray(projection.scores(rows))
    squares = np.square(scores).sum(axis=-1)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        for index in range(CLASSES):
            assert distance(basis[first, index], basis[second, index]) < 1e-5
            assert np.abs(basis[first, index] - basis[second, index]).max() > 0.1
        np.testing.assert_allclose(squares[:, first], squares[:, second], rtol=1e-4, atol=1e-4)
    assert np.abs(fit(seed=4).basis - basis).max(axis=(1, 2, 3)).min() > 0.1


def test_scores_of_each_head_match_a_float64_reference():
    rows, _ = example(mean=100.0)
    projection = lelp_ensemble.fit(*example(mean=100.0), SEARCH_SPACE, 1)
    arrays = {name: values.astype(np.float64) for name, values in arrays_of(projection).items()}
    away = rows.embedding.astype(np.float64)[:, None] - arrays["mean"]
    wanted = np.einsum("ncd,rcds->nrcs", away, arrays["basis"]) / arrays["scale"][:, None]
    scores = scoring.collect(projection, rows)
    assert scores.shape == (len(rows), *projection.column_mask.shape)
    np.testing.assert_allclose(scores, wanted, atol=2e-4)
    own = np.take_along_axis(scores, rows.label[:, None, None, None], axis=2)[:, :, 0]
    for index in range(CLASSES):
        variance = own[rows.label == index].var(axis=0, ddof=1).mean(axis=-1)
        np.testing.assert_allclose(variance, 1, rtol=1e-3)


def test_more_subclasses_than_the_rank_are_refused():
    with pytest.raises(UserError, match=r"exceeds the rank 8 of the null-space .* of at most 8"):
        fit(num_subclasses=9)
    with pytest.raises(UserError, match=r"exceeds the rank 10 of the embedding"):
        fit(num_subclasses=11, null_space=False)


def test_a_row_without_a_score_in_one_head_is_refused():
    rows, _ = example()
    projection = fit()
    basis = projection.basis.copy()
    basis[1, 0, 2, 3] = np.nan
    with pytest.raises(UserError, match="data row 0 has no finite score"):
        scoring.collect(dataclasses.replace(projection, basis=basis), rows)
    embedding = rows.embedding.copy()
    embedding[7] = np.inf
    with pytest.raises(UserError, match="data row 7 has no finite score"):
        scoring.collect(projection, with_embedding(rows, embedding))


def test_stored_ensembles_come_back_and_can_be_applied_in_a_program(tmp_path):
    rows, _ = example()
    projection = fit()
    base.save(
        tmp_path / "projection.npz", base.Stored(projection, "lelp_ensemble", 2, SEARCH_SPACE)
    )
    stored = base.load(tmp_path / "projection.npz", PROJECTORS)
    again = stored.projection
    assert (stored.projector, stored.version) == ("lelp_ensemble", 2)
    np.testing.assert_array_equal(again.column_mask, projection.column_mask)

    @jax.jit
    def apply(projection: LinearProjection, embedding: jax.Array) -> jax.Array:
        unknown = jnp.full(len(embedding), -1)
        return projection.scores(EmbeddedRows(embedding, unknown, unknown))

    np.testing.assert_allclose(apply(again, rows.embedding), projection.scores(rows), atol=1e-5)


def hyperparameters(**changed: float) -> dict[str, float]:
    values = {"temperature": 3.0, "beta": 0.5, "alpha": 0.0}
    return values | {"hard_mixing": 0.0, "label_smoothing": 0.0, "warmup": 0.0} | changed


@jax.jit
def teach(logits: jax.Array, scores: jax.Array, mask: jax.Array, values: dict):
    """Returns loss [batch], the gradient of its sum and the readout of a student."""
    random = np.random.default_rng(2)
    label = jnp.asarray(np.where(np.arange(BATCH) % 5 == 4, -1, np.arange(BATCH) % CLASSES))
    teacher = jnp.asarray(random.normal(size=(BATCH, CLASSES)) * 3, jnp.float32)
    constants = {"column_mask": mask}

    def total(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        target = pseudo_subclass.compute_targets(TeacherRows(label, teacher, scores), values)
        inputs = LossInputs(logits, label, teacher, target)
        found = pseudo_subclass.loss(inputs, constants, values).per_example
        return found.sum(), found

    gradient, found = jax.grad(total, has_aux=True)(logits)
    outputs = Outputs(logits, jnp.zeros((BATCH, 1)))
    target = jnp.exp(pseudo_subclass.log_targets(teacher, scores, label, values))
    return found, gradient, pseudo_subclass.readout(outputs, {}, constants, values), target


@functools.cache
def student() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns logits, scores and column mask of a student of three heads."""
    projection = fit()
    scores = np.asarray(projection.scores(example()[0]))[:BATCH]
    random = np.random.default_rng(0)
    logits = random.normal(size=(BATCH, projection.column_mask.size)).astype(np.float32) * 2
    return logits, scores, projection.column_mask


@pytest.mark.parametrize("changed", [{}, {"temperature": 1.0, "beta": 2.0, "hard_mixing": 0.25}])
def test_loss_and_readout_are_the_mean_over_heads(changed):
    logits, scores, mask = student()
    loss, gradient, readout, _ = teach(logits, scores, mask, hyperparameters(**changed))
    width = CLASSES * COUNT
    singles = [
        teach(
            logits[:, r * width : (r + 1) * width],
            scores[:, r],
            mask[r],
            hyperparameters(**changed),
        )
        for r in range(HEADS)
    ]
    assert np.ptp([single[0] for single in singles], axis=0).min() > 1e-3
    np.testing.assert_allclose(loss, np.mean([one[0] for one in singles], axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        readout, np.mean([one[2] for one in singles], axis=0), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        gradient, np.concatenate([one[1] for one in singles], axis=1) / HEADS, atol=1e-5
    )


def test_the_label_is_taught_to_the_mean_class_logits():
    logits, scores, mask = student()
    values = hyperparameters(alpha=1.0, temperature=2.0)
    loss, _, readout, _ = teach(logits, scores, mask, values)
    grouped = logits.astype(np.float64).reshape(BATCH, HEADS, CLASSES, COUNT)
    wanted = (2 * np.log(np.exp(grouped / 2).sum(axis=-1))).mean(axis=1)
    np.testing.assert_allclose(readout, wanted, rtol=1e-5, atol=1e-5)
    label = np.arange(BATCH) % CLASSES
    hard = np.log(np.exp(wanted).sum(axis=1)) - wanted[np.arange(BATCH), label]
    np.testing.assert_allclose(loss, np.where(np.arange(BATCH) % 5 == 4, 0, hard), atol=1e-5)


def test_the_gradient_is_that_of_a_float64_loss():
    logits, scores, mask = student()
    values = hyperparameters(alpha=0.3, hard_mixing=0.1)
    _, gradient, _, target = teach(logits, scores, mask, values)
    target = np.moveaxis(np.asarray(target, np.float64), -1, 0)
    np.testing.assert_allclose(target.sum(axis=(2, 3)), 1, atol=1e-5)
    label = np.arange(BATCH) % CLASSES
    known = np.arange(BATCH) % 5 != 4

    def total(logits: np.ndarray) -> np.ndarray:
        scaled = logits.reshape(BATCH, HEADS, CLASSES, COUNT) / 3
        log_sum = np.log(np.exp(scaled).sum(axis=(2, 3), keepdims=True))
        soft = -9 * (target * (scaled - log_sum)).sum(axis=(2, 3)).mean(axis=1)
        of_class = (3 * np.log(np.exp(scaled).sum(axis=3))).mean(axis=1)
        hard = np.log(np.exp(of_class).sum(axis=1)) - of_class[np.arange(BATCH), label]
        return 0.7 * soft + 0.3 * np.where(known, hard, 0)

    wide, step = logits.astype(np.float64), 1e-5
    for column in range(wide.shape[1]):
        one = np.zeros_like(wide)
        one[:, column] = step
        slope = (total(wide + one) - total(wide - one)) / (2 * step)
        np.testing.assert_allclose(gradient[:, column], slope, atol=2e-5)


def test_the_method_offers_rotations_instead_of_a_switch():
    settings = METHODS["lelp_ensemble"].search_space
    assert settings["num_rotations"].default == (4,)
    assert not settings["num_rotations"].traced
    assert "rotate" not in settings
    assert set(METHODS["lelp"].search_space) - {"rotate"} == set(settings) - {"num_rotations"}
    assert METHODS["lelp_ensemble"].projector is lelp_ensemble.PROJECTOR
    assert lelp_ensemble.PROJECTOR.projection.uses_embedding
