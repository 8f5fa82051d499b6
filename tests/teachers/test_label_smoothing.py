"""The label smoothing of teachers reaches their loss."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lelp_jax.data.dataset import Dataset
from lelp_jax.teachers.network import Networks
from lelp_jax.train import scheduler
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.fleet import FleetJob
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.predict import predict
from lelp_jax.train.runner import Runner
from tests.helpers.image_fleets import IMAGES, LABELS
from tests.helpers.softmax import log_softmax


class _Caught(Exception):
    pass


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_teachers_loss_is_that_of_the_smoothed_label(
    smoothing: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset(
        inputs=IMAGES,
        labels=LABELS.astype(np.int32),
        fine_labels=None,
        train=np.arange(16),
        validation=np.array([16, 17]),
        test=np.array([18, 19]),
        class_names=("bars", "rows"),
        fine_names=(),
        preprocessing=None,
    )
    teachers = Networks(
        count=1,
        learning_rate=0.1,
        weight_decay=0.0,
        train=TrainConfig(1, 16, OptimizerConfig()),
        label_smoothing=smoothing,
        model={"name": "mlp", "hidden": (4,)},
        inputs={"name": "images"},
    )
    jobs: list[FleetJob] = []

    def catch(*arguments: Any) -> None:
        requests, make_job = arguments[2], arguments[4]
        jobs.append(make_job(requests))
        raise _Caught

    monkeypatch.setattr(scheduler, "ensure", catch)
    with pytest.raises(_Caught):
        teachers.ensure(tmp_path, dataset, (dataset,), 0, None)  # type: ignore[arg-type]
    runner = Runner(jobs[0])
    state = runner.new_state()
    params = jax.device_get(state.members.params)
    _, log = runner.dispatch(state, 0)
    logits = predict(jobs[0].spec, params, {}, {}, IMAGES[:16])[0][0].astype(np.float64)
    target = np.eye(2)[LABELS[:16]] * (1 - smoothing) + smoothing / 2
    wanted = -(target * log_softmax(logits)).sum()
    np.testing.assert_allclose(log.total[0, 0], wanted, rtol=1e-5)
    np.testing.assert_allclose(log.weight[0, 0], 16)
