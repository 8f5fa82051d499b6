"""Students that ask a frozen teacher in every step, with noise on what both of them see."""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import config, data, models, replicates, student_fleets, students
from lelp_jax.command_line import load_config
from lelp_jax.curves import CurveLog
from lelp_jax.errors import Interrupted, UserError
from lelp_jax.inputs.features import Features
from lelp_jax.interrupts import Interrupts
from lelp_jax.methods import METHODS
from lelp_jax.progress import Reporter
from lelp_jax.projection.base import Projection, Projector
from lelp_jax.session import Session
from lelp_jax.teachers.base import Network
from lelp_jax.train import buckets, fleet, job, plan
from lelp_jax.train.job import FleetJob, Member
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.predict import predict
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import Frozen, GroupRows, Members, StepSpec
from lelp_jax.train.step import answers, init_fleet, train_fleet
from lelp_jax.trials import enumerate_trials
from tests import tiny

GROUPS, ROWS, BATCH, CLASSES, SUBCLASSES, DIMS = 2, 12, 8, 2, 3, 7
INPUTS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
STUDENT: dict[str, Any] = {"name": "mlp", "hidden": (5,)}
TEACHER = models.build({"name": "mlp", "hidden": (DIMS,), "dropout": 0.5}, CLASSES)
WHOLE = np.ones((CLASSES, SUBCLASSES), bool)
PARTLY = np.array([[True, True, True], [True, True, False]])
EMBEDDED = ("lelp", "soft_kmeans")
DISTILLING = ("kd", *EMBEDDED, "oracle")
STILL = {"learning_rate": 1e-12, "weight_decay": 0.0}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(GROUPS, *shape)).astype(np.float32)


TEACHERS = {
    "Dense_0": {"kernel": normal(1, 4, DIMS), "bias": normal(2, DIMS)},
    "head": {"kernel": normal(3, DIMS, CLASSES), "bias": normal(4, CLASSES)},
}
PROJECTIONS = {
    "lelp": {
        "basis": normal(5, CLASSES, DIMS, SUBCLASSES),
        "mean": normal(6, CLASSES, DIMS),
        "scale": 1 + np.abs(normal(7, CLASSES)),
    },
    "soft_kmeans": {
        "basis": normal(8, CLASSES, DIMS, 2),
        "mean": normal(9, CLASSES, DIMS),
        "centers": normal(10, CLASSES, SUBCLASSES, 2),
        "spread": 1 + np.abs(normal(11, CLASSES)),
        "soft": np.ones(GROUPS, bool),
    },
}


