"""Parameters and state that methods bring along: they train, resume and are shared out as the rest.

CRD has both: two linear maps, and a memory of every row.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.core import parallel
from lelp_jax.core.checkpoint import Checkpoints
from lelp_jax.methods import METHODS
from lelp_jax.methods.base import Dims, Seen
from lelp_jax.train import buckets
from lelp_jax.train.fleet import FleetJob, Member, count_served, count_trained
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import GroupRows, StepSpec
from tests.helpers.processes import run_script

ROWS, FEATURES, HIDDEN, TEACHER, GROUPS = 24, 4, 5, 6, 2
SEARCH_SPACE = {
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "alpha": 0.2,
    "label_smoothing": 0.0,
    "hard_mixing": 0.0,
    "warmup": 0.0,
    "temperature": 2.0,
    "loss_weight": 0.8,
    "contrast_temperature": 0.2,
}


def fleet_job(name: str, members: int = 4, steps: int = 8) -> FleetJob:
    random = np.random.default_rng(0)
    method = METHODS[name]
    label = (np.arange(ROWS) % 2).astype(np.int32)
    embedding = random.normal(size=(GROUPS, ROWS, TEACHER)).astype(np.float32)
    weights = random.normal(size=(TEACHER, 2)).astype(np.float32)
    logits = embedding @ weights
    prepared = [
        method.prepare(
            Seen(label, logits[group], embedding[group], weights, 2, ROWS, label, logits),
            {"negatives": "other_class"},
        )
        if method.prepare
        else {}
        for group in range(GROUPS)
    ]
    spec = StepSpec(
        models.build({"name": "mlp", "hidden": (HIDDEN,)}, 2),
        method.loss,
        method.readout,
        OptimizerConfig(),
        steps,
        dims=Dims(2, HIDDEN, TEACHER, ROWS) if method.init else None,
        init=method.init,
        init_state=method.init_state,
    )
    inputs = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    return FleetJob(
        stage="students",
        spec=spec,
        batch_size=8,
        members=tuple(
            Member(str(number), SEARCH_SPACE, 7 + number, 3 + number, number % GROUPS)
            for number in range(members)
        ),
        rows=GroupRows(
            row=np.tile(np.arange(ROWS, dtype=np.int32), (GROUPS, 1)),
            label=np.tile(label, (GROUPS, 1)),
            weight=np.ones((GROUPS, ROWS), np.float32),
            teacher_logits=logits,
            scores=None,
            constants=jax.tree.map(lambda *arrays: np.stack(arrays), *prepared),
            teacher_embedding=embedding,
        ),
        buckets=buckets.keep_whole_rows([ROWS] * GROUPS),
        inputs=inputs,
        validation_inputs=inputs,
        validation_labels=label,
    )


def train(name: str, mesh: Any = None) -> Any:
    """Returns the members after all steps, on the host."""
    if mesh is not None:
        parallel.make_fleet_mesh = lambda members, batch: mesh
    runner = Runner(fleet_job(name))
    state, _ = runner.dispatch(runner.new_state(), 0)
    return jax.device_get(jax.tree.map(lambda leaf: leaf[:4], state.members))


@pytest.fixture(scope="module")
def runner() -> Runner:
    made = Runner(fleet_job("crd"))
    made.steps = 4
    return made


def test_own_parameters_and_state_move(runner: Runner) -> None:
    start = jax.device_get(runner.new_state())
    state, _ = runner.dispatch(runner.new_state(), 0)
    end = jax.device_get(state)
    for before, after in zip(
        jax.tree.leaves((start.members.params, start.members.method)),
        jax.tree.leaves((end.members.params, end.members.method)),
        strict=True,
    ):
        assert (before != after).reshape(4, -1).any(axis=1).all()
    assert not end.members.diverged.any()
    memory = end.members.method["student"]
    # Four batches of 8 have seen all 24 rows of the memory.
    np.testing.assert_allclose(np.linalg.norm(memory, axis=-1), 1, atol=1e-5)
    # Members differ in their seeds.
    assert (start.members.params.extra["student"]["kernel"][0] != 0).any()
    kernel = start.members.params.extra["student"]["kernel"]
    assert (kernel[0] != kernel[1]).any()


def test_a_checkpoint_brings_them_back_bit_by_bit(runner: Runner, tmp_path: Path) -> None:
    half, _ = runner.dispatch(runner.new_state(), 0)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(4, half, {})
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), half
    )
    whole, _ = runner.dispatch(half, 4)
    restored = checkpoints.restore(abstract)
    checkpoints.close()
    assert restored is not None
    again, _ = runner.dispatch(restored[1], 4)
    jax.tree.map(
        np.testing.assert_array_equal, jax.device_get(again.members), jax.device_get(whole.members)
    )


def test_what_is_served_leaves_out_what_only_training_needs() -> None:
    network = FEATURES * HIDDEN + HIDDEN + HIDDEN * 2 + 2
    inputs = np.zeros((1, FEATURES), np.float32)
    crd, simkd = (fleet_job(name).spec for name in ("crd", "simkd"))
    assert count_served(crd, inputs) == network
    maps = 128 * (HIDDEN + 1 + TEACHER + 1)
    assert count_trained(crd, inputs) == network + maps + 2 * 128 * ROWS + 2
    # The projector is part of the student: two layers and the scale and shift between them.
    width = TEACHER // 2
    projector = HIDDEN * width + width + 2 * width + width * TEACHER + TEACHER
    assert count_served(simkd, inputs) == network + projector


SCRIPT = """
import json
import jax
from lelp_jax.core import parallel
parallel.set_up()
from tests.train.test_method_state import train

result = {}
for name in ("crd", "rkd"):
    ends = [train(name, parallel.make_mesh(*shape)) for shape in ((1, 1), (2, 4))]
    pairs = zip(*map(jax.tree.leaves, ends), strict=True)
    result[name] = max(float(abs(a.astype("f") - b.astype("f")).max()) for a, b in pairs)
print(json.dumps({"devices": len(jax.devices()), **result}))
"""


@pytest.mark.slow
def test_batches_shared_by_devices_give_what_one_device_does() -> None:
    result = run_script(SCRIPT, devices=8)
    assert result["devices"] == 8
    assert result["crd"] < 1e-4
    assert result["rkd"] < 1e-4
