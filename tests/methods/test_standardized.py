"""What correlations and standardised logits leave out, on classes and on pseudo-subclasses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.methods import METHODS, dist, pseudo_subclass
from lelp_jax.methods.base import label_cross_entropy
from lelp_jax.methods.standardized import pearson, z_score
from lelp_jax.models.outputs import Outputs
from tests.helpers.logit_references import (
    ROWS,
    SPLITTING,
    Problem,
    entropy,
    evaluate,
    hyperparameters,
    problem,
    standard,
)
from tests.helpers.softmax import softmax


def test_dist_ignores_positive_affine_maps_of_rows_and_of_columns():
    random = np.random.default_rng(0)
    student, teacher = random.random((2, ROWS, 5)).astype(np.float32)
    inter, intra = ({"inter_weight": a, "intra_weight": 1 - a} for a in (1.0, 0.0))
    for axis, weights in ((0, inter), (1, intra)):
        shape = (ROWS, 1) if axis == 0 else (1, 5)
        scale, shift = random.uniform(0.2, 3, shape), random.normal(size=shape)
        plain = dist.relation_loss(jnp.asarray(student), jnp.asarray(teacher), weights)
        for first, second in (
            (scale * student + shift, teacher),
            (student, scale * teacher + shift),
        ):
            mapped = dist.relation_loss(jnp.asarray(first), jnp.asarray(second), weights)
            np.testing.assert_allclose(mapped, plain, atol=1e-5)
        same = dist.relation_loss(jnp.asarray(scale * student + shift), student, weights)
        np.testing.assert_allclose(same, 0, atol=1e-5)
        np.testing.assert_allclose(
            dist.relation_loss(jnp.asarray(-student), student, weights), 2, atol=1e-5
        )


def test_dist_of_two_classes_is_taught_by_its_intra_class_term_alone():
    case = problem("dist", 2)
    loss, _, gradient = evaluate("dist", case, temperature=2, intra_weight=0)
    agree = case.logits.argmax(axis=1) == case.teacher_logits.argmax(axis=1)
    assert agree.any()
    assert not agree.all()
    np.testing.assert_allclose(loss, np.where(agree, 0, 8), atol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    _, _, gradient = evaluate("dist", case, temperature=2, inter_weight=0)
    assert (np.abs(gradient).max(axis=1) > 1e-3).all()


def test_dist_of_one_row_has_no_intra_class_term():
    case = problem("dist", 3)
    one = Problem(case.logits[:1], case.label[:1], case.teacher_logits[:1], None, {})
    _, _, both = evaluate("dist", one, intra_weight=5)
    _, _, inter = evaluate("dist", one, intra_weight=0)
    assert np.abs(inter).max() > 1e-2
    np.testing.assert_array_equal(both, inter)


@pytest.mark.parametrize("scale", [1e-13, 1e-4, 1.0, 1e4])
def test_correlation_of_any_scale_and_of_constants(scale):
    random = np.random.default_rng(1)
    first, second = (random.normal(size=(2, 6)) * scale).astype(np.float32)
    wanted = np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1]
    correlate = jax.value_and_grad(lambda a, b: pearson(a, b, 0), argnums=(0, 1))
    value, gradient = correlate(jnp.asarray(first), jnp.asarray(second))
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    assert np.isfinite(gradient).all()
    constant = jnp.full(6, scale * 0.1)
    value, (of_constant, _) = correlate(constant, jnp.asarray(second))
    assert value == 0
    # Towards the other side: a constant is where a student without a signal starts.
    centred = second - second.mean()
    np.testing.assert_allclose(of_constant, centred / np.linalg.norm(centred), atol=1e-5)


@given(st.integers(0, 99), st.floats(0.1, 20), st.floats(-50, 50))
def test_logit_standardization_ignores_mean_and_scale(seed, scale, shift):
    case = problem("logit_standardization", 3)
    random = np.random.default_rng(seed)
    logits, teacher = random.normal(size=(2, ROWS, 3)).astype(np.float32)
    plain, _, gradient = evaluate(
        "logit_standardization", case._replace(logits=logits, teacher_logits=teacher)
    )
    assert np.abs(gradient).max() > 1e-3
    mapped = np.float32(scale) * logits + np.float32(shift)
    for first, second in ((mapped, teacher), (logits, np.float32(scale) * teacher + shift)):
        changed = case._replace(logits=first, teacher_logits=np.float32(second))
        loss, _, _ = evaluate("logit_standardization", changed)
        np.testing.assert_allclose(loss, plain, rtol=2e-3)
    matched = case._replace(logits=mapped, teacher_logits=logits)
    loss, _, gradient = evaluate("logit_standardization", matched, temperature=2)
    wanted = 4 * entropy(softmax(standard(logits.astype(np.float64)) / 2))
    np.testing.assert_allclose(loss, wanted, rtol=2e-3)
    np.testing.assert_allclose(gradient * scale, 0, atol=2e-2)


def test_logit_standardization_of_two_classes_has_no_gradient():
    case = problem("logit_standardization", 2)
    loss, _, gradient = evaluate("logit_standardization", case, temperature=2)
    agree = case.logits.argmax(axis=1) == case.teacher_logits.argmax(axis=1)
    least = loss[agree]
    np.testing.assert_allclose(least, least[0], rtol=1e-6)
    np.testing.assert_allclose(loss[~agree] - least[0], 0.9603, atol=1e-4)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    np.testing.assert_allclose(np.abs(z_score(case.logits, axis=1)), 0.5**0.5, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_students_of_lelp_that_match_the_targets_learn_no_more(classes):
    for name in SPLITTING:
        case = problem(name, classes)
        values = hyperparameters(name, temperature=2.0, beta=0.5)
        target = pseudo_subclass.log_targets(case.teacher_logits, case.scores, case.label, values)
        wanted = np.asarray(target)[0].reshape(-1, ROWS).T
        row = np.arange(ROWS, dtype=np.float32)[:, None]
        if name == "lelp_dist":
            matched, least = 2 * wanted + row, np.zeros(ROWS)
        else:
            matched = (1 + row) * wanted + row
            least = 4 * entropy(softmax(standard(wanted.astype(np.float64)) / 2))
        changed = case._replace(logits=np.float32(matched))
        loss, _, gradient = evaluate(name, changed, temperature=2, beta=0.5)
        np.testing.assert_allclose(loss, least, atol=2e-5)
        np.testing.assert_allclose(gradient, 0, atol=2e-4)


def test_two_classes_of_pseudo_subclasses_keep_the_gradient_of_both_losses():
    case = problem("lelp_dist", 2)
    for name, intra in (("lelp_dist", 0.0), ("lelp_standardized", 1.0)):
        _, _, gradient = evaluate(name, case, temperature=2, intra_weight=intra)
        assert (np.abs(gradient).max(axis=1) > 1e-2).all()


@pytest.mark.parametrize(
    ("name", "plain"), [("lelp_dist", "dist"), ("lelp_standardized", "logit_standardization")]
)
def test_one_subclass_of_each_class_is_the_plain_loss(name, plain):
    case = problem(name, 3, subclasses=1)
    for ours, theirs in zip(
        evaluate(name, case, temperature=2), evaluate(plain, case, temperature=2), strict=True
    ):
        close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
        if isinstance(ours, dict):
            # Logit standardisation keeps raw class logits.
            close(ours["soft"], theirs["soft"])
        else:
            close(ours, theirs)


@pytest.mark.parametrize("name", SPLITTING)
def test_the_label_teaches_the_class_logits_that_are_read_out(name):
    case = problem(name, 3)
    values = hyperparameters(name, temperature=2, alpha=1)
    outputs = Outputs(jnp.asarray(case.logits), jnp.zeros((ROWS, 1)))
    read = METHODS[name].readout(outputs, {}, case.constants, values)
    assert read.shape == (ROWS, 3)
    loss, _, _ = evaluate(name, case, temperature=2, alpha=1)
    np.testing.assert_allclose(loss, label_cross_entropy(read, jnp.asarray(case.label)), rtol=1e-5)
