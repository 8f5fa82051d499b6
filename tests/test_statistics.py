"""Intervals and the numbers of the comparison."""

from typing import Any

import numpy as np
import pytest
import scipy.stats

from lelp_jax.report.comparison import compare
from lelp_jax.report.statistics import interval


def test_mean_and_standard_deviation():
    values = np.array([0.7, 0.9, 0.8, 0.2])
    result = interval(values, np.zeros(4, int), 0.9)
    assert result.mean == pytest.approx(values.mean())
    assert result.std == pytest.approx(values.std(ddof=1))
    assert result.low < result.mean < result.high


@pytest.mark.parametrize("teachers", [1, 3])
def test_equal_values_give_an_interval_without_width(teachers):
    result = interval(np.full(6, 0.25), np.arange(6) % teachers, 0.95)
    assert result == (0.25, 0, 0.25, 0.25)


def test_one_replicate_has_no_interval():
    result = interval(np.array([0.5]), np.zeros(1, int), 0.95)
    assert result.mean == 0.5
    assert np.isnan([result.std, result.low, result.high]).all()


@pytest.mark.parametrize("teachers", [1, 2])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_with_few_teachers_it_is_the_percentile_bootstrap(teachers, confidence):
    values = np.random.default_rng(1).normal(size=20)
    result = interval(values, np.arange(20) % teachers, confidence)
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
        result = interval(values, np.arange(12) % 3, confidence)
        widths.append(result.high - result.low)
    assert (np.diff(widths) > 0).all()


def test_intervals_cover_the_mean_of_a_normal_sample():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(120):
        result = interval(random.normal(size=16), np.zeros(16, int), 0.9)
        covered.append(result.low < 0 < result.high)
    # Percentile intervals of 16 values are a little short: about 0.86.
    assert 0.76 < np.mean(covered) < 0.96


def test_differences_between_teachers_widen_the_interval():
    teacher = np.arange(16) % 4
    values = np.array([0.0, 1.0, 2.0, 3.0])[teacher] + 0.01 * np.arange(16)
    one_level = interval(values, np.zeros(16, int), 0.95)
    two_level = interval(values, teacher, 0.95)
    assert two_level.mean == one_level.mean
    wide, narrow = two_level.high - two_level.low, one_level.high - one_level.low
    assert wide > 1.5 * narrow
    # Resampled means of four teachers have half the standard deviation of one.
    assert wide == pytest.approx(2 * 1.96 * np.arange(4).std() / 2, rel=0.15)


def test_teachers_without_effect_hardly_change_the_interval():
    values = np.random.default_rng(3).normal(size=60)
    one_level = interval(values, np.zeros(60, int), 0.95)
    two_level = interval(values, np.arange(60) % 20, 0.95)
    assert two_level.high - two_level.low == pytest.approx(one_level.high - one_level.low, rel=0.5)


def test_teachers_may_have_unequal_numbers_of_replicates():
    values = np.array([1.0, 1.0, 1.0, 1.0, 4.0, 7.0])
    result = interval(values, np.array([0, 0, 0, 0, 1, 2]), 0.999)
    assert result.mean == pytest.approx(2.5)
    assert result.low == pytest.approx(1)
    assert result.high == pytest.approx(7)


def line(method: str, replicate: int, value: float | None, **changes: Any) -> dict[str, Any]:
    test = None
    if value is not None:
        test = {"accuracy": value, "nll": 1 - value, "ece": value / 10, "agreement": value / 2}
    return {
        "method": method,
        "trial": 0,
        "replicate": replicate,
        "teacher": replicate % 2,
        "selected": value is not None,
        "status": "ok",
        "settings": {"learning_rate": 0.1},
        "num_outputs": 2,
        "parameters": 10,
        "train_seconds": 2.0,
        "test": test,
        "teacher_test": None if test is None else {"accuracy": 0.9 + 0.05 * (replicate % 2)},
    } | changes


KD = (0.5, 0.7, 0.6, 0.8)
LELP = (0.6, 0.7, 0.8, 0.7)


