"""Fleets of students that ask a frozen teacher: resumed, sharded, told apart, and whole runs."""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import pytest

from lelp_jax import data, models
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import Interrupted, UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.experiment import config
from lelp_jax.experiment.run import Run
from lelp_jax.inputs.features import Features
from lelp_jax.methods import METHODS
from lelp_jax.projection.base import Projection, Projector
from lelp_jax.projection.linear import LinearProjection
from lelp_jax.students import grid, replicates, training
from lelp_jax.students.grid import Student
from lelp_jax.students.trials import enumerate_trials
from lelp_jax.teachers.base import Network
from lelp_jax.train import buckets, plan
from lelp_jax.train import fleet as job
from lelp_jax.train import loop as fleet
from lelp_jax.train.fleet import FleetJob, Member
from lelp_jax.train.runner import Runner
from tests.helpers import tiny
from tests.helpers.fleets import BATCH, GROUPS, INPUTS, ROWS
from tests.helpers.online_teachers import (
    CLASSES,
    DIMS,
    PROJECTIONS,
    SUBCLASSES,
    rows_of,
    spec_of,
)
from tests.helpers.processes import run_script
from tests.helpers.trees import assert_equal, select


def fleet_job(method: str = "lelp", steps: int = 20, size: int = 5) -> FleetJob:
    names = ("temperature", "beta", "alpha", "label_smoothing", "hard_mixing", "warmup")
    hyperparameters = dict.fromkeys(names, 0.3)
    return FleetJob(
        stage="students",
        spec=spec_of(method, online=True, noise=0.5, steps=steps, dropout=0.1),
        batch_size=BATCH,
        members=tuple(
            Member(
                str(i),
                {"learning_rate": 0.01, "weight_decay": 0.01, **hyperparameters},
                seed=i,
                order_seed=i,
                group=i % GROUPS,
            )
            for i in range(size)
        ),
        rows=rows_of(method, online=True),
        buckets=buckets.keep_whole_rows([ROWS, ROWS - 1]),
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
    assert_equal(resumed, whole)


SCRIPT = """
import json, sys
import jax
from lelp_jax.core import parallel
parallel.set_up()
from lelp_jax.train.runner import Runner
from tests.train.test_online_fleets import fleet_job

rule_of_meshes = parallel.make_fleet_mesh
runs = []
for mesh in json.loads(sys.argv[1]):
    parallel.make_fleet_mesh = (lambda *_: parallel.make_mesh(*mesh)) if mesh else rule_of_meshes
    runner = Runner(fleet_job())
    state = runner.new_state()
    for first in range(0, 20, runner.steps):
        state, log = runner.dispatch(state, first)
    params = jax.device_get(jax.tree.map(lambda leaf: leaf[:5], state.members.params))
    leaves = [leaf.tolist() for leaf in jax.tree.leaves(params)]
    runs.append({"mesh": dict(runner.mesh.shape), "leaves": leaves})
print(json.dumps({"devices": len(jax.devices()), "runs": runs}))
"""


@pytest.mark.slow
def test_one_device_and_eight_train_the_same_fleet() -> None:
    single = run_script(SCRIPT, json.dumps([[]]))
    several = run_script(SCRIPT, json.dumps([[], [2, 4]]), devices=8)
    assert (single["devices"], several["devices"]) == (1, 8)
    meshes = [(run["mesh"]["member"], run["mesh"]["data"]) for run in several["runs"]]
    assert meshes == [(5, 1), (2, 4)]
    [alone] = single["runs"]
    assert alone["mesh"] == {"member": 1, "data": 1}
    for run in several["runs"]:
        for one, many in zip(alone["leaves"], run["leaves"], strict=True):
            np.testing.assert_allclose(many, one, atol=2e-5)


def test_what_rides_along_counts() -> None:
    spec = spec_of("lelp", online=True)
    projection = select(PROJECTIONS["lelp"], 0)
    teacher = 4 * DIMS + DIMS + DIMS * CLASSES + CLASSES
    arrays = sum(leaf.size for leaf in jax.tree.leaves(projection))
    assert arrays > CLASSES * DIMS * SUBCLASSES
    assert job.count_frozen(spec, projection, INPUTS) == teacher + arrays
    assert job.count_frozen(spec_of("kd", online=True), None, INPUTS) == teacher
    assert job.count_frozen(spec_of("lelp", online=False), None, INPUTS) == 0
    assert plan.members_per_program(1000, 1, "cpu", 300_000) == 32
    assert plan.members_per_program(1000, 1, "cpu", 10**8) == 2
    assert plan.members_per_program(1000, 1, "gpu", 10**10) == 1
    alone, beside = (job.estimate_work(spec, INPUTS, 64, frozen) for frozen in (0, 300_000))
    assert beside - alone == 2 * 300_000 * 64
    assert alone == 6 * 64 * job.count_trained(spec, INPUTS)
    # The runner counts what it is given as `count_frozen` does.
    counted = []
    original = plan.steps_per_dispatch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "steps_per_dispatch", lambda *a: counted.append(a[0]) or original(*a))
        own = fleet_job()
        Runner(own)
    assert counted == [job.estimate_work(own.spec, INPUTS, own.batch_size, teacher + arrays)]


