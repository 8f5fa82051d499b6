"""Teachers with labelled rows of their own: none depends on the others of its fleet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data.few_labels import hide_labels
from lelp_jax.models.tokens import PAD
from lelp_jax.teachers.arrays import ImportedTeachers
from lelp_jax.teachers.head import make_labelled_job, make_plain_head, make_recipe
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.fleet import FleetJob
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.scheduler import Request
from tests.helpers import planted

RANDOM = np.random.default_rng(0)
LENGTHS = RANDOM.integers(1, 12, 300)
TOKENS = np.where(np.arange(12) < LENGTHS[:, None], RANDOM.integers(1, 9, (300, 12)), PAD)
DATASET = planted.dataset(RANDOM.integers(0, 2, 300), np.zeros((300, 1), np.float32))
TRAIN = TrainConfig(
    steps=2_000_000_000, batch_size=4, optimizer=OptimizerConfig("adamw", "constant")
)


def make_job(dataset: Any, known: list[Any]) -> FleetJob:
    family = {"name": "bag_of_embeddings", "dims": 4, "hidden": (4,), "dropout": 0.0}
    values = {"learning_rate": 0.1, "weight_decay": 0.0, "label_smoothing": 0.0}
    model = models.build(family, 2, num_tokens=9)
    recipe = make_recipe(model, make_plain_head(2), TRAIN, values)
    requests = [
        Request({"seed": int(each.digest, 16) % 1000}, "teacher", 0, n, "teacher", TRAIN.steps)
        for n, each in enumerate(known)
    ]
    show = TOKENS.astype(np.int32).__getitem__
    initial = {"layer": np.arange(3.0)}
    return make_labelled_job(dataset, known, recipe, requests, show, initial)


def test_a_teacher_sees_the_same_rows_in_any_fleet() -> None:
    bare, known = hide_labels(DATASET, 40, (1, 2))
    both, alone = make_job(bare, [*known, known[0]]), make_job(bare, [known[1]])
    assert [member.group for member in both.members] == [0, 1, 0]
    assert both.rows.row.shape == (2, 40)
    assert both.initial["layer"].shape == (2, 3)
    assert len(both.buckets.lengths) > 1
    for job, group, each in ((both, 0, known[0]), (both, 1, known[1]), (alone, 0, known[1])):
        index = each.labelled_train
        np.testing.assert_array_equal(job.inputs[job.rows.row[group]], TOKENS[index])
        np.testing.assert_array_equal(job.rows.label[group], DATASET.labels[index])
    for step in (0, 31, 32, 100, 999):
        one = both.buckets.positions(step, 1, 4, both.members[1].order_seed, 1)
        other = alone.buckets.positions(step, 1, 4, alone.members[0].order_seed, 0)
        np.testing.assert_array_equal(one, other)


def test_teachers_that_know_the_same_labels_share_their_rows() -> None:
    job = make_job(DATASET, [DATASET, DATASET])
    np.testing.assert_array_equal(job.inputs, TOKENS[DATASET.labelled_train])
    assert [member.group for member in job.members] == [0, 0]
    assert job.rows.row.shape == (1, 200)


def test_a_teacher_from_elsewhere_may_have_seen_any_label(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logits = np.eye(2, dtype=np.float32)[DATASET.labels]
    np.savez("teacher.npz", embeddings=logits, logits=logits)
    session = Session(Reporter(), Interrupts(), CurveLog(Path("metrics.jsonl")), 60)
    source = ImportedTeachers(("teacher.npz",))
    for labelled_rows in (0, 40):
        bare, known = hide_labels(DATASET, labelled_rows, range(source.count))
        source.ensure(Path("run"), bare, known, 0, session)
        warned = "labelled_rows hides labels from projections and students" in caplog.text
        assert warned == bool(labelled_rows)
