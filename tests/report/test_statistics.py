"""Intervals and p-values."""

import numpy as np
import pytest
import scipy.stats

from lelp_jax.report.results.statistics import bootstrap_interval, compute_p_value, correct_p_values


def test_mean_and_standard_deviation():
    values = np.array([0.7, 0.9, 0.8, 0.2])
    result = bootstrap_interval(values, np.zeros(4, int), 0.9)
    assert result.mean == pytest.approx(values.mean())
    assert result.std == pytest.approx(values.std(ddof=1))
    assert result.low < result.mean < result.high


@pytest.mark.parametrize("teachers", [1, 3])
def test_equal_values_give_an_interval_without_width(teachers):
    result = bootstrap_interval(np.full(6, 0.25), np.arange(6) % teachers, 0.95)
    assert result == (0.25, 0, 0.25, 0.25)


def test_one_replicate_has_no_interval():
    result = bootstrap_interval(np.array([0.5]), np.zeros(1, int), 0.95)
    assert result.mean == 0.5
    assert np.isnan([result.std, result.low, result.high]).all()


@pytest.mark.parametrize("teachers", [1, 2])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_with_few_teachers_it_is_the_percentile_bootstrap(teachers, confidence):
    values = np.random.default_rng(1).normal(size=20)
    result = bootstrap_interval(values, np.arange(20) % teachers, confidence)
    wanted = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=10_000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    width = wanted.high - wanted.low
    assert result.low == pytest.approx(wanted.low, abs=0.05 * width)
    assert result.high == pytest.approx(wanted.high, abs=0.05 * width)


def test_higher_confidence_is_wider():
    values = np.random.default_rng(2).normal(size=12)
    widths = []
    for confidence in (0.5, 0.8, 0.95, 0.99):
        result = bootstrap_interval(values, np.arange(12) % 3, confidence)
        widths.append(result.high - result.low)
    assert (np.diff(widths) > 0).all()


def test_intervals_cover_the_mean_of_a_normal_sample():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(120):
        result = bootstrap_interval(random.normal(size=16), np.zeros(16, int), 0.9)
        covered.append(result.low < 0 < result.high)
    # Percentile intervals of 16 values are a little short: about 0.86.
    assert 0.76 < np.mean(covered) < 0.96


def test_differences_between_teachers_widen_the_interval():
    teacher = np.arange(16) % 4
    values = np.array([0.0, 1.0, 2.0, 3.0])[teacher] + 0.01 * np.arange(16)
    one_level = bootstrap_interval(values, np.zeros(16, int), 0.95)
    two_level = bootstrap_interval(values, teacher, 0.95)
    assert two_level.mean == one_level.mean
    wide, narrow = two_level.high - two_level.low, one_level.high - one_level.low
    assert wide > 1.5 * narrow
    # Resampled means of four teachers have half the standard deviation of one.
    assert wide == pytest.approx(2 * 1.96 * np.arange(4).std() / 2, rel=0.15)


def test_teachers_without_effect_hardly_change_the_interval():
    values = np.random.default_rng(3).normal(size=60)
    one_level = bootstrap_interval(values, np.zeros(60, int), 0.95)
    two_level = bootstrap_interval(values, np.arange(60) % 20, 0.95)
    assert two_level.high - two_level.low == pytest.approx(one_level.high - one_level.low, rel=0.5)


def test_teachers_may_have_unequal_numbers_of_replicates():
    values = np.array([1.0, 1.0, 1.0, 1.0, 4.0, 7.0])
    result = bootstrap_interval(values, np.array([0, 0, 0, 0, 1, 2]), 0.999)
    assert result.mean == pytest.approx(2.5)
    assert result.low == pytest.approx(1)
    assert result.high == pytest.approx(7)


# P-values.

ONE_TEACHER = np.zeros(12, int)
GAINS = np.random.default_rng(4).normal(0.3, 1, 12)