def select(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def forward(params: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits and embedding of a network with one hidden layer, in float64."""
    params = jax.tree.map(np.float64, params)
    hidden = np.maximum(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
    return hidden @ params["head"]["kernel"] + params["head"]["bias"], hidden


def splits(group: int, row: np.ndarray) -> np.ndarray:
    """Returns hard scores of rows of the table, [rows, classes, subclasses]."""
    chosen = (7 * row[:, None] + 3 * group + np.arange(CLASSES)) % 2
    return np.where(chosen[:, :, None] == np.arange(SUBCLASSES), 0.0, -np.inf)


def embedded(method: str, group: int, hidden: np.ndarray) -> np.ndarray:
    """Returns scores of embeddings, [rows, classes, subclasses], in float64."""
    arrays = jax.tree.map(np.float64, select(PROJECTIONS[method], group))
    away = hidden[:, None] - arrays["mean"]
    coordinates = np.einsum("ncd,cds->ncs", away, arrays["basis"])
    if method == "lelp":
        return coordinates / arrays["scale"][:, None]
    distance = np.square(coordinates[:, :, None] - arrays["centers"]).sum(axis=-1)
    return -distance / (2 * arrays["spread"][:, None])


def teach(
    method: str, group: int, row: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns what the teacher of a group says of rows that are seen as x, in float64."""
    logits, hidden = forward(select(TEACHERS, group), x)
    if METHODS[method].projector is None:
        return logits, None
    return logits, embedded(method, group, hidden) if method in EMBEDDED else splits(group, row)


def spec_of(
    method: str, *, online: bool, noise: float = 0.0, steps: int = 30, **model: Any
) -> StepSpec:
    chosen = METHODS[method]
    return StepSpec(
        models.build(STUDENT | model, CLASSES * (SUBCLASSES if chosen.projector else 1)),
        chosen.loss,
        chosen.readout,
        OptimizerConfig(),
        steps,
        input_noise=noise,
        teacher=TEACHER if online else None,
        score=chosen.projector.apply if online and method in EMBEDDED else None,
    )


def rows_of(method: str, *, online: bool) -> GroupRows:
    random = np.random.default_rng(12)
    row = np.stack([random.permutation(30)[:ROWS] for _ in range(GROUPS)]).astype(np.int32)
    uses_teacher, projector = METHODS[method].uses_teacher, METHODS[method].projector
    told = [teach(method, group, row[group], INPUTS[row[group]]) for group in range(GROUPS)]
    scores = None
    if projector and not (online and method in EMBEDDED):
        scores = np.stack([scores for _, scores in told]).astype(np.float32)
    mask = PARTLY if method == "oracle" else WHOLE
    return GroupRows(
        row=row,
        label=random.integers(-1, 2, (GROUPS, ROWS)).astype(np.int32),
        weight=np.ones((GROUPS, ROWS), np.float32),
        teacher_logits=np.stack([logits for logits, _ in told]).astype(np.float32)
        if uses_teacher and not online
        else None,
        scores=scores,
        constants={"column_mask": np.stack([mask] * GROUPS)} if projector else {},
        frozen=Frozen(TEACHERS, PROJECTIONS.get(method)) if online else None,
    )


def members_of(count: int = 4, **numeric: Any) -> Members:
    values = {
        "learning_rate": np.geomspace(1e-3, 3e-2, count),
        "weight_decay": np.linspace(0, 0.5, count),
        "temperature": np.linspace(1, 4, count),
        "beta": np.linspace(0.3, 1, count),
        "alpha": np.linspace(0, 0.8, count),
        "label_smoothing": 0.0,
        "hard_mixing": 0.0,
        "warmup": 0.0,
    } | numeric
    return Members(
        {name: np.broadcast_to(v, count).astype(np.float32) for name, v in values.items()},
        np.arange(10, 10 + count, dtype=np.uint32),
        (np.arange(count) % GROUPS).astype(np.int32),
    )


def order_of(steps: int = 30, count: int = 4) -> np.ndarray:
    return np.random.default_rng(2).integers(0, ROWS, (steps, count, BATCH)).astype(np.int32)


@functools.cache
def compiled(spec: StepSpec) -> Any:
    return jax.jit(functools.partial(train_fleet, spec))


@functools.cache
def compiled_init(spec: StepSpec) -> Any:
    return jax.jit(functools.partial(init_fleet, spec))


def run(spec: StepSpec, members: Members, rows: GroupRows, order: np.ndarray) -> Any:
    start = compiled_init(spec)(INPUTS[:1], members.seed)
    end, log = compiled(spec)(start, members, rows, INPUTS, order)
    return start, end, log


def noise_of(seed: int, step: int, deviation: float) -> np.ndarray:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(np.uint32(seed)), 2), step)
    return deviation * np.float64(jax.random.normal(key, (BATCH, *INPUTS.shape[1:])))


def log_softmax(values: np.ndarray) -> np.ndarray:
    above = values - values.max(axis=1, keepdims=True)
    return above - np.log(np.exp(above).sum(axis=1, keepdims=True))


def loss_of(
    logits: np.ndarray,
    label: np.ndarray,
    told: tuple[np.ndarray, np.ndarray | None],
    mask: np.ndarray,
    numeric: dict[str, float],
) -> float:
    """Returns the summed loss of a batch by the formula, in float64."""
    tau, alpha = numeric["temperature"], numeric["alpha"]
    teacher, scores = told
    target = np.exp(log_softmax(teacher / tau))
    if scores is None:
        scaled, classes = logits / tau, logits
    else:
        weights = np.exp((scores - scores.max(axis=2, keepdims=True)) / numeric["beta"])
        target = (target[:, :, None] * weights / weights.sum(axis=2, keepdims=True)).reshape(
            len(logits), -1
        )
        scaled = np.where(mask.reshape(-1), logits / tau, -np.inf)
        grouped = np.exp(scaled).reshape(len(logits), *mask.shape)
        classes = tau * np.log(grouped.sum(axis=2))
    present = target > 0
    soft = -(tau**2) * np.where(present, target * np.where(present, log_softmax(scaled), 0), 0)
    hard = -log_softmax(classes)[np.arange(len(label)), np.maximum(label, 0)] * (label >= 0)
    return float(((1 - alpha) * soft.sum(axis=1) + alpha * hard).sum())


