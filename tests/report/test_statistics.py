"""Intervals and p-values."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.report.results.statistics import (
    Interval,
    average,
    correct_p_values,
    estimate,
    estimate_mean,
    find_scope,
)

GAINS = np.random.default_rng(4).normal(0.3, 1, 12)
TWELVE = np.zeros(12, int)


def of_students(values: np.ndarray, teacher: np.ndarray, confidence: float = 0.95) -> Interval:
    """Returns the interval of values that are the same for all test rows."""
    return estimate(np.tile(np.array(values)[:, None], 5), teacher, confidence)[0]


def p_of_students(values: np.ndarray, teacher: np.ndarray) -> float:
    return estimate(np.tile(np.array(values)[:, None], 5), teacher, 0.95)[1]


# Students and teachers.


def test_mean_and_standard_deviation() -> None:
    values = np.array([0.7, 0.9, 0.8, 0.2])
    result = of_students(values, np.zeros(4, int), 0.9)
    assert result.mean == pytest.approx(values.mean())
    assert result.std == pytest.approx(values.std(ddof=1))
    assert result.low < result.mean < result.high


@pytest.mark.parametrize("teachers", [3, 4, 6, 12])
def test_three_or_more_teachers_are_tested_by_their_means(teachers: int) -> None:
    taught = np.arange(12) % teachers
    means = [GAINS[taught == number].mean() for number in range(teachers)]
    wanted = scipy.stats.ttest_1samp(means, 0)
    low, high = wanted.confidence_interval(0.9)
    assert p_of_students(GAINS, taught) == pytest.approx(wanted.pvalue, rel=1e-9)
    assert of_students(GAINS, taught, 0.9)[2:] == pytest.approx((low, high), rel=1e-9)


def test_students_of_one_teacher_are_tested_by_the_t_test() -> None:
    wanted = scipy.stats.ttest_1samp(GAINS, 0)
    assert p_of_students(GAINS, TWELVE) == pytest.approx(wanted.pvalue, rel=1e-9)
    low, high = wanted.confidence_interval(0.95)
    assert of_students(GAINS, TWELVE)[2:] == pytest.approx((low, high), rel=1e-9)


def test_students_of_two_teachers_are_tested_within_teachers() -> None:
    """As the intercept of a regression on the teacher, coded as -1 and 1."""
    taught = np.array([0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 1])
    design = np.stack([np.ones(12), 2 * taught - 1], axis=1)
    coefficients, residuals, *_ = np.linalg.lstsq(design, GAINS, rcond=None)
    error = np.sqrt(residuals[0] / 10 * np.linalg.inv(design.T @ design)[0, 0])
    wanted = 2 * scipy.stats.t.sf(abs(coefficients[0]) / error, 10)
    assert p_of_students(GAINS, taught) == pytest.approx(wanted, rel=1e-9)
    assert of_students(GAINS, taught).mean == pytest.approx(coefficients[0])


def test_teachers_with_unequal_numbers_of_replicates_count_equally() -> None:
    values, taught = np.array([1.0, 3, 2, 5, 4]), np.array([7, 7, 1, 4, 4])
    wanted = scipy.stats.ttest_1samp([2.0, 2.0, 4.5], 0)
    assert p_of_students(values, taught) == pytest.approx(wanted.pvalue, rel=1e-9)
    assert of_students(values, taught).mean == pytest.approx(8.5 / 3)
    assert average(values, taught) == pytest.approx(8.5 / 3)


@pytest.mark.parametrize(
    ("teacher", "scope"),
    [
        ([0], "too few replicates"),
        ([0, 0], "too few replicates"),
        ([0, 1], "too few replicates"),
        ([0, 1, 0], "too few replicates"),
        ([0, 0, 0], "these teachers"),
        ([0, 1, 0, 1], "these teachers"),
        ([0, 1, 2], "new teachers"),
        ([], "too few replicates"),
    ],
)
def test_who_the_intervals_are_for(teacher: list[int], scope: str) -> None:
    taught = np.array(teacher, int)
    assert find_scope(taught) == scope
    if teacher:
        interval, p_value = estimate(
            np.random.default_rng(0).normal(size=(len(taught), 9)), taught, 0.95
        )
        unknown = scope == "too few replicates"
        assert np.isnan([interval.low, interval.high, p_value]).tolist() == [unknown] * 3
        assert np.isfinite(interval.mean)


# Test rows.


def compute_by_loops(values: np.ndarray) -> tuple[float, float]:
    """Returns error and degrees of freedom of units by rows, from sums of squares by hand."""
    units, rows = values.shape
    of_unit, of_row, mean = values.mean(1), values.mean(0), values.mean()
    mean_square_units = rows * sum((x - mean) ** 2 for x in of_unit) / (units - 1)
    mean_square_rows = units * sum((x - mean) ** 2 for x in of_row) / (rows - 1)
    rest = 0.0
    for unit in range(units):
        for row in range(rows):
            rest += (values[unit, row] - of_unit[unit] - of_row[row] + mean) ** 2
    rest /= (units - 1) * (rows - 1)
    first = mean_square_units / (units * rows)
    second = max(mean_square_rows - rest, 0) / (units * rows)
    share = first / (first + second)
    return np.sqrt(first + second), 1 / (share / (units - 1) + (1 - share) / (rows - 1))


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_crossed_variance_against_mean_squares(spread: float) -> None:
    random = np.random.default_rng(1)
    units = (
        random.normal(size=(5, 40)) + spread * random.normal(size=40) + random.normal(size=(5, 1))
    )
    wanted = compute_by_loops(units)
    # Each teacher has the students that its unit is the mean of.
    noise = random.normal(size=(5, 40))
    replicates = np.concatenate([units + noise, units - noise])
    for values, taught in ((units, np.arange(5)), (replicates, np.arange(10) % 5)):
        moments = estimate_mean(values, taught)
        assert moments.mean == pytest.approx(values.mean())
        assert (moments.error, moments.degrees) == pytest.approx(wanted, rel=1e-9)
    moments = estimate_mean(units, np.zeros(5, int))
    assert (moments.error, moments.degrees) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("taught", [np.arange(5), np.arange(7) % 3, np.arange(6) % 2])
def test_squared_error_is_the_variance_of_the_mean(taught: np.ndarray) -> None:
    """Of teachers, replicates, rows and all interactions; teachers only where they are sampled."""
    random, draws, rows = np.random.default_rng(2), 8000, 12
    replicates, teachers = len(taught), len(np.unique(taught))
    values = 3 * random.normal(size=(draws, 1, rows)) + random.normal(
        size=(draws, replicates, rows)
    )
    values += random.normal(size=(draws, replicates, 1))
    if find_scope(taught) == "new teachers":
        values += random.normal(size=(draws, teachers, 1))[:, taught]
        values += random.normal(size=(draws, teachers, rows))[:, taught]
    moments = estimate_mean(values, taught)
    assert np.square(moments.error).mean() == pytest.approx(moments.mean.var(), rel=0.06)


def test_students_that_agree_still_have_an_interval_for_new_rows() -> None:
    """Only rows vary, as for a student that does not depend on its seed."""
    rows = np.random.default_rng(3).normal(0.2, 1, size=300)
    interval, p_value = estimate(np.tile(rows, (6, 1)), np.arange(6) % 3, 0.95)
    wanted = scipy.stats.ttest_1samp(rows, 0)
    low, high = wanted.confidence_interval(0.95)
    assert p_value == pytest.approx(wanted.pvalue)
    assert interval[2:] == pytest.approx((low, high))


def test_a_better_method_on_few_rows_may_be_worse_on_others() -> None:
    """All 16 students gain on the same 3 of 40 rows and lose on one."""
    gains = np.zeros((16, 40))
    gains[:, :3], gains[:, 3] = 1, -1
    gains[::3, 4] = 1
    assert p_of_students(gains.mean(axis=1), np.arange(16) % 4) < 1e-3
    assert estimate(gains, np.arange(16) % 4, 0.95)[1] > 0.1


# Interval and p-value.


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 5]),
    st.integers(4, 9),
    st.sampled_from([0.5, 0.8, 0.95, 0.99]),
    st.floats(-1, 1),
)
def test_the_interval_excludes_zero_exactly_if_p_is_small(
    seed: int, teachers: int, replicates: int, confidence: float, shift: float
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(shift, 1, size=(max(replicates, teachers), 1)) + random.normal(size=6)
    values += random.normal(size=values.shape)
    interval, p_value = estimate(values, np.arange(len(values)) % teachers, confidence)
    assert interval.low < interval.mean < interval.high
    assert (interval.low > 0 or interval.high < 0) == (p_value < 1 - confidence)


def test_intervals_and_p_values_have_no_sign_unit_or_order() -> None:
    random = np.random.default_rng(6)
    values, taught = random.normal(0.2, 1, size=(12, 30)), np.arange(12) % 4
    interval, p_value = estimate(values, taught, 0.9)
    order, rows = random.permutation(12), random.permutation(30)
    other, other_p = estimate(-100 * values[order][:, rows], taught[order], 0.9)
    assert other_p == pytest.approx(p_value, rel=1e-9)
    assert (-other.high, -other.low) == pytest.approx((100 * interval.low, 100 * interval.high))


def test_higher_confidence_is_wider() -> None:
    widths = []
    for confidence in (0.5, 0.8, 0.95, 0.99):
        result = of_students(GAINS, np.arange(12) % 3, confidence)
        widths.append(result.high - result.low)
    assert (np.diff(widths) > 0).all()


@pytest.mark.parametrize("taught", [TWELVE, np.arange(12) % 4])
def test_what_does_not_vary_has_neither(taught: np.ndarray) -> None:
    # 0.3 - 0.1 and 0.8 - 0.6 differ in the last bit only.
    constant = np.array([0.3, 0.8] * 6) - np.array([0.1, 0.6] * 6)
    assert np.ptp(constant) > 0
    for values in (np.zeros(12), np.full(12, 0.25), constant):
        interval = of_students(values, taught)
        assert np.isnan([interval.low, interval.high, p_of_students(values, taught)]).all()
        assert interval.mean == pytest.approx(values.mean())


def test_differences_with_mean_zero_have_p_one() -> None:
    values = np.repeat([0.1, -0.1], 6)
    assert p_of_students(values, TWELVE) == pytest.approx(1)
    assert of_students(values, TWELVE).low < 0 < of_students(values, TWELVE).high


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_has_neither(bad: float) -> None:
    values = np.random.default_rng(0).normal(size=(6, 4))
    values[2, 1] = bad
    interval, p_value = estimate(values, np.arange(6) % 3, 0.95)
    assert np.isnan([interval.low, interval.high, p_value]).all()
    assert not np.isfinite(interval.mean)


def test_one_replicate_has_neither() -> None:
    result = of_students(np.array([0.5]), np.zeros(1, int))
    assert result.mean == 0.5
    assert np.isnan([result.std, result.low, result.high]).all()


# Holm's correction.


@pytest.mark.parametrize(
    ("raw", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.04, 0.04, 0.04], [0.12, 0.12, 0.12]),
        ([0.6, 0.5], [1.0, 1.0]),
        # The second is below twice itself, but not below what the first has become.
        ([0.02, 0.021], [0.04, 0.04]),
        ([0.3], [0.3]),
        ([], []),
    ],
)
def test_holm_by_hand(raw: list[float], corrected: list[float]) -> None:
    assert correct_p_values(raw) == pytest.approx(corrected)


def test_holm_passes_over_what_has_no_p_value() -> None:
    nan = float("nan")
    assert correct_p_values([nan, 0.01, 0.04]) == pytest.approx([nan, 0.02, 0.04], nan_ok=True)
    assert np.isnan(correct_p_values([nan, nan])).all()


def test_holm_claims_what_the_step_down_procedure_claims() -> None:
    """Reject from the smallest on, at 0.05 divided by how many are left, until one fails."""
    random = np.random.default_rng(8)
    for _ in range(200):
        raw = random.beta(0.3, 3, size=6).tolist()
        claimed = np.zeros(6, bool)
        for step, place in enumerate(np.argsort(raw)):
            if raw[place] > 0.05 / (6 - step):
                break
            claimed[place] = True
        np.testing.assert_array_equal(np.array(correct_p_values(raw)) <= 0.05, claimed)