def network(num_classes: int) -> Network:
    """Returns a teacher of the digits whose parameters are never asked for."""
    model = models.build({"name": "mlp", "hidden": (512, 512)}, num_classes)
    return Network(model, lambda: None, trained=None, inputs="", answers=None)  # type: ignore[arg-type]


def student_of(
    name: str, projector: Projector | None, projection: Projection | None, **section: Any
) -> tuple[Run, Student]:
    raw = load_config(tiny.ROOT / "configs" / "digits.py", ["quick"]).to_dict()
    raw["student"].update(section)
    frozen = config.from_config_dict(raw)
    entry = frozen.methods[name]
    method = dataclasses.replace(entry.method, projector=projector)
    methods = {**frozen.methods, name: dataclasses.replace(entry, method=method)}
    frozen = dataclasses.replace(frozen, methods=methods)
    dataset = data.load(frozen.data.source, frozen.data.splitting)
    bank: Any = type("Bank", (), {"fingerprint": "bank"})
    teacher: Any = type("Teacher", (), {"network": network(2), "dims": 4})
    replicate = replicates.Replicate(0, 0, teacher, bank, dataset, dataset.train[:100], 0)
    trial = enumerate_trials(entry, 0)[0]
    nothing: Any = None
    seen = Features().ensure(nothing, dataset, nothing)
    teacher.network = dataclasses.replace(teacher.network, inputs=seen.fingerprint)
    run = Run("digits", Path("run"), Path("run"), frozen, dataset, (dataset,), seen, nothing)
    return run, grid._make_student(run, method, trial, replicate, projection)


def test_a_projector_that_wants_values_at_hand_is_refused_with_a_hint() -> None:
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Own:
        column_mask: Any
        uses_embedding: ClassVar[bool] = True

        def scores(self, rows: Any) -> np.ndarray:
            return np.asarray(rows.embedding)[:, :4].reshape(-1, 2, 2)

    for uses_embedding in (True, False):
        Own.uses_embedding = uses_embedding
        fitted = Own(np.ones((2, 2), bool))
        projector = Projector("own", 1, {}, fit=lambda *_: None, projection=Own)
        case = student_of("random_split", projector, fitted, teacher_outputs="online")
        run, student = case
        if uses_embedding:
            with pytest.raises(UserError, match=r"methods.random_split: .*jax\.numpy.*use 'bank'"):
                training.ensure(run, [student])
        else:
            training._check_applicable(run, student)
            assert student.spec.teacher is not None
            assert student.applied is None


def lelp_of(width: int) -> LinearProjection:
    basis, ones = np.ones((2, 512, width), np.float32), np.ones(2, np.float32)
    mask = np.ones((2, width), bool)
    return LinearProjection(basis, basis[:, :, 0], ones, ones[:, None], mask)


def test_a_fingerprint_covers_noise_and_where_answers_come_from() -> None:
    def names(name: str) -> list[str]:
        fitted = lelp_of(2) if name == "lelp" else None
        sections = ({}, {"input_noise": 0.1}, {"teacher_outputs": "online"})
        return [
            training.make_request(
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
        projector = METHODS["lelp"].projector
        case = student_of("lelp", projector, lelp_of(width), teacher_outputs="online")
        kinds.add(training.make_request(*case).kind)
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
