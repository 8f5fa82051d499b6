"""Which parameters early stopping keeps, when members stop, and that a stopped run resumes."""

import dataclasses
import functools
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import models, presets
from lelp_jax.core import metrics, sections
from lelp_jax.core.checkpoint import Checkpoints, load_tree
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import Interrupted, UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.methods.base import LossInputs, LossOutput, identity_readout, label_cross_entropy
from lelp_jax.train import buckets, early_stopping, plan
from lelp_jax.train import loop as fleet
from lelp_jax.train.config import EarlyStopping, TrainConfig
from lelp_jax.train.early_stopping import Evaluation
from lelp_jax.train.fleet import FleetJob, Member, trace_member
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.predict import predict
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import FleetState, GroupRows, MemberState, Params, StepSpec
from tests.helpers.trees import assert_equal

FEATURES, SEEN, UNSEEN, STEPS = 12, 16, 200, 48
NEVER = 2.0
# Overfits, still learns at the end, becomes infinite half way.
QUICK, SLOW, EXPLODING = (0.05, NEVER), (1e-3, NEVER), (0.004, 0.5)
STOPPING = EarlyStopping(evaluations=8, patience=2, metric="nll")


def loss(inputs: LossInputs, constants: Any, hyperparameters: Any) -> LossOutput:
    """Returns the cross-entropy, infinite from the share `explodes` of the training on."""
    del constants
    own = label_cross_entropy(inputs.logits, inputs.label)
    return LossOutput(
        jnp.where(inputs.progress >= hyperparameters["explodes"], jnp.inf, 1.0) * own, {}
    )


SPEC = StepSpec(
    model=models.build({"name": "mlp", "hidden": (16,)}, 2),
    loss=loss,
    readout=identity_readout,
    optimizer=OptimizerConfig("constant"),
    steps=STEPS,
)


def fleet_job(kinds: tuple[Any, ...], stopping: EarlyStopping = STOPPING) -> FleetJob:
    """Returns a fleet on few rows of many features, some of whose labels are wrong."""
    random = np.random.default_rng(3)
    inputs = random.normal(size=(SEEN + UNSEEN, FEATURES)).astype(np.float32)
    label = (inputs[:, 0] + 0.5 * random.normal(size=len(inputs)) > 0).astype(np.int32)
    return FleetJob(
        stage="students",
        spec=SPEC,
        batch_size=8,
        members=tuple(
            Member(
                fingerprint=str(kind),
                hyperparameters={
                    "learning_rate": kind[0],
                    "weight_decay": 0.0,
                    "explodes": kind[1],
                },
                seed=1,
                order_seed=2,
                group=0,
            )
            for kind in kinds
        ),
        rows=GroupRows(
            row=np.arange(SEEN, dtype=np.int32)[None],
            label=label[None, :SEEN],
            weight=np.ones((1, SEEN), np.float32),
            teacher_logits=None,
            scores=None,
            constants={},
        ),
        buckets=buckets.keep_whole_rows([SEEN]),
        inputs=inputs[:SEEN],
        validation_inputs=inputs[SEEN:],
        validation_labels=label[SEEN:],
        early_stopping=stopping,
    )


@dataclasses.dataclass
class Trained:
    """What a fleet left behind."""

    facts: dict[str, Any]
    params: Params
    lines: list[dict[str, Any]]

    def __iter__(self) -> Iterator[Any]:
        return zip(self.facts["members"], range(len(self.facts["members"])), strict=True)


def train(job: FleetJob, folder: Path, seconds: float = 60, interrupts: Any = None) -> Trained:
    """Trains a fleet in dispatches of three steps, and reads what it left."""
    log = CurveLog(folder.parent / "metrics.jsonl")
    session = Session(Reporter(), interrupts or Interrupts(), log, seconds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_MAX_STEPS", 4)
        facts = dict(fleet.train(folder, job, session))
    single = trace_member(job.spec, job.inputs)
    stacked = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(job.members), *x.shape), x.dtype), single
    )
    params = jax.device_get(load_tree(folder / "parameters", stacked))
    return Trained(facts, params, [line for line in log.read() if line["fleet"] == folder.name])


def member(tree: Any, index: int | slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def assert_close(first: Any, second: Any) -> None:
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), first, second)


KINDS = (QUICK, SLOW, EXPLODING)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(fleet_job(KINDS), tmp_path_factory.mktemp("whole") / "fleet")


@pytest.fixture(scope="module")
def history() -> list[tuple[Params, np.ndarray]]:
    """Returns parameters and validation logits at every evaluation, without early stopping."""
    job = fleet_job(KINDS, EarlyStopping())
    runner = Runner(job)
    runner.steps = 6
    state, seen = runner.new_state(), []
    for first in range(0, STEPS, 6):
        state, _ = runner.dispatch(state, first)
        params = jax.device_get(member(state.members.params, slice(len(job.members))))
        seen.append(
            (params, predict(SPEC, params, runner.hyperparameters, {}, job.validation_inputs)[0])
        )
    return seen


