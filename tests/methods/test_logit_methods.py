"""Losses of the logit methods: float64 formulas, and what two classes leave of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.methods import METHODS, dkd, ttm
from lelp_jax.methods.base import LossInputs
from tests.helpers.logit_references import (
    CLASSES,
    EVERYTHING,
    NAMES,
    ROWS,
    divergence,
    evaluate,
    finite_differences,
    hyperparameters,
    loss_reference,
    problem,
)
from tests.helpers.softmax import softmax


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_match_a_float64_reference(name, classes):
    case = problem(name, classes)
    nothing_to_learn = (name, classes) == ("logit_standardization", 2)
    for given_values, progress in (({"temperature": 1.5}, 0.0), (EVERYTHING, 0.3)):
        values = {key: float(value) for key, value in hyperparameters(name, **given_values).items()}
        loss, _, gradient = evaluate(name, case, progress, **given_values)
        logits = case.logits.astype(np.float64)
        np.testing.assert_allclose(
            loss, loss_reference(name, case, values, progress, logits), rtol=2e-5, atol=1e-5
        )
        wanted = finite_differences(name, case, values, progress, logits=logits)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-4)
        if not nothing_to_learn:
            assert (np.abs(gradient).max(axis=1) > 3e-4).all()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_logits_are_computed_in_float32(name):
    case = problem(name, 3)
    rounded = case.logits.astype(jnp.bfloat16)
    loss, _, gradient = evaluate(name, case._replace(logits=rounded), 0.3, **EVERYTHING)
    same = case._replace(logits=rounded.astype(np.float32))
    wanted, _, wanted_gradient = evaluate(name, same, 0.3, **EVERYTHING)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_and_constant_logits_stay_finite(name, classes):
    case = problem(name, classes)
    signs = np.where(case.logits > 0, np.float32(1e4), np.float32(-1e4))
    teacher = np.where(case.teacher_logits > 0, np.float32(1e4), np.float32(-1e4))
    for logits in (case.logits, signs, -signs, 0 * signs, 0 * signs + 1e4):
        for teacher_logits in (case.teacher_logits, teacher, 0 * teacher):
            changed = case._replace(logits=logits, teacher_logits=teacher_logits)
            for values in ({"temperature": 0.5}, EVERYTHING):
                loss, _, gradient = evaluate(name, changed, 0.3, **values)
                assert np.isfinite(loss).all()
                assert np.isfinite(gradient).all()


@jax.jit
def _dkd_parts(logits, label, teacher_logits, temperature):
    inputs = LossInputs(logits, label, teacher_logits)
    return dkd.divergences(inputs, {"temperature": temperature, "hard_mixing": jnp.float32(0)})


@given(st.integers(0, 999), st.floats(0.1, 10), st.floats(0.5, 8), st.sampled_from(CLASSES))
def test_dkd_parts_make_up_the_divergence(seed, scale, temperature, classes):
    random = np.random.default_rng(seed)
    logits, teacher = (random.normal(size=(2, 4, classes)) * scale).astype(np.float32)
    label = random.integers(classes, size=4).astype(np.int32)
    target, nontarget = _dkd_parts(logits, label, teacher, jnp.float32(temperature))
    probability, given_ = (softmax(z.astype(np.float64) / temperature) for z in (teacher, logits))
    rest = 1 - probability[np.arange(4), label]
    wanted = divergence(probability, given_)
    np.testing.assert_allclose(target + rest * nontarget, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nontarget_weight", [0.0, 1.0, 8.0])
def test_dkd_of_two_classes_is_plain_distillation(nontarget_weight):
    case = problem("dkd", 2)
    for values in ({"temperature": 1.0}, {**EVERYTHING, "target_weight": 1.0}):
        loss, _, gradient = evaluate(
            "dkd", case, 0.3, **{**values, "nontarget_weight": nontarget_weight}
        )
        plain, _, plain_gradient = evaluate("kd", case, 0.3, **values)
        np.testing.assert_allclose(gradient, plain_gradient, atol=1e-6)
        # The teacher's entropy, which no student changes.
        nearest = case._replace(logits=case.teacher_logits)
        if "alpha" not in values:
            least, _, _ = evaluate("kd", nearest, **values)
            np.testing.assert_allclose(plain - loss, least, atol=1e-5)


def test_dkd_is_zero_only_where_logits_agree_up_to_a_constant():
    case = problem("dkd", 10)
    shift = np.arange(ROWS, dtype=np.float32)[:, None]
    loss, _, gradient = evaluate("dkd", case._replace(logits=case.teacher_logits + shift))
    np.testing.assert_allclose(loss, 0, atol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    for column in range(10):
        moved = case.teacher_logits + np.eye(10, dtype=np.float32)[column]
        assert (evaluate("dkd", case._replace(logits=moved))[0] > 1e-4).all()


@pytest.mark.parametrize("name", ["dkd", "nkd"])
def test_the_teachers_class_stands_in_for_a_missing_label(name):
    case = problem(name, 3)
    best = case.teacher_logits.argmax(axis=1).astype(np.int32)
    unknown, _, _ = evaluate(name, case._replace(label=np.full(ROWS, -1, np.int32)))
    np.testing.assert_allclose(unknown, evaluate(name, case._replace(label=best))[0], rtol=1e-6)
    other = case._replace(label=(best + 1) % 3)
    assert (np.abs(evaluate(name, other)[0] - unknown) > 1e-3).all()


def test_ttm_at_temperature_1_is_plain_distillation_and_matches_softened_logits():
    case = problem("ttm", 3)
    for ours, plain in zip(
        evaluate("ttm", case, temperature=1), evaluate("kd", case, temperature=1), strict=True
    ):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), ours, plain)
    matched = case._replace(logits=case.teacher_logits / 4 + 1)
    np.testing.assert_allclose(evaluate("ttm", matched, temperature=4)[2], 0, atol=1e-6)


def test_wttm_weighs_the_loss_of_ttm_by_the_teachers_doubt():
    for classes in CLASSES:
        logits = np.stack([np.zeros(classes), 1e4 * np.eye(classes)[1]]).astype(np.float32)
        for temperature in (1.0, 4.0, 16.0):
            weight = ttm.row_weight(jnp.asarray(logits), jnp.float32(temperature))
            np.testing.assert_allclose(weight, [classes ** (1 - 1 / temperature), 1], rtol=1e-5)
    case = problem("wttm", 10)
    weight = (softmax(case.teacher_logits) ** (1 / 4)).sum(axis=1)
    plain, _, _ = evaluate("ttm", case, temperature=4)
    np.testing.assert_allclose(evaluate("wttm", case, temperature=4)[0], weight * plain, rtol=1e-5)


def test_nkd_of_two_classes_is_its_target_term():
    case = problem("nkd", 2)
    best = np.where(case.label >= 0, case.label, case.teacher_logits.argmax(axis=1))
    row = np.arange(ROWS)
    teacher, student = softmax(case.teacher_logits), softmax(case.logits)
    wanted = -teacher[row, best] * np.log(student[row, best])
    for temperature, weight in ((1.0, 1.5), (4.0, 0.0), (4.0, 9.0)):
        loss, _, _ = evaluate("nkd", case, temperature=temperature, nontarget_weight=weight)
        np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_what_is_known_of_the_methods_with_two_classes():
    known = {name: METHODS[name].verdict(2) for name in NAMES}
    status = {name: verdict.status for name, verdict in known.items() if verdict}
    assert status == {
        "dkd": "equals:kd",
        "nkd": "ok",
        "dist": "ok",
        "logit_standardization": "refused",
    }
    assert all(METHODS[name].verdict(3) is None for name in NAMES)
