"""One device, two and eight give the same students; each count of devices in its own process."""

import collections
import json
import os

import jax
import numpy as np
import pytest

from lelp_jax.core import parallel
from tests.helpers.processes import run_script

NETWORKS = ("mlp", "transformer", "cnn")
SCRIPT = """
import json, sys
import jax
import numpy as np
from lelp_jax import methods, models
from lelp_jax.augmentation.config import Augmentation
from lelp_jax.core import parallel
parallel.set_up()
from lelp_jax.train import buckets, optimizer
from lelp_jax.train.fleet import FleetJob, Member
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import GroupRows, StepSpec

method = methods.METHODS["lelp"]
random = np.random.default_rng(0)
rows = GroupRows(
    row=np.arange(40, dtype=np.int32)[None], label=random.integers(0, 2, (1, 40), dtype=np.int32),
    weight=np.ones((1, 40), np.float32),
    teacher_logits=random.standard_normal((1, 40, 2)).astype(np.float32),
    scores=random.standard_normal((1, 40, 2, 3)).astype(np.float32),
    constants={"column_mask": np.ones((1, 2, 3), bool)},
)
numbers = random.standard_normal((40, 5)).astype(np.float32)
tokens = random.integers(0, 9, (40, 12), dtype=np.int32)
tokens[np.arange(12) >= random.integers(3, 13, (40, 1))] = -1
images = random.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
transformer = {"name": "transformer", "layers": 1, "dims": 16, "hidden": 16, "positions": 12}
networks = {
    "mlp": (models.build({"name": "mlp", "hidden": (16,)}, 6), numbers, 1),
    "transformer": (models.build(transformer, 6, 9), tokens, 2),
    "cnn": (models.build({"name": "small_cnn", "widths": (2, 4)}, 6), images, 2),
}
# Batch normalization takes statistics of a batch that devices share, and pairs of images are mixed
# across devices.
changes = {"cnn": Augmentation(crop=1, flip=0.5, mixup=0.5)}
rule_of_meshes = parallel.make_fleet_mesh
runs = []
for name, mesh, count in json.loads(sys.argv[1]):
    chosen = (lambda *_: parallel.make_mesh(*mesh)) if mesh else rule_of_meshes
    parallel.make_fleet_mesh = chosen
    model, inputs, accumulate = networks[name]
    members = tuple(
        Member(
            str(i),
            {"learning_rate": 0.01, "weight_decay": 0.0, "temperature": 2.0, "beta": 0.5,
             "alpha": 0.1, "label_smoothing": 0.1, "hard_mixing": 0.2, "warmup": 0.5},
            seed=i, order_seed=i, group=0,
        )
        for i in range(count)
    )
    spec = StepSpec(
        model, method.loss, method.readout, optimizer.OptimizerConfig(), 25,
        targets=method.targets, accumulate=accumulate,
        augmentation=changes.get(name, Augmentation()),
    )
    order = buckets.make_buckets(inputs, [np.arange(40)], buckets.Division((1,), 20, 40), 0)
    job = FleetJob("students", spec, 16, members, rows, order, inputs, inputs, rows.label[0])
    runner = Runner(job)
    state = runner.new_state()
    for first in range(0, 25, runner.steps):
        state, log = runner.dispatch(state, first)
    params = jax.device_get(jax.tree.map(lambda leaf: leaf[:count], state.members.params))
    leaves = [leaf.tolist() for leaf in jax.tree.leaves(params)]
    runs.append({"mesh": list(runner.mesh.shape.values()), "leaves": leaves})
print(json.dumps({"devices": len(jax.devices()), "runs": runs}))
"""


def train(devices: int, *fleets: tuple[str, list[int], int]) -> list[dict]:
    """Trains fleets in a process of that many devices: network, mesh or [] for the rule's, size."""
    found = run_script(SCRIPT, json.dumps(fleets), devices=devices)
    assert found["devices"] == devices
    return found["runs"]


@pytest.mark.slow
def test_one_device_and_eight_train_the_same_fleet() -> None:
    single = dict(zip(NETWORKS, train(1, *((name, [], 5) for name in NETWORKS)), strict=True))
    assert all(run["mesh"] == [1, 1] for run in single.values())
    # The rule's own mesh, with members padded to its size; one that shares each batch; and the
    # first member alone, its batch shared by all.
    fleets: list[tuple[str, list[int], int]] = [
        ("mlp", [], 5),
        ("mlp", [2, 4], 5),
        ("mlp", [1, 8], 1),
        ("transformer", [2, 4], 5),
        ("cnn", [2, 4], 5),
        ("cnn", [1, 8], 1),
    ]
    for (name, given, members), several in zip(fleets, train(8, *fleets), strict=True):
        assert several["mesh"] == (given or [5, 1])
        for one, many in zip(single[name]["leaves"], several["leaves"], strict=True):
            assert len(many) == members
            # Adam moves a parameter whose gradient is all but 0 as far as any other, though the
            # sign of such a gradient is a matter of rounding.
            np.testing.assert_allclose(many, one[:members], atol=5e-4)


def test_cores_are_counted_where_there_is_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert parallel.count_cores() == os.cpu_count()


def test_members_are_padded_to_a_multiple_of_the_mesh() -> None:
    mesh = parallel.make_mesh(1, 1)
    assert parallel.round_up_members(5, mesh) == 5
    assert parallel.make_fleet_mesh(3, 64).shape == {"member": 1, "data": 1}


def _shifted(offset: float, x: jax.Array) -> jax.Array:
    return x + offset


def test_programs_used_least_recently_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_MOST_COMPILED", 2)
    monkeypatch.setattr(parallel, "_COMPILED", collections.OrderedDict())
    x = (jax.device_put(np.ones(3)),)
    first, second = (parallel.compile_program(_shifted, offset, x)[0] for offset in (1.0, 2.0))
    assert parallel.compile_program(_shifted, 1.0, x) == (first, 0.0)
    # The second is now the one that was not used for longest.
    parallel.compile_program(_shifted, 3.0, x)
    assert parallel.compile_program(_shifted, 1.0, x) == (first, 0.0)
    again, seconds = parallel.compile_program(_shifted, 2.0, x)
    assert again is not second
    assert seconds > 0
    assert len(parallel._COMPILED) == 2


def test_a_program_that_runs_once_computes_the_same(package_log: list) -> None:
    x = (jax.device_put(np.linspace(-3, 3, 24, dtype=np.float32).reshape(4, 6)),)
    usual, _ = parallel.compile_program(_mixed, "usual", x)
    quick, _ = parallel.compile_program(_mixed, "quick", x, runs_once=True)
    np.testing.assert_allclose(usual(*x), quick(*x), atol=1e-6)
    lines = [message.partition(" in ")[0] for _, message in package_log]
    assert lines == ["compiled _mixed(f4[4,6])"] * 2


def _mixed(name: str, x: jax.Array) -> jax.Array:
    del name
    return jax.random.normal(jax.random.key(0), (3, 4)) @ jax.numpy.tanh(x)