def lines() -> list[dict[str, Any]]:
    result = [line("kd", r, value) for r, value in enumerate(KD)]
    result += [line("kd", r, None, trial=1, status="diverged") for r in range(2)]
    result += [line("kd", r, None, trial=1) for r in range(2, 4)]
    result += [
        line("lelp", r, value, trial=2, num_outputs=20, train_seconds=5.0)
        for r, value in enumerate(LELP)
    ]
    result += [line("oracle", r, None, status="diverged") for r in range(4)]
    return result


def test_comparison_of_hand_made_lines():
    result = compare(lines(), "kd", "accuracy", 0.95)
    assert [row["method"] for row in result["methods"]] == ["kd", "lelp", "oracle"]
    kd, lelp, oracle = result["methods"]
    assert result["replicates"] == 4
    assert result["teachers"] == 2
    assert result["teacher"] == pytest.approx(0.925)
    assert kd["value"]["mean"] == pytest.approx(0.65)
    assert kd["value"]["std"] == pytest.approx(np.std(KD, ddof=1))
    assert (kd["trials"], kd["diverged"]) == (2, 2)
    assert "difference" not in kd
    assert lelp["trials"] == 1
    assert lelp["num_outputs"] == 20
    assert lelp["train_seconds"] == 5
    assert lelp["nll"] == pytest.approx(0.3)
    assert lelp["ece"] == pytest.approx(0.07)
    assert lelp["agreement"] == pytest.approx(0.35)
    gain = np.subtract(LELP, KD)
    assert lelp["difference"]["mean"] == pytest.approx(gain.mean())
    assert lelp["difference"]["std"] == pytest.approx(gain.std(ddof=1))
    assert lelp["difference"]["low"] >= gain.min()
    assert lelp["difference"]["high"] <= gain.max()
    assert (lelp["wins"], lelp["losses"]) == (2, 1)
    assert oracle == {"method": "oracle", "trials": 1, "diverged": 4}


def test_differences_are_paired_whatever_the_order_of_lines():
    ordered = compare(lines(), "kd", "accuracy", 0.95)
    for seed in range(3):
        shuffled = [lines()[i] for i in np.random.default_rng(seed).permutation(len(lines()))]
        again = compare(shuffled, "kd", "accuracy", 0.95)
        for row in ordered["methods"]:
            other = next(r for r in again["methods"] if r["method"] == row["method"])
            for key in ("wins", "losses", "diverged"):
                assert other.get(key) == row.get(key)
            for key in ("value", "difference"):
                if key in row:
                    assert other[key] == pytest.approx(row[key])


def test_teachers_stay_with_their_students_whatever_the_order_of_lines():
    """Three teachers: they are resampled, so an interval depends on who taught whom."""
    values = np.random.default_rng(0).uniform(0.5, 0.9, 12) + np.repeat([0.0, 0.04, 0.1], 4)
    made = [line("kd", r, float(v), teacher=r // 4) for r, v in enumerate(values)]
    ordered = compare(made, "kd", "accuracy", 0.95)["methods"][0]["value"]
    for seed in range(3):
        shuffled = [made[i] for i in np.random.default_rng(seed).permutation(len(made))]
        again = compare(shuffled, "kd", "accuracy", 0.95)["methods"][0]["value"]
        assert again == pytest.approx(ordered)


def test_without_a_baseline_that_trained_there_are_no_differences():
    only = [x for x in lines() if x["method"] != "kd"]
    only += [line("kd", r, None, status="diverged") for r in range(4)]
    rows = {row["method"]: row for row in compare(only, "kd", "accuracy", 0.95)["methods"]}
    assert "difference" not in rows["lelp"]
    assert rows["lelp"]["value"]["mean"] == pytest.approx(np.mean(LELP))
    assert rows["kd"]["diverged"] == 4


def test_a_comparison_in_which_all_diverged():
    result = compare([line("kd", r, None, status="diverged") for r in range(2)], "kd", "nll", 0.9)
    assert result["teacher"] is None
    assert result["methods"] == [{"method": "kd", "trials": 1, "diverged": 2}]
