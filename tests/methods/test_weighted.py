"""Weights that make the loss at the teacher's answers the loss at the truth, on average."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.methods import weighted
from lelp_jax.methods.weighted import Answers, compute_weight, weigh
from tests.helpers.softmax import log_softmax, softmax

PROBABILITY = st.floats(0, 1)
DISTORTION = st.floats(1e-3, 1e4)


@given(PROBABILITY, DISTORTION)
def test_nothing_is_changed_where_the_teacher_is_right_or_its_errors_cost_nothing(
    wrong: float, distortion: float
) -> None:
    assert compute_weight(np.float64(0), distortion) == 1
    assert compute_weight(wrong, np.float64(1)) == 1


@given(PROBABILITY, PROBABILITY, DISTORTION)
def test_weights_fall_with_the_probability_of_an_error(
    one: float, other: float, distortion: float
) -> None:
    less, more = sorted((one, other))
    first, second = (compute_weight(p, np.float64(distortion)) for p in (less, more))
    assert first >= second if distortion >= 1 else first <= second
    assert 0.05 <= second <= 5
    if distortion > 1.1 and more > less + 0.1 and first > 0.05:
        assert first > second


@given(PROBABILITY, DISTORTION, DISTORTION)
def test_weights_fall_with_the_distortion(wrong: float, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert compute_weight(wrong, np.float64(less)) >= compute_weight(wrong, np.float64(more))


def test_on_planted_errors_the_weighted_loss_is_the_clean_loss_on_average() -> None:
    random = np.random.default_rng(0)
    rows, classes = 400_000, 3
    truth, shift = random.integers(classes, size=rows), random.integers(1, classes, size=rows)
    log_probability = log_softmax(random.normal(size=(rows, classes)) + np.eye(classes)[truth])
    wrong = random.uniform(0, 0.6, size=rows)
    answer = np.where(random.random(rows) < wrong, (truth + shift) % classes, truth)
    loss, row = -log_probability, np.arange(rows)
    # Each of the other classes is as likely an error as any.
    clean = loss[row, truth]
    distortion = (loss.sum(axis=1) - clean) / (classes - 1) / clean
    taught = loss[row, answer]
    weight = 1 / (1 + wrong * (distortion - 1))
    np.testing.assert_allclose(compute_weight(wrong, distortion), np.clip(weight, 0.05, 5))
    assert np.mean(weight * taught) == pytest.approx(clean.mean(), rel=0.01)
    assert taught.mean() > 1.1 * clean.mean()


def plant(rows: int, seed: int) -> tuple[Answers, np.ndarray]:
    """Plants a teacher that errs on 40 % of the rows of which it is unsure, and 10 % of the others.

    The student has one of two degrees of certainty, each for as many rows of either kind.
    """
    random = np.random.default_rng(seed)
    truth, number = random.integers(2, size=rows), np.arange(rows)
    unsure, certain = number % 2 == 0, number % 4 < 2
    answer = np.where(random.random(rows) < np.where(unsure, 0.4, 0.1), 1 - truth, truth)
    signs = np.eye(2)[answer] * 2 - 1, np.eye(2)[truth] * 2 - 1
    scales = np.where(unsure, 0.3, 2.0), np.where(certain, 1.0, 0.2)
    logits = [sign * scale[:, None] for sign, scale in zip(signs, scales, strict=True)]
    return Answers(*(each.astype(np.float32) for each in logits)), truth


def test_estimated_weights_make_the_loss_clean_on_average() -> None:
    validation, label = plant(10_000, 0)
    seen, truth = plant(4000, 1)
    found = weigh(validation, label, seen)
    loss, row = -log_softmax(seen.student.astype(np.float64)), np.arange(len(truth))
    taught = loss[row, seen.teacher.argmax(axis=1)]
    clean = loss[row, truth].mean()
    assert np.mean(found * taught) == pytest.approx(clean, rel=0.03)
    assert taught.mean() > 1.1 * clean
    assert len(np.unique(np.round(found, 1))) > 2


def test_neighbours_are_the_nearest_in_the_plane_of_the_margins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The rows to weigh are read in parts, here of 7.
    monkeypatch.setattr(weighted, "_PART", 7)
    random = np.random.default_rng(3)
    validation, seen = (
        Answers(*random.normal(size=(2, rows, 4)).astype(np.float32) * 2) for rows in (60, 17)
    )
    label = np.where(
        random.random(60) < 0.6, validation.teacher.argmax(axis=1), random.integers(4, size=60)
    )
    wanted = []
    points, other = (
        np.stack([np.diff(np.sort(softmax(part.astype(np.float64))))[:, -1] for part in answers], 1)
        for answers in (validation, seen)
    )
    loss = -log_softmax(validation.student.astype(np.float64))
    answer = validation.teacher.argmax(axis=1)
    for point in other:
        near = np.argsort(np.square(points - point).sum(axis=1))[:30]
        errors = [row for row in near if answer[row] != label[row]]
        taught, true = (np.mean(loss[errors, each[errors]].clip(1e-3)) for each in (answer, label))
        factor = 1 + len(errors) / 30 * (taught / true - 1)
        wanted.append(np.clip(1 / factor, 0.05, 5))
    np.testing.assert_allclose(weigh(validation, label, seen), wanted, rtol=1e-4)


def test_a_teacher_without_errors_weighs_all_rows_alike() -> None:
    validation, _ = plant(50, 0)
    weights = weigh(validation, validation.teacher.argmax(axis=1), validation)
    np.testing.assert_array_equal(weights, np.ones(50, np.float32))


def test_a_student_certain_of_the_truth_bounds_the_distortion() -> None:
    certain = np.float32([[90, -90], [0, 0]])
    losses = [weighted.measure_losses(certain, np.full(2, label)) for label in (0, 1)]
    np.testing.assert_allclose(losses, [[1e-3, np.log(2)], [180, np.log(2)]])
    always_wrong = Answers(np.float32([[0, 1], [0, 1]]), certain[:1].repeat(2, axis=0))
    found = weigh(always_wrong, np.zeros(2, int), always_wrong)
    np.testing.assert_array_equal(found, np.float32([0.05, 0.05]))


@pytest.mark.parametrize(
    ("rows", "count"), [(1, 1), (2, 1), (100, 50), (1600, 800), (2500, 1000), (10_000, 2000)]
)
def test_the_number_of_neighbours(rows: int, count: int) -> None:
    assert weighted.count_neighbours(rows) == count