def test_the_parameters_of_the_best_evaluation_are_kept(
    whole: Trained, history: list[tuple[Params, np.ndarray]]
) -> None:
    labels = fleet_job(KINDS).validation_labels
    losses = np.array([[metrics.nll(own, labels) for own in logits] for _, logits in history])
    quick, slow, exploding = (facts["best_step"] // 6 - 1 for facts, _ in whole)
    # Planted: one overfits, one learns to the end, one is best before it becomes infinite.
    assert losses[-1, 0] > losses[:, 0].min() + 0.1
    assert quick == losses[: quick + 3, 0].argmin() < 5
    assert slow == losses[:, 1].argmin() == 7
    assert exploding == losses[:4, 2].argmin() == 3
    for (facts, index), place in zip(whole, (quick, slow, exploding), strict=True):
        assert_close(member(whole.params, index), member(history[place][0], index))
        assert facts["validation"]["nll"] == pytest.approx(losses[place, index], rel=1e-5)
    assert [facts["diverged"] for facts, _ in whole] == [False, False, True]


def test_every_evaluation_is_logged(
    whole: Trained, history: list[tuple[Params, np.ndarray]]
) -> None:
    lines = [line for line in whole.lines if "validation" in line]
    assert [line["step"] for line in lines] == list(range(6, STEPS + 1, 6))
    labels = fleet_job(KINDS).validation_labels
    for line, (_, logits) in list(zip(lines, history, strict=True))[:3]:
        assert (line["stage"], line["metric"]) == ("students", "nll")
        wanted = [metrics.nll(own, labels) for own in logits]
        np.testing.assert_allclose(line["validation"], wanted, rtol=1e-4)
    stopped = [line["validation"][0] for line in lines]
    best = whole.facts["members"][0]["best_step"] // 6 - 1
    assert len(set(stopped[: best + 3])) == best + 3
    assert len(set(stopped[best + 2 :])) == 1
    assert [line["step"] for line in whole.lines if "loss" in line][-1] == STEPS


@pytest.mark.parametrize("index", [0, 2])
def test_a_member_alone_does_as_in_a_fleet(whole: Trained, index: int, tmp_path: Path) -> None:
    alone = train(fleet_job(KINDS[index : index + 1]), tmp_path / "fleet")
    [facts], wanted = alone.facts["members"], whole.facts["members"][index]
    assert facts["best_step"] == wanted["best_step"]
    assert facts["diverged"] == wanted["diverged"]
    assert_close(member(alone.params, 0), member(whole.params, index))
    # Nobody else trains on: the fleet ends at the evaluation at which the member is given up.
    given_up = wanted["best_step"] + 12 if index == 0 else STEPS // 2 + 6
    assert max(line["step"] for line in alone.lines) == given_up < STEPS


@pytest.mark.parametrize("stop_at", [9, 24])
def test_a_stopped_run_resumes_bit_by_bit(
    whole: Trained, stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch, stopping, firsts = Runner.dispatch, Interrupts(), []

    def watched(runner: Runner, state: Any, first: int) -> Any:
        firsts.append(first)
        if first + runner.steps == stop_at:
            stopping._received = signal.SIGINT
        return dispatch(runner, state, first)

    monkeypatch.setattr(Runner, "dispatch", watched)
    with pytest.raises(Interrupted):
        train(fleet_job(KINDS), tmp_path / "fleet", interrupts=stopping)
    resumed = train(fleet_job(KINDS), tmp_path / "fleet")
    assert firsts == list(range(0, STEPS, 3))
    assert json.dumps(resumed.facts["members"]) == json.dumps(whole.facts["members"])
    assert_equal(resumed.params, whole.params)
    key = functools.partial(json.dumps, sort_keys=True)
    assert sorted(map(key, resumed.lines)) == sorted(map(key, whole.lines))


def test_a_killed_run_resumes_from_its_last_checkpoint(
    whole: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch, save = Runner.dispatch, Checkpoints.save

    def killed(runner: Runner, state: Any, first: int) -> Any:
        if first == 33:
            raise KeyboardInterrupt
        return dispatch(runner, state, first)

    def saved(checkpoints: Checkpoints, step: int, state: Any, facts: Any) -> None:
        if step <= 21:
            save(checkpoints, step, state, facts)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "dispatch", killed)
        # What is logged after the last checkpoint is logged again.
        patch.setattr(Checkpoints, "save", saved)
        with pytest.raises(KeyboardInterrupt):
            train(fleet_job(KINDS), tmp_path / "fleet", seconds=0)
    resumed = train(fleet_job(KINDS), tmp_path / "fleet")
    assert_equal(resumed.params, whole.params)
    assert [line["step"] for line in resumed.lines] == [line["step"] for line in whole.lines]


def test_without_evaluations_the_last_parameters_are_kept(
    history: list[tuple[Params, np.ndarray]], tmp_path: Path
) -> None:
    found = train(fleet_job(KINDS, EarlyStopping()), tmp_path / "fleet")
    assert [facts["best_step"] for facts, _ in found] == [STEPS] * 3
    assert_close(found.params, history[-1][0])
    assert not [line for line in found.lines if "validation" in line]
    assert found.facts["validation_seconds"] == 0


def test_a_metric_that_is_not_defined_is_refused(tmp_path: Path) -> None:
    job = fleet_job(KINDS, dataclasses.replace(STOPPING, metric="roc_auc"))
    job = dataclasses.replace(job, validation_labels=np.zeros(UNSEEN, np.int32))
    with pytest.raises(UserError, match=r"early_stopping.metric 'roc_auc' is not defined"):
        train(job, tmp_path / "fleet")


@functools.cache
def judge(patience: int) -> Any:
    return jax.jit(functools.partial(early_stopping.judge, (100, patience)))


@pytest.mark.parametrize("patience", [0, 2])
def test_judging_follows_its_rules(patience: int) -> None:
    random = np.random.default_rng(0)
    members, rounds = 40, 12
    diverging = random.integers(1, 30, members)
    nothing = Params({"w": jnp.zeros(members)}, None)
    fresh = MemberState(nothing, None, None, jnp.zeros(members, bool))
    state = jax.jit(functools.partial(early_stopping.add_best, None))(
        FleetState(jnp.int32(0), fresh)
    )
    wanted = [{"step": 0, "value": (-np.inf, np.inf), "waited": 0} for _ in range(members)]
    ended = np.zeros(members, bool)
    diverged = np.zeros(members, bool)
    for number in range(1, rounds + 1):
        # Few different values: many ties. The last round is reached by a dispatch that goes beyond.
        score = random.integers(0, 5, members).astype(np.float32)
        nll = random.integers(0, 3, members).astype(np.float32)
        finite = random.random(members) > 0.05
        score = np.where(finite, score, np.nan)
        step = 10 * number
        trained = diverging == number
        state = FleetState(
            jnp.int32(step),
            state.members._replace(
                params=Params({"w": jnp.full(members, float(step))}, None),
                diverged=state.members.diverged | trained,
            ),
        )
        state = judge(patience)(state, Evaluation(score, nll, finite))
        diverged |= trained & ~ended
        diverged |= ~finite & ~ended
        ended |= diverged
        for index in np.flatnonzero(~ended):
            own, value = wanted[index], (score[index], nll[index])
            if (-value[0], value[1]) < (-own["value"][0], own["value"][1]):
                own.update(step=min(step, 100), value=value, waited=0, w=step)
            else:
                own["waited"] += 1
                ended[index] = patience > 0 and own["waited"] >= patience
        best = state.members.best
        assert best.step.tolist() == [own["step"] for own in wanted]
        assert best.waited.tolist() == [own["waited"] for own in wanted]
        assert best.params.network["w"].tolist() == [own.get("w", 0) for own in wanted]
        assert (best.stopped | state.members.diverged).tolist() == ended.tolist()
    assert diverged.any()
    assert (ended & ~diverged).any() == (patience > 0)


def test_members_are_evaluated_evenly_however_they_are_dispatched() -> None:
    for steps in (1, 7, 16, 100, 999, 1009, 5000, 31_337):
        for evaluations in (1, 2, 7, 10, 50):
            apart = EarlyStopping(evaluations).spacing(steps)
            times = -(-steps // apart)
            assert steps / evaluations <= apart <= 1 + steps / evaluations * 9 / 8
            assert 0.8 * min(evaluations, steps) / 2 < times <= evaluations
            # Whatever a dispatch may do at most, there is a length near it that fits.
            for most in (1, 5, 8, 33, 1000):
                fitting = max(n for n in range(1, most + 1) if apart % n == 0)
                assert 2 * fitting >= min(most, apart / 16)
    assert EarlyStopping().spacing(100) == 0


def test_settings_out_of_range_are_refused() -> None:
    rule = OptimizerConfig()
    with pytest.raises(UserError, match="evaluations must be a whole number of 0 or more, got -1"):
        sections.build(EarlyStopping, {"evaluations": -1}, "early_stopping")
    with pytest.raises(UserError, match=r"patience 3 .* without evaluations"):
        EarlyStopping(patience=3)
    with pytest.raises(UserError, match="got 'acuracy'; did you mean 'accuracy'"):
        sections.build(EarlyStopping, {"metric": "acuracy"}, "early_stopping")
    with pytest.raises(UserError, match=r"evaluations 11 exceeds the 10 steps"):
        TrainConfig(10, 4, rule, early_stopping=EarlyStopping(evaluations=11))


def test_sections_of_configs_have_the_defaults() -> None:
    section = presets.build_training(10, 4).to_dict()
    built = sections.build(TrainConfig, section, "config.student.train")
    assert built == TrainConfig(10, 4, OptimizerConfig())
    del section["early_stopping"], section["accumulate"]
    assert sections.build(TrainConfig, section, "config.student.train") == built
    section["early_stopping"] = {"evaluations": 20}
    with pytest.raises(UserError, match=r"config.student.train: early_stopping.evaluations 20"):
        sections.build(TrainConfig, section, "config.student.train")
