"""Every paper's own point is among those that its method tries by default."""

import math
from typing import NamedTuple

import pytest

from lelp_jax.core import search_space
from lelp_jax.experiment.config import MethodConfig
from lelp_jax.methods import METHODS
from lelp_jax.students.trials import enumerate_trials


class Point(NamedTuple):
    """Weights of the label's and the teacher's loss, and the other hyperparameters."""

    label: float
    teacher: float
    others: dict[str, float]


# As in the authors' own code: of CIFAR-100 where it has several, of ImageNet for DIST.
POINTS = {
    "dkd": Point(1, 1, {"temperature": 4, "target_weight": 1, "nontarget_weight": 8}),
    "nkd": Point(1, 1, {"temperature": 1, "nontarget_weight": 1.5}),
    "ttm": Point(1, 45, {"temperature": 10}),
    "wttm": Point(1, 4, {"temperature": 5}),
    "logit_standardization": Point(0.1, 9, {"temperature": 2}),
    "dist": Point(1, 2, {"temperature": 1, "inter_weight": 1, "intra_weight": 1}),
    "subclass_distillation": Point(
        0.5, 0.5, {"temperature": 4, "auxiliary_weight": 1, "auxiliary_temperature": 1}
    ),
}
# Shares are given with few digits.
ROUNDING = 0.02


@pytest.mark.parametrize("name", POINTS)
def test_the_point_of_the_paper_can_be_drawn(name: str) -> None:
    point, method = POINTS[name], METHODS[name]
    values = search_space.check(name, {}, method.search_space)
    everything = math.prod(map(len, values.values()))
    trials = enumerate_trials(MethodConfig(method, everything, values), 0)
    assert len(trials) == everything
    alphas = [
        float(trial.hyperparameters["alpha"])
        for trial in trials
        if point.others.items() <= trial.hyperparameters.items()
        and not any(trial.hyperparameters[key] for key in ("label_smoothing", "hard_mixing"))
    ]
    # (1 - alpha) soft + alpha hard is, up to a factor, what the paper adds up.
    ratio = point.label / point.teacher
    assert any(math.isclose(alpha / (1 - alpha), ratio, rel_tol=ROUNDING) for alpha in alphas)