@pytest.mark.parametrize("method", DISTILLING)
def test_without_noise_the_teacher_says_the_same_in_the_step_and_in_the_bank(method: str) -> None:
    ends = {}
    for online in (True, False):
        spec, rows = spec_of(method, online=online), rows_of(method, online=online)
        start, end, _ = run(spec, members_of(), rows, order_of())
        assert not end.members.diverged.any()
        ends[online] = end.members.params
    trees = map(jax.tree.leaves, (ends[True], ends[False], start.members.params))
    for one, other, first in zip(*trees, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        assert np.abs(one - first).max() > 1e-3


@pytest.mark.parametrize("online", [True, False], ids=["online", "bank"])
@pytest.mark.parametrize("method", DISTILLING)
def test_the_loss_is_that_of_the_noisy_inputs(method: str, online: bool) -> None:
    """Student and, online, teacher see the same noisy input; a bank answers for the clean row."""
    spec, rows = spec_of(method, online=online, noise=0.7), rows_of(method, online=online)
    members, order = members_of(**STILL), order_of(2)
    start, _, log = run(spec, members, rows, order)
    mask = PARTLY if method == "oracle" else WHOLE
    for step in range(2):
        for index in range(4):
            group, picked = members.group[index], order[step, index]
            row = rows.row[group, picked]
            x = INPUTS[row] + noise_of(members.seed[index], step, 0.7)
            logits, _ = forward(select(start.members.params, index).network, x)
            told = teach(method, group, row, x if online else INPUTS[row])
            numeric = {name: float(value[index]) for name, value in members.numeric.items()}
            loss = loss_of(logits, rows.label[group, picked], told, mask, numeric)
            np.testing.assert_allclose(log.total[step, index], loss, rtol=2e-5)


def test_noise_follows_from_seed_and_step_alone() -> None:
    spec, rows = spec_of("labels", online=False, noise=0.5), rows_of("labels", online=False)
    members = members_of(3, **STILL)._replace(
        seed=np.array([10, 11, 10], np.uint32), group=np.zeros(3, np.int32)
    )
    order = np.broadcast_to(np.arange(BATCH, dtype=np.int32), (4, 3, BATCH))
    start = compiled_init(spec)(INPUTS[:1], np.ones(3, np.uint32))
    _, log = compiled(spec)(start, members, rows, INPUTS, order)
    losses = np.asarray(log.total)
    # Parameters hardly move and rows are the same, so that noise alone makes the difference.
    np.testing.assert_array_equal(losses[:, 0], losses[:, 2])
    assert len(np.unique(losses.round(4))) == 8
    half, first = compiled(spec)(start, members, rows, INPUTS, order[:2])
    _, second = compiled(spec)(half, members, rows, INPUTS, order[2:])
    np.testing.assert_allclose(np.concatenate([first.total, second.total]), losses, rtol=1e-4)


def test_dropout_is_the_same_with_noise_and_without() -> None:
    """A bias that only dropout can move shows which units were dropped."""
    moved = []
    for noise in (0.0, 1e-6):
        spec = spec_of("labels", online=False, noise=noise, hidden=(64,), dropout=0.5)
        start, end, _ = run(spec, members_of(), rows_of("labels", online=False), order_of(1))
        bias = np.asarray(end.members.params.network["Dense_0"]["bias"])
        moved.append(bias != np.asarray(start.members.params.network["Dense_0"]["bias"]))
    assert 0 < moved[0].mean() < 1
    np.testing.assert_array_equal(*moved)


@pytest.mark.parametrize("method", ["kd", "lelp"])
def test_no_gradient_reaches_the_teacher(method: str) -> None:
    spec, rows = spec_of(method, online=True, noise=0.1), rows_of(method, online=True)
    members, order = members_of(), order_of(1)
    start = compiled_init(spec)(INPUTS[:1], members.seed)

    def total(teacher: Any) -> jax.Array:
        seen = rows._replace(frozen=rows.frozen._replace(teacher=teacher))
        return compiled(spec)(start, members, seen, INPUTS, order)[1].total.sum()

    for leaf in jax.tree.leaves(jax.grad(total)(TEACHERS)):
        np.testing.assert_array_equal(leaf, 0)
    # Its answers matter all the same.
    assert abs(total(jax.tree.map(lambda leaf: 2 * leaf, TEACHERS)) - total(TEACHERS)) > 0.1


def test_a_bank_and_a_teacher_who_sees_the_noise_differ() -> None:
    ends = []
    for online in (True, False):
        spec, rows = spec_of("lelp", online=online, noise=0.7), rows_of("lelp", online=online)
        ends.append(run(spec, members_of(), rows, order_of())[1].members.params)
    kernels = [np.asarray(end.network["head"]["kernel"]) for end in ends]
    assert np.abs(kernels[0] - kernels[1]).max(axis=(1, 2)).min() > 1e-3


def test_prediction_is_clean() -> None:
    members = members_of()
    noisy, plain = spec_of("lelp", online=True, noise=5.0), spec_of("lelp", online=False)
    params = compiled_init(plain)(INPUTS[:1], members.seed).members.params
    constants = {"column_mask": np.stack([WHOLE] * 4)}
    for one, other in zip(
        predict(noisy, params, members.numeric, constants, INPUTS),
        predict(plain, params, members.numeric, constants, INPUTS),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    logits, _ = forward(select(params, 0).network, INPUTS)
    wanted = np.log(np.exp(logits).reshape(30, CLASSES, SUBCLASSES).sum(axis=2))
    got = predict(noisy, params, members.numeric, constants, INPUTS)[0][0]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_scores_that_overflow_leave_the_class_undivided() -> None:
    spec, rows = spec_of("soft_kmeans", online=True), rows_of("soft_kmeans", online=True)
    frozen, label = select(rows.frozen, 0), np.zeros(3, np.int32)
    far = np.stack([INPUTS[0], 1e24 * np.abs(INPUTS[0]), INPUTS[1]]).astype(np.float32)
    for mask in (WHOLE, PARTLY):
        logits, _, scores = answers(spec, frozen, {"column_mask": mask}, far, label)
        assert scores.dtype == jnp.float32
        assert np.isfinite(logits).all()
        np.testing.assert_array_equal(scores[1], np.where(mask, 0, -np.inf))
        sound = embedded("soft_kmeans", 0, forward(select(TEACHERS, 0), far[[0, 2]])[1])
        np.testing.assert_allclose(np.asarray(scores)[[0, 2]], sound, rtol=1e-5)


@pytest.mark.parametrize("method", ["kd", "soft_kmeans"])
def test_a_teacher_that_is_not_finite_shows_as_divergence_of_its_own_group(method: str) -> None:
    rows = rows_of(method, online=True)
    spoiled = jax.tree.map(np.copy, TEACHERS)
    spoiled["Dense_0"]["bias"][1] = np.nan
    spec = spec_of(method, online=True, noise=0.1)
    bad = rows._replace(frozen=rows.frozen._replace(teacher=spoiled))
    _, end, _ = run(spec, members_of(), bad, order_of())
    assert end.members.diverged.tolist() == [False, True, False, True]
    _, sound, _ = run(spec, members_of(), rows, order_of())
    jax.tree.map(
        np.testing.assert_array_equal,
        select(end.members.params, [0, 2]),
        select(sound.members.params, [0, 2]),
    )


def fleet_job(method: str = "lelp", steps: int = 20, size: int = 5) -> FleetJob:
    names = ("temperature", "beta", "alpha", "label_smoothing", "hard_mixing", "warmup")
    numeric = dict.fromkeys(names, 0.3)
    return FleetJob(
        stage="students",
        spec=spec_of(method, online=True, noise=0.5, steps=steps, dropout=0.1),
        batch_size=BATCH,
        members=tuple(
            Member(
                str(i),
                {"learning_rate": 0.01, "weight_decay": 0.01, **numeric},
                seed=i,
                order_seed=i,
                group=i % GROUPS,
            )
            for i in range(size)
        ),
        rows=rows_of(method, online=True),
        buckets=buckets.whole_rows([ROWS, ROWS - 1]),
        inputs=INPUTS,
        validation_inputs=INPUTS,
        validation_labels=np.arange(30) % 2,
    )


def test_a_run_that_was_stopped_resumes_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_MAX_STEPS", 5)

    def train(folder: str, interrupts: Interrupts) -> Any:
        session = Session(Reporter(), interrupts, CurveLog(tmp_path / f"{folder}.jsonl"), 60.0)
        first_steps.clear()
        facts = fleet.train(tmp_path / folder, fleet_job(), session)
        return facts["members"], jax.device_get(states[-1])

    first_steps: list[int] = []
    states: list[Any] = []
    dispatch, stopping = Runner.dispatch, Interrupts()

    def watched(runner: Runner, state: Any, first_step: int) -> Any:
        result = dispatch(runner, state, first_step)
        first_steps.append(first_step)
        states[:] = result[:1]
        if first_step == 5:
            stopping._received = signal.SIGINT
        return result

    monkeypatch.setattr(Runner, "dispatch", watched)
    with pytest.raises(Interrupted):
        train("cut", stopping)
    assert first_steps == [0, 5]
    resumed = train("cut", Interrupts())
    assert first_steps == [10, 15]
    whole = train("whole", Interrupts())
    assert first_steps == [0, 5, 10, 15]
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


SCRIPT = """
import json, sys
import jax
from lelp_jax import parallel
parallel.set_up()
from lelp_jax.train.runner import Runner
from tests.test_online_teacher import fleet_job

mesh_shape = json.loads(sys.argv[1])
if mesh_shape:
    parallel.fleet_mesh = lambda members, batch: parallel.make_mesh(*mesh_shape)
runner = Runner(fleet_job())
state = runner.new_state()
for first in range(0, 20, runner.steps):
    state, log = runner.dispatch(state, first)
params = jax.device_get(jax.tree.map(lambda leaf: leaf[:5], state.members.params))
leaves = [leaf.tolist() for leaf in jax.tree.leaves(params)]
mesh = dict(runner.mesh.shape)
print(json.dumps({"devices": len(jax.devices()), "mesh": mesh, "leaves": leaves}))
"""


def train_on(devices: int, mesh: list[int]) -> dict:
    environment = {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": str(tiny.ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(mesh)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
def test_one_device_and_eight_train_the_same_fleet() -> None:
    single = train_on(1, [])
    assert single["mesh"] == {"member": 1, "data": 1}
    for mesh, expected in (([], {"member": 5, "data": 1}), ([2, 4], {"member": 2, "data": 4})):
        several = train_on(8, mesh)
        assert several["devices"] == 8
        assert several["mesh"] == expected
        for one, many in zip(single["leaves"], several["leaves"], strict=True):
            np.testing.assert_allclose(many, one, atol=2e-5)


def test_what_rides_along_counts() -> None:
    spec = spec_of("lelp", online=True)
    projection = select(PROJECTIONS["lelp"], 0)
    teacher = 4 * DIMS + DIMS + DIMS * CLASSES + CLASSES
    arrays = CLASSES * DIMS * SUBCLASSES + CLASSES * DIMS + CLASSES
    assert job.count_frozen(spec, projection, INPUTS) == teacher + arrays
    assert job.count_frozen(spec_of("kd", online=True), None, INPUTS) == teacher
    assert job.count_frozen(spec_of("lelp", online=False), None, INPUTS) == 0
    assert plan.members_per_program(1000, 1, "cpu", 300_000) == 32
    assert plan.members_per_program(1000, 1, "cpu", 10**8) == 2
    assert plan.members_per_program(1000, 1, "gpu", 10**10) == 1
    alone, beside = (job.work_of_step(spec, INPUTS, 64, frozen) for frozen in (0, 300_000))
    assert beside - alone == 2 * 300_000 * 64
    assert alone == 6 * 64 * job.count_trained(spec, INPUTS)
    # The runner counts what it is given as `count_frozen` does.
    counted = []
    original = plan.steps_per_dispatch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "steps_per_dispatch", lambda *a: counted.append(a[0]) or original(*a))
        own = fleet_job()
        Runner(own)
    assert counted == [job.work_of_step(own.spec, INPUTS, own.batch_size, teacher + arrays)]


def network(num_classes: int) -> Network:
    """Returns a teacher of the digits whose parameters are never asked for."""
    model = models.build({"name": "mlp", "hidden": (512, 512)}, num_classes)
    return Network(model, lambda: None, trained=None, inputs="")  # type: ignore[arg-type]


def student_of(
    name: str, projector: Projector | None, projection: Projection | None, **section: Any
) -> tuple[Any, Any, Any, Any]:
    raw = load_config(tiny.ROOT / "configs" / "digits.py", ["quick"]).to_dict()
    raw["student"].update(section)
    frozen = config.from_config_dict(raw)
    entry = frozen.methods[name]
    method = dataclasses.replace(entry.method, projector=projector)
    methods = {**frozen.methods, name: dataclasses.replace(entry, method=method)}
    frozen = dataclasses.replace(frozen, methods=methods)
    dataset = data.load(frozen.source, frozen.split)
    bank: Any = type("Bank", (), {"fingerprint": "bank"})
    teacher: Any = type("Teacher", (), {"network": network(2), "dims": 4})
    replicate = replicates.Replicate(0, 0, teacher, bank, dataset.train[:100], 0)
    trial = enumerate_trials(entry, 0)[0]
    nothing: Any = None
    seen = Features().ensure(nothing, dataset, nothing)
    teacher.network = dataclasses.replace(teacher.network, inputs=seen.fingerprint)
    student = students._student(frozen, dataset, seen, method, trial, replicate, projection)
    return frozen, dataset, seen, student


def test_a_projector_that_wants_values_at_hand_is_refused_with_a_mend(tmp_path: Path) -> None:
    def apply(projection: Projection, rows: Any) -> np.ndarray:
        return np.asarray(rows.embedding)[:, :4].reshape(-1, 2, 2)

    for uses_embedding in (True, False):
        projector = Projector(
            "own", 1, {}, fit=lambda *_: None, apply=apply, uses_embedding=uses_embedding
        )
        fitted = Projection("own", {}, np.ones((2, 2), bool))
        case = student_of("random_split", projector, fitted, teacher_outputs="online")
        whole, dataset, seen, student = case
        if uses_embedding:
            session: Any = None
            with pytest.raises(UserError, match=r"methods.random_split: .*jax\.numpy.*take 'bank'"):
                student_fleets.ensure(tmp_path, whole, dataset, seen, [student], session)
        else:
            student_fleets._check_applicable(whole, seen, student)
            assert student.spec.teacher is not None
            assert student.applied is None


def test_a_fingerprint_covers_noise_and_where_answers_come_from() -> None:
    def names(name: str) -> list[str]:
        fitted = Projection("lelp", {}, WHOLE) if name == "lelp" else None
        sections = ({}, {"input_noise": 0.1}, {"teacher_outputs": "online"})
        return [
            student_fleets.request(
                *student_of(name, METHODS[name].projector, fitted, **s)
            ).fingerprint
            for s in sections
        ]

    plain, noisy, online = names("lelp")
    assert len({plain, noisy, online}) == 3
    plain, noisy, online = names("labels")
    assert plain == online != noisy


def test_projections_of_other_shapes_train_in_other_fleets() -> None:
    kinds = set()
    for width in (2, 3, 3):
        basis = np.ones((2, 512, width), np.float32)
        arrays = {"basis": basis, "mean": basis[:, :, 0], "scale": np.ones(2, np.float32)}
        case = student_of(
            "lelp",
            METHODS["lelp"].projector,
            Projection("lelp", arrays, np.ones((2, 3), bool)),
            teacher_outputs="online",
        )
        kinds.add(student_fleets.request(*case).kind)
    assert len(kinds) == 2


@pytest.mark.slow
def test_runs_with_a_bank_online_and_with_noise(tmp_path: Path) -> None:
    left_out, kept = ("soft_kmeans", "oracle", "random_split"), ("labels", "kd", "lelp")
    few = [f"--config.methods.{name}.trials=0" for name in left_out]
    few += [f"--config.methods.{name}.trials=1" for name in kept]
    outcome = {}
    for name, overrides in {
        "bank": (),
        "online": ("--config.student.teacher_outputs=online",),
        "noise": (
            "--config.student.teacher_outputs=online",
            "--config.student.input_noise=0.5",
        ),
    }.items():
        assert tiny.run(tmp_path / "run", *few, *overrides) == 0
        lines = tiny.results(tmp_path / "run")
        assert {line["status"] for line in lines} == {"ok"}
        assert {line["teacher"] for line in lines} == {0, 1}
        outcome[name] = {(line["method"], line["replicate"]): line for line in lines}
        assert (tmp_path / "run" / "report" / "report.md").stat().st_size
    for key, line in outcome["bank"].items():
        online, noise = outcome["online"][key], outcome["noise"][key]
        assert (online["fingerprint"] == line["fingerprint"]) == (key[0] == "labels")
        assert online["validation"]["nll"] == pytest.approx(line["validation"]["nll"], rel=1e-4)
        assert abs(noise["validation"]["nll"] / line["validation"]["nll"] - 1) > 1e-3
