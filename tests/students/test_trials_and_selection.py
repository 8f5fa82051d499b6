"""Which settings are tried, and which are chosen."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax import methods
from lelp_jax.core import search_space
from lelp_jax.core.errors import UserError
from lelp_jax.experiment.config import MethodConfig
from lelp_jax.methods import METHODS
from lelp_jax.students import selection
from lelp_jax.students.trials import Trial, enumerate_trials
from lelp_jax.train.scheduler import Trained

SPACE = {
    "learning_rate": (0.1, 0.2, 0.3),
    "weight_decay": (0.0,),
    "temperature": (1.0, 2.0),
    "beta": (0.5, 1.0),
    "alpha": (0.0, 0.5),
    "num_subclasses": (2, 5),
    "null_space": (True, False),
    "rotate": (True,),
    "center": (True,),
    "standardize": (True,),
    "membership": ("label",),
    "fit_on": ("train", "transfer"),
}
SIZE = math.prod(len(values) for values in SPACE.values())


def tried(trials: int, seed: int = 0, **changes: tuple) -> tuple[Trial, ...]:
    return enumerate_trials(MethodConfig(METHODS["lelp"], trials, SPACE | changes), seed)


def points(trials: tuple[Trial, ...]) -> list[tuple]:
    return [tuple(trial.hyperparameters[name] for name in SPACE) for trial in trials]


@pytest.mark.parametrize("extra", [0, 1, 1000])
def test_a_small_space_is_tried_whole(extra):
    found = points(tried(SIZE + extra))
    assert sorted(found) == sorted(itertools.product(*SPACE.values()))


@given(trials=st.integers(1, SIZE - 1), seed=st.integers(0, 2**31 - 1))
def test_a_large_space_is_drawn_from_without_replacement(trials, seed):
    found = tried(trials, seed)
    assert [trial.number for trial in found] == list(range(trials))
    assert len(set(points(found))) == trials
    assert set(points(found)) <= set(itertools.product(*SPACE.values()))
    assert tried(trials, seed) == found


@given(few=st.integers(1, SIZE), more=st.integers(1, SIZE), seed=st.integers(0, 1000))
def test_more_trials_only_add_points(few, more, seed):
    few, more = sorted((few, more))
    first, second = points(tried(few, seed)), points(tried(more, seed))
    assert second[:few] == first


@pytest.mark.parametrize("plain", ["kd", "lelp"])
def test_corrected_methods_try_what_the_plain_one_tries(plain: str) -> None:
    def list_tried(name: str) -> list[dict[str, Any]]:
        method = methods.find(name)
        values = search_space.check(name, {}, method.search_space)
        trials = enumerate_trials(MethodConfig(method, 6, values), 0)
        assert {trial.method for trial in trials} == {name}
        return [trial.hyperparameters for trial in trials]

    wanted = list_tried(plain)
    assert list_tried(f"{plain}_weighted") == wanted
    added = {"trust_floor": 0.5, "normalize_mixing": True}
    assert list_tried(f"{plain}_slam") == [each | added for each in wanted]


def test_methods_and_seeds_draw_differently():
    assert points(tried(8, 0)) != points(tried(8, 1))
    space = {"learning_rate": tuple(np.geomspace(1e-3, 1, 50)), "weight_decay": (0.0,)}
    labels, kd = (
        [
            t.hyperparameters["learning_rate"]
            for t in enumerate_trials(MethodConfig(METHODS[m], 8, space), 0)
        ]
        for m in ("labels", "kd")
    )
    assert labels != kd


@given(trials=st.integers(1, SIZE), seed=st.integers(0, 1000))
def test_each_value_is_tried_about_as_often_as_its_others(trials, seed):
    found = tried(trials, seed)
    for name, values in SPACE.items():
        counts = [sum(trial.hyperparameters[name] == value for trial in found) for value in values]
        assert max(counts) - min(counts) <= 2
        # Nothing is missed once there are as many trials as values.
        assert min(counts) > 0 or trials < len(values)


def test_traced_and_static_settings_are_told_apart():
    trial = tried(1)[0]
    assert set(trial.traced) == {"learning_rate", "weight_decay", "temperature", "beta", "alpha"}
    assert set(trial.static) == set(SPACE) - set(trial.traced)
    assert type(trial.static["num_subclasses"]) is int
    assert type(trial.static["null_space"]) is bool
    assert trial.method == "lelp"


def trained(value: float, nll: float = 1.0, diverged: bool = False, name: str = "accuracy"):
    return Trained("f", Path("."), 0, 1, diverged, {name: value} | {"nll": nll}, 1, 0.0)


def test_the_mean_over_replicates_decides():
    trials = {0: [trained(0.9), trained(0.1)], 1: [trained(0.5), trained(0.6)]}
    assert selection.choose(trials, "accuracy") == 1


def test_ties_go_to_the_lower_nll_then_to_the_lower_number():
    tie = {
        0: [trained(0.5, 2.0), trained(0.7, 2.0)],
        1: [trained(0.7, 1.0), trained(0.5, 1.5)],
        2: [trained(0.6, 3.0), trained(0.6, 1.0)],
    }
    assert selection.choose(tie, "accuracy") == 1
    same = {3: [trained(0.5)], 1: [trained(0.5)], 2: [trained(0.5)]}
    assert selection.choose(same, "accuracy") == 1


def test_sums_in_another_order_are_a_tie():
    values = (0.1, 0.2, 0.3)
    assert np.mean(values) != np.mean(values[::-1])
    trials = {
        0: [trained(value, 2.0) for value in values],
        1: [trained(value, 1.0) for value in values[::-1]],
    }
    assert selection.choose(trials, "accuracy") == 1
    swapped = {0: trials[1], 1: trials[0]}
    assert selection.choose(swapped, "accuracy") == 0


@pytest.mark.parametrize("name", ["nll", "brier", "ece"])
def test_losses_are_minimised(name):
    trials = {
        number: [trained(value, nll=value, name=name)]
        for number, value in enumerate((0.5, 0.2, 0.9))
    }
    assert selection.choose(trials, name) == 1


def test_a_diverged_replicate_excludes_its_trial():
    trials = {0: [trained(0.9), trained(0.99, diverged=True)], 1: [trained(0.3), trained(0.2)]}
    assert selection.choose(trials, "accuracy") == 1
    assert selection.choose({0: trials[0]}, "accuracy") is None
    assert selection.choose({}, "accuracy") is None


def test_a_trial_without_a_finite_metric_is_not_chosen():
    trials = {0: [trained(np.nan), trained(0.9)], 1: [trained(0.1), trained(0.1)]}
    assert selection.choose(trials, "accuracy") == 1


def test_an_unknown_metric_is_refused():
    with pytest.raises(UserError, match="unknown metric"):
        selection.choose({0: [trained(0.5)]}, "f1")
