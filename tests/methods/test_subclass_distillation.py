"""Subclass Distillation: its teacher's loss and its student's against references."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.methods import METHODS, kd, subclass_distillation
from lelp_jax.methods.base import LossInputs, Seen
from lelp_jax.models.outputs import Outputs
from tests.helpers.softmax import log_softmax

ROWS, SUBCLASSES = 12, 4
VALUES = {
    "alpha": 0.3,
    "label_smoothing": 0.1,
    "hard_mixing": 0.2,
    "warmup": 0.0,
    "temperature": 3.0,
    "auxiliary_weight": 0.7,
    "auxiliary_temperature": 0.5,
}


def mask(classes: int, subclasses: int = SUBCLASSES) -> dict[str, np.ndarray]:
    return {"column_mask": np.ones((classes, subclasses), bool)}


def hyperparameters(**changes: float) -> dict[str, Any]:
    return {key: jnp.float32(value) for key, value in (VALUES | changes).items()}


@functools.cache
def problem(classes: int, subclasses: int = SUBCLASSES) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(classes)
    student, teacher = random.normal(size=(2, ROWS, classes * subclasses)).astype(np.float32) * 2
    label = (np.arange(ROWS) % classes).astype(np.int32)
    label[3] = -1
    return student, teacher, label


def hard_reference(logits: np.ndarray, label: np.ndarray, classes: int, share: float) -> np.ndarray:
    log_class = log_softmax(
        np.log(np.exp(np.float64(logits)).reshape(ROWS, classes, -1).sum(axis=2))
    )
    own = log_class[np.arange(ROWS), label]
    return np.where(label >= 0, -(1 - share) * own - share * log_class.mean(axis=1), 0)


def student_reference(student: np.ndarray, classes: int, values: dict[str, float]) -> np.ndarray:
    _, teacher, label = problem(classes)
    tau, share = values["temperature"], values["hard_mixing"]
    target = np.exp(log_softmax(np.float64(teacher) / tau)).reshape(ROWS, classes, -1)
    of_class = target.sum(axis=2, keepdims=True)
    onehot = np.eye(classes)[label][:, :, None]
    mixed = np.where(label[:, None, None] >= 0, (1 - share) * of_class + share * onehot, of_class)
    target = (target / of_class * mixed).reshape(ROWS, -1)
    soft = -(tau**2) * (target * log_softmax(np.float64(student) / tau)).sum(axis=1)
    hard = hard_reference(student, label, classes, values["label_smoothing"])
    return (1 - values["alpha"]) * soft + values["alpha"] * hard


def teacher_reference(logits: np.ndarray, classes: int, values: dict[str, float]) -> np.ndarray:
    wide, temperature = np.float64(logits), values["auxiliary_temperature"]
    rows = wide - wide.mean(axis=1, keepdims=True)
    rows /= np.sqrt(np.square(rows).mean(axis=1, keepdims=True))
    alike = np.exp(rows @ rows.T / (wide.shape[1] * temperature))
    apart = np.log(alike.sum(axis=1)) - 1 / temperature - np.log(ROWS)
    hard = hard_reference(logits, problem(classes)[2], classes, values["label_smoothing"])
    return hard + values["auxiliary_weight"] * apart


def differences(reference: Any, logits: np.ndarray) -> np.ndarray:
    """Returns the gradient of the sum over rows."""
    result = np.zeros(logits.shape)
    for place in np.ndindex(logits.shape):
        moved = np.zeros(logits.shape)
        moved[place] = 1e-5
        change = reference(logits + moved).sum() - reference(logits - moved).sum()
        result[place] = change / 2e-5
    return result


@functools.partial(jax.jit, static_argnums=0)
def evaluate(loss: Any, logits: Any, label: Any, teacher: Any, constants: Any, values: Any) -> Any:
    def total(logits: Any) -> Any:
        result = loss(LossInputs(logits, label, teacher), constants, values).per_example
        return result.sum(), result

    (_, result), gradient = jax.value_and_grad(total, has_aux=True)(logits)
    return result, gradient


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_losses_and_gradients_match_a_float64_reference(whose: str, classes: int) -> None:
    student, teacher, label = problem(classes)
    loss = {
        "student": subclass_distillation.loss,
        "teacher": subclass_distillation.teacher_loss,
    }[whose]
    plain = {"student": student_reference, "teacher": teacher_reference}[whose]
    reference = functools.partial(plain, classes=classes, values=VALUES)
    got, gradient = evaluate(loss, student, label, teacher, mask(classes), hyperparameters())
    np.testing.assert_allclose(got, reference(student), rtol=2e-5, atol=1e-5)
    wanted = differences(reference, student.astype(np.float64))
    assert np.abs(wanted).max() > 0.05
    np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-4)


def test_one_subclass_per_class_is_plain_distillation() -> None:
    student, teacher, label = problem(3, 1)
    got, gradient = evaluate(
        subclass_distillation.loss, student, label, teacher, mask(3, 1), hyperparameters()
    )
    wanted, wanted_gradient = evaluate(kd.loss, student, label, teacher, {}, hyperparameters())
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    np.testing.assert_allclose(gradient, wanted_gradient, atol=1e-5)


def test_class_probabilities_are_sums_over_subclasses_at_any_temperature() -> None:
    student, _, _ = problem(3)
    sums = np.exp(log_softmax(np.float64(student))).reshape(ROWS, 3, -1).sum(axis=2)
    for temperature in (1.0, 5.0):
        read = subclass_distillation.readout(
            Outputs(jnp.asarray(student), jnp.asarray(student)),
            {},
            mask(3),
            hyperparameters(temperature=temperature),
        )
        np.testing.assert_allclose(np.exp(log_softmax(np.float64(read))), sums, atol=1e-6)


def test_the_auxiliary_loss_tells_rows_apart() -> None:
    spread = jax.jit(subclass_distillation.spread_loss)
    student, _, _ = problem(3)
    alike = np.tile(student[:1], (ROWS, 1))
    np.testing.assert_allclose(spread(alike, 1.0), 0, atol=1e-6)
    # One-hot rows over ten columns, one per column: -log of the mean similarity by hand.
    apart = spread(np.eye(10, dtype=np.float32) * 7, 1.0)
    off = np.exp(-1 / 9)
    np.testing.assert_allclose(apart, np.log((np.e + 9 * off) / 10) - 1, rtol=1e-5)
    np.testing.assert_allclose(apart, -0.9257, atol=5e-5)
    values = np.asarray(spread(student, 0.5))
    assert (values < -0.1).all()
    scale = np.linspace(0.5, 4, ROWS, dtype=np.float32)[:, None]
    np.testing.assert_allclose(spread(scale * student + 3 * scale, 0.5), values, rtol=1e-4)


def test_extreme_and_narrow_logits_give_finite_losses() -> None:
    _, teacher, label = problem(2)
    extreme = np.where(np.random.default_rng(1).random(teacher.shape) < 0.5, -1e4, 1e4)
    for logits in (jnp.float32(extreme), jnp.asarray(teacher, jnp.bfloat16)):
        for loss in (subclass_distillation.loss, subclass_distillation.teacher_loss):
            got, gradient = evaluate(
                loss, logits, label, np.float32(-extreme), mask(2), hyperparameters()
            )
            assert got.dtype == jnp.float32
            assert np.isfinite(got).all()
            assert np.isfinite(np.asarray(gradient, np.float32)).all()


def test_both_methods_share_all_but_the_teacher() -> None:
    again, matched = METHODS["subclass_distillation"], METHODS["subclass_matched"]
    assert again.loss is matched.loss
    assert again.search_space == matched.search_space
    assert again.teacher is not None
    assert matched.teacher is not None
    assert (again.teacher.frozen_trunk, matched.teacher.frozen_trunk) == (False, True)
    static = {"num_subclasses": 6}
    assert matched.teacher.num_outputs(3, static) == 18
    seen: Any = Seen(np.zeros(2), np.zeros((2, 18)), None, np.zeros((5, 18)), 3, 2, None, None)
    for constants in (matched.teacher.constants(3, static), again.prepare(seen, static)):
        assert constants["column_mask"].shape == (3, 6)
        assert constants["column_mask"].all()