@pytest.mark.parametrize("teachers", [1, 2, 12])
def test_p_value_is_that_of_the_paired_t_test(teachers):
    """With two teachers there are too few for clusters, with twelve each is one replicate."""
    first = np.random.default_rng(5).normal(size=12)
    wanted = scipy.stats.ttest_rel(first + GAINS, first).pvalue
    assert 0.01 < wanted < 0.9
    assert compute_p_value(GAINS, np.arange(12) % teachers) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("teachers", [3, 4, 6])
def test_equal_clusters_are_tested_by_their_means(teachers):
    taught = np.arange(12) % teachers
    means = [GAINS[taught == number].mean() for number in range(teachers)]
    wanted = scipy.stats.ttest_1samp(means, 0).pvalue
    assert compute_p_value(GAINS, taught) == pytest.approx(wanted, rel=1e-9)


def test_unequal_clusters_against_the_formula():
    """Residuals of (1, 3, 2, 5, 4) are (-2, 0, -1, 2, 1), their sums by teacher -2, -1 and 3."""
    error = np.sqrt(3 / 2 * (4 + 1 + 9)) / 5
    wanted = 2 * scipy.stats.t.sf(3 / error, df=2)
    result = compute_p_value(np.array([1.0, 3, 2, 5, 4]), np.array([7, 7, 1, 4, 4]))
    assert result == pytest.approx(wanted, rel=1e-12)


def test_p_value_has_no_sign_unit_or_order():
    taught = np.arange(12) % 4
    wanted = compute_p_value(GAINS, taught)
    order = np.random.default_rng(6).permutation(12)
    assert compute_p_value(-100 * GAINS[order], taught[order]) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("taught", [ONE_TEACHER, np.arange(12) % 4])
def test_differences_without_a_mean_or_without_spread(taught):
    assert compute_p_value(np.zeros(12), taught) == 1
    assert compute_p_value(np.repeat([0.1, -0.1], 6), taught) == 1
    # 0.3 - 0.1 and 0.8 - 0.6 differ in the last bit only.
    constant = np.array([0.3, 0.8] * 6) - np.array([0.1, 0.6] * 6)
    assert np.ptp(constant) > 0
    assert np.isnan(compute_p_value(constant, taught))


def test_clusters_that_agree_by_chance_tell_nothing():
    assert np.isnan(compute_p_value(np.array([0.0, 0.2, 0.1, 0.1, 0.2, 0.0]), np.arange(6) // 2))


def test_too_little_for_a_p_value():
    assert np.isnan(compute_p_value(np.array([0.5]), np.zeros(1, int)))
    assert np.isnan(compute_p_value(np.array([0.5, np.nan, 0.2]), np.zeros(3, int)))


def test_the_test_keeps_its_level_where_teachers_matter():
    """What is drawn has no effect; half of its variance is shared by students of a teacher."""
    random = np.random.default_rng(7)
    taught = np.arange(24) % 6
    drawn = random.normal(size=(2000, 24)) + random.normal(size=(2000, 6))[:, taught]
    clustered = np.mean([compute_p_value(row, taught) < 0.05 for row in drawn])
    # Three standard deviations of a share of 2000 draws.
    assert clustered == pytest.approx(0.05, abs=0.015)
    unaware = np.mean([compute_p_value(row, 0 * taught) < 0.05 for row in drawn])
    assert unaware > 0.15


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
def test_holm_by_hand(raw, corrected):
    assert correct_p_values(raw) == pytest.approx(corrected)


def test_holm_passes_over_what_has_no_p_value():
    nan = float("nan")
    assert correct_p_values([nan, 0.01, 0.04]) == pytest.approx([nan, 0.02, 0.04], nan_ok=True)
    assert np.isnan(correct_p_values([nan, nan])).all()


def test_holm_claims_what_the_step_down_procedure_claims():
    """Reject from the smallest on, at 0.05 divided by how many are left, until one fails."""
    random = np.random.default_rng(8)
    for _ in range(200):
        raw = random.beta(0.3, 3, size=6)
        claimed = np.zeros(6, bool)
        for step, place in enumerate(np.argsort(raw)):
            if raw[place] > 0.05 / (6 - step):
                break
            claimed[place] = True
        np.testing.assert_array_equal(np.array(correct_p_values(raw)) <= 0.05, claimed)
