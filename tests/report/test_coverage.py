"""How often intervals contain the mean of a population, and tests find what is not there.

The interval excludes 0 exactly if p is below 1 - confidence (`test_statistics.py`), so the share of
intervals that miss the mean is also the share of differences found where there is none.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import stdtr

from lelp_jax.report.results.statistics import estimate_mean

# What 95 % intervals may cover, and how often a test may be wrong.
LEAST, MOST = 0.94, 0.965
DRAWS = 6000
# Three standard errors of the shares of so many draws.
ALLOWED = 3 * np.sqrt(0.05 * 0.95 / DRAWS)
ROWS = 30
MEAN = 0.7

Draw = Callable[[int], np.ndarray]


def measure_coverage(draw: Draw, taught: np.ndarray, mean: float) -> float:
    """Returns the share of 95 % intervals that contain the mean of the population."""
    missed = 0
    for _ in range(DRAWS // 1000):
        moments = estimate_mean(draw(1000), taught)
        ratio = np.abs(moments.mean - mean) / moments.error
        missed += int((2 * stdtr(moments.degrees, -ratio) < 0.05).sum())
    return 1 - missed / DRAWS


def normal_effects(
    random: np.random.Generator,
    taught: np.ndarray,
    of_teachers: float,
    rows: float,
    cells: float,
) -> Draw:
    """Returns how to draw students, whose deviation is 1, with normal effects.

    Args:
        random: Source of randomness.
        taught: Each replicate's teacher.
        of_teachers: Standard deviation of teachers.
        rows: Standard deviation of test rows.
        cells: Standard deviation of what one student does on one row.
    """
    teachers, replicates = taught.max() + 1, len(taught)

    def draw(count: int) -> np.ndarray:
        students = of_teachers * random.normal(size=(count, teachers))[:, taught]
        students += random.normal(size=(count, replicates))
        values = MEAN + students[:, :, None] + rows * random.normal(size=(count, 1, ROWS))
        return values + cells * random.normal(size=(count, replicates, ROWS))

    return draw


@pytest.mark.slow
@pytest.mark.parametrize("teachers", [3, 4, 8, 16])
@pytest.mark.parametrize("of_teachers", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("rows", "cells"),
    [
        # Test rows that do not matter; with about a tenth of the variance; with most of it.
        (0.0, 0.0),
        (1.5, 1.0),
        (6.0, 4.0),
    ],
)
def test_intervals_for_new_teachers(
    teachers: int, of_teachers: float, rows: float, cells: float
) -> None:
    random = np.random.default_rng(teachers)
    # One to four replicates of each teacher, and one more of the first.
    for replicates in (teachers, teachers + 1, 2 * teachers, 4 * teachers):
        taught = np.arange(replicates) % teachers
        draw = normal_effects(random, taught, of_teachers, rows, cells)
        coverage = measure_coverage(draw, taught, MEAN)
        assert LEAST - ALLOWED <= coverage <= MOST + ALLOWED, replicates


@pytest.mark.slow
@pytest.mark.parametrize(("teachers", "replicates"), [(1, 3), (1, 6), (2, 4), (2, 5), (2, 12)])
@pytest.mark.parametrize(("rows", "cells"), [(0.0, 0.0), (1.5, 1.0), (6.0, 4.0)])
def test_intervals_for_these_teachers(
    teachers: int, replicates: int, rows: float, cells: float
) -> None:
    """The two teachers differ by twice the deviation of students; their mean is what is covered."""
    random = np.random.default_rng(replicates)
    taught = np.arange(replicates) % teachers
    draw = normal_effects(random, taught, 0.0, rows, cells)
    effects = np.array([1.0, -1.0])[taught] if teachers == 2 else np.zeros(replicates)

    def draw_taught(count: int) -> np.ndarray:
        return draw(count) + effects[:, None]

    coverage = measure_coverage(draw_taught, taught, MEAN)
    assert LEAST - ALLOWED <= coverage <= MOST + ALLOWED


@pytest.mark.slow
@pytest.mark.parametrize("teachers", [1, 3, 4, 16])
def test_methods_that_are_equal_on_the_population_of_rows(teachers: int) -> None:
    """Differences are -1, 0 or 1; which method is right on a row is a matter of chance.

    Students agree on most rows, so without the variance of rows one of the two methods would seem
    better in many samples of rows.
    """
    random = np.random.default_rng(0)
    taught, rows = np.arange(16) % teachers, 120

    def draw(count: int) -> np.ndarray:
        favoured = random.choice([-1.0, 1.0], size=(count, 1, rows))
        often = random.beta(0.15, 1, size=(count, 1, rows))
        return favoured * (random.uniform(size=(count, 16, rows)) < often)

    assert measure_coverage(draw, taught, 0.0) >= LEAST - ALLOWED
    sample = draw(1000).mean(axis=-1, keepdims=True)
    moments = estimate_mean(sample, taught)
    found = 2 * stdtr(moments.degrees, -np.abs(moments.mean) / moments.error) < 0.05
    assert found.mean() > 0.1
