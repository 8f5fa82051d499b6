"""Fleets of convolutional networks: stopped and resumed, loaded, exported, and the best kept."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import Interrupted, UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.deploy import export
from lelp_jax.inputs.images import ImageEncoding
from lelp_jax.models import variables
from lelp_jax.train import buckets, loop
from lelp_jax.train.config import EarlyStopping
from lelp_jax.train.fleet import FleetJob, Member
from lelp_jax.train.predict import predict
from lelp_jax.train.runner import Runner
from lelp_jax.train.scheduler import Trained
from lelp_jax.train.state import Params
from tests.helpers import pictures
from tests.helpers.fleets import BATCH, ROWS
from tests.helpers.image_fleets import CHANGES, IMAGES, LABELS, SMALL, rows_of, spec_of
from tests.helpers.trees import assert_equal, select

STEPS = 24
SPEC = spec_of(steps=STEPS, augmentation=CHANGES, average=0.7)


def fleet_job() -> FleetJob:
    """Returns a fleet whose validation rows have wrong labels, so that it overfits early."""
    return FleetJob(
        stage="students",
        spec=SPEC,
        batch_size=BATCH,
        members=tuple(
            Member(
                str(i),
                {"learning_rate": rate, "weight_decay": 0.01, "label_smoothing": 0.0},
                seed=i,
                order_seed=i,
                group=i % 2,
            )
            for i, rate in enumerate((0.05, 0.3, 0.01))
        ),
        rows=rows_of(),
        buckets=buckets.keep_whole_rows([ROWS, ROWS]),
        inputs=IMAGES,
        validation_inputs=IMAGES,
        validation_labels=np.where(np.arange(20) % 3, LABELS, 1 - LABELS),
        early_stopping=EarlyStopping(evaluations=6, metric="nll"),
    )


def test_running_averages_are_kept_with_the_best_and_survive_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch, evaluate, stopping = Runner.dispatch, loop._evaluate, Interrupts()
    firsts: list[int] = []
    seen: dict[int, Params] = {}

    def watched(runner: Runner, state: Any, first: int) -> Any:
        runner.steps = 4
        firsts.append(first)
        if first == 8:
            stopping._received = signal.SIGINT
        return dispatch(runner, state, first)

    def noted(runner: Runner, name: str, step: int, state: Any, session: Session) -> Any:
        seen[step] = jax.device_get(state.members.evaluated)
        return evaluate(runner, name, step, state, session)

    monkeypatch.setattr(Runner, "dispatch", watched)
    monkeypatch.setattr(loop, "_evaluate", noted)

    def train(name: str, interrupts: Interrupts) -> tuple[Any, Any]:
        folder = tmp_path / name / "fleet"
        session = Session(Reporter(), interrupts, CurveLog(tmp_path / f"{name}.jsonl"), 60)
        facts = loop.train(folder, fleet_job(), session)["members"]
        found = [
            Trained(str(i), folder, i, 3, facts[i]["diverged"], {}, 0, 0).load(SPEC, IMAGES)
            for i in range(3)
        ]
        return facts, found

    with pytest.raises(Interrupted):
        train("cut", stopping)
    resumed = train("cut", Interrupts())
    assert firsts == list(range(0, STEPS, 4))
    whole_facts, whole = train("whole", Interrupts())
    assert json.dumps(resumed[0]) == json.dumps(whole_facts)
    assert_equal(resumed[1], whole)
    best = [facts["best_step"] for facts in whole_facts]
    assert min(best) < STEPS
    for index, (step, loaded) in enumerate(zip(best, whole, strict=True)):
        kept = select(seen[step], index)
        assert_equal(loaded, kept)
        # Not those of another evaluation, which differ.
        for other in seen.keys() - {step}:
            others = select(seen[other], index).statistics
            differ = jax.tree.map(lambda a, b: (a != b).any(), loaded.statistics, others)
            assert all(jax.tree.leaves(differ))
        stacked = jax.tree.map(lambda leaf: leaf[None], loaded)
        logits = predict(SPEC, stacked, {}, {}, IMAGES)[0][0]
        right = fleet_job().validation_labels
        nll = -np.log(np.exp(logits)[np.arange(20), right] / np.exp(logits).sum(axis=1)).mean()
        assert whole_facts[index]["validation"]["nll"] == pytest.approx(nll, rel=1e-4)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_an_exported_student_answers_for_pixels_as_training_does(
    channels: int, tmp_path: Path
) -> None:
    images, _ = pictures.draw(13, 2, 8, channels)
    spec = spec_of("kd")
    made = jax.jit(lambda key: variables.initialize(spec.model, key, images[:1]))(jax.random.key(3))
    random = np.random.default_rng(channels)
    # Running averages as no network begins with.
    moved = jax.tree.map(lambda x: np.float32(random.uniform(0.5, 2, x.shape)), made.statistics)
    params = Params(jax.device_get(made.parameters), None, moved)
    wanted = predict(spec, jax.tree.map(lambda x: x[None], params), {}, {}, images)[0][0]
    student = SimpleNamespace(
        spec=spec,
        constants={},
        trial=SimpleNamespace(method="kd", traced={}, hyperparameters={}),
        network=SimpleNamespace(settings=SMALL),
        num_outputs=2,
        replicate=SimpleNamespace(number=0),
    )
    trained = SimpleNamespace(load=lambda *_: params, validation={}, fingerprint="f")
    encoding = ImageEncoding((8, 8, channels))
    inputs = SimpleNamespace(values=images, num_tokens=0, encoding=encoding)
    run: Any = SimpleNamespace(inputs=inputs, dataset=SimpleNamespace(class_names=("bars", "rows")))
    outcome: Any = SimpleNamespace(student=student, trained=trained)
    export.save(tmp_path, run, outcome)
    loaded = export.load(tmp_path)
    np.testing.assert_allclose(loaded.class_logits(images), wanted, atol=1e-5)
    # The number of rows does not matter, nor how grey images are written.
    np.testing.assert_allclose(loaded.class_logits(images[:3]), wanted[:3], atol=1e-5)
    if channels == 1:
        np.testing.assert_allclose(loaded.class_logits(images[..., 0]), wanted, atol=1e-5)
    for wrong, words in (
        (images / 255, r"type float64; give uint8.*255 \* values"),
        (images[:, :4], r"shape \(4, 8, .*those of training \(8, 8"),
        (images[0], r"shape .*give an array \[rows, 8, 8"),
        ([images[0], images[1, :4]], "differ in size"),
    ):
        with pytest.raises(UserError, match=words) as error:
            loaded.class_logits(wrong)
        assert "\n" not in str(error.value)


def test_networks_of_vectors_take_pixels_too() -> None:
    model = models.build({"name": "mlp", "hidden": (4,)}, 2)
    spec = spec_of(model=model)
    made = variables.initialize(model, jax.random.key(0), IMAGES[:1])
    assert made.statistics is None
    params = Params(jax.tree.map(lambda leaf: leaf[None], made.parameters), None)
    logits, hidden = (part[0] for part in predict(spec, params, {}, {}, IMAGES))
    first = made.parameters["Dense_0"]
    flat = (IMAGES.reshape(20, -1) - 127.5) / 63.75
    wanted = np.maximum(flat @ np.asarray(first["kernel"]) + np.asarray(first["bias"]), 0)
    np.testing.assert_allclose(hidden, wanted, rtol=1e-4, atol=1e-4)
    assert logits.shape == (20, 2)
