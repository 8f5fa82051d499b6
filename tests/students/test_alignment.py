"""A student reads its own rows of its own teacher: nothing is found by order."""

import dataclasses
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.bank import store
from lelp_jax.bank.store import Bank
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.errors import Damaged
from lelp_jax.experiment import config
from lelp_jax.experiment.run import Run
from lelp_jax.inputs.features import Features
from lelp_jax.projection.base import Projector
from lelp_jax.students import grid, replicates, training
from lelp_jax.students.trials import enumerate_trials
from lelp_jax.teachers.base import Teacher
from tests.helpers import tiny

TEACHERS = 3


@pytest.fixture(scope="module")
def experiment() -> tuple[config.Config, data.Dataset]:
    raw = load_config(tiny.ROOT / "configs" / "digits.py", ["quick"]).to_dict()
    raw["replicates"] = 5
    raw["data"]["transfer_size"] = 70
    frozen = config.from_config_dict(raw)
    return frozen, data.load(frozen.data.source, frozen.data.splitting)


@pytest.fixture
def banks(experiment, tmp_path: Path) -> list[Bank]:
    """Banks whose logits tell data row and teacher, and whose embedding tells the row."""
    _, dataset = experiment
    index = np.sort(np.concatenate([dataset.train, dataset.validation]))
    made = []
    for number in range(TEACHERS):

        def answers(rows: np.ndarray, number: int = number) -> tuple[np.ndarray, np.ndarray]:
            logits = np.stack([rows, np.full(len(rows), number)], axis=1)
            return logits.astype(np.float32), rows[:, None].astype(np.float32)

        of = {"teacher": str(number), "data": dataset.digest}
        location = str(tmp_path / f"bank{number}")
        contents = store.Contents(
            of, index, answers, lambda: np.ones((1, 2), np.float32), (2, 1), "float32"
        )
        store.write(location, contents, check=lambda: None)
        made.append(store.read(location, f"bank{number}", of, index))
    return made


def replicates_of(frozen, dataset, banks) -> list[replicates.Replicate]:
    teachers = [
        Teacher(bank.fingerprint, 1, 2, None, None, None, True, "", None)  # type: ignore[arg-type]
        for bank in banks
    ]
    run: Any = types.SimpleNamespace(config=frozen, dataset=dataset, known=(dataset,) * len(banks))
    return replicates.draw(run, teachers, banks, None)


def run_of(frozen: config.Config, dataset: data.Dataset, root: Path) -> Run:
    seen = Features().ensure(root, dataset, None)
    return Run("digits", root, root, frozen, dataset, (dataset,), seen, session=None)


class Echo:
    """Scores that tell the embedding, which tells the row."""

    column_mask, uses_embedding = np.ones((2, 2), bool), True

    def scores(self, rows) -> np.ndarray:
        scores = np.zeros((len(rows.index), 2, 2), np.float32)
        scores[:, :, 1] = rows.embedding
        return scores


def test_every_group_holds_the_rows_labels_and_teacher_of_its_replicate(
    experiment, banks, tmp_path
) -> None:
    frozen, dataset = experiment
    projector = Projector("echo", 1, {}, fit=lambda *_: Echo(), projection=Echo)
    entry = frozen.methods["random_split"]
    method = dataclasses.replace(entry.method, projector=projector)
    methods = {**frozen.methods, "random_split": dataclasses.replace(entry, method=method)}
    frozen = dataclasses.replace(frozen, methods=methods)
    run = run_of(frozen, dataset, tmp_path)
    drawn = replicates_of(frozen, dataset, banks)
    assert [replicate.teacher_number for replicate in drawn] == [0, 1, 2, 0, 1]
    trial = enumerate_trials(entry, 0)[0]
    # In an order in which replicates are not sorted: groups must still be their own.
    wanted = [
        grid._make_student(run, method, trial, drawn[number], Echo()) for number in (3, 0, 4, 1)
    ]
    requests = [training.make_request(run, student) for student in wanted]
    job = training.make_job(run, wanted, requests)
    for student, member in zip(wanted, job.members, strict=True):
        group, expected = member.group, student.replicate.transfer
        np.testing.assert_array_equal(dataset.train[job.rows.row[group]], expected)
        np.testing.assert_array_equal(job.inputs[job.rows.row[group]], dataset.inputs[expected])
        np.testing.assert_array_equal(job.rows.label[group], dataset.labels[expected])
        np.testing.assert_array_equal(job.rows.teacher_logits[group, :, 0], expected)
        assert (job.rows.teacher_logits[group, :, 1] == student.replicate.teacher_number).all()
        np.testing.assert_array_equal(job.rows.scores[group, :, 0, 1], expected)
    assert len({member.seed for member in job.members}) == 4


def test_replicates_see_different_rows_and_never_validation_or_test_rows(experiment, banks) -> None:
    frozen, dataset = experiment
    drawn = replicates_of(frozen, dataset, banks)
    seen = [set(replicate.transfer.tolist()) for replicate in drawn]
    assert all(len(rows) == 70 for rows in seen)
    assert all(rows <= set(dataset.train.tolist()) for rows in seen)
    assert seen[0] != seen[3]


def test_rows_are_found_by_index_in_any_order(experiment, banks) -> None:
    _, dataset = experiment
    shuffled = np.random.default_rng(0).permutation(dataset.train)
    np.testing.assert_array_equal(banks[0].logits[banks[0].find_positions(shuffled), 0], shuffled)


def test_test_rows_are_not_in_a_bank(experiment, banks) -> None:
    _, dataset = experiment
    with pytest.raises(KeyError, match="not in the bank"):
        banks[0].find_positions(dataset.test[:3])


def test_a_damaged_bank_names_the_folder_to_delete(banks) -> None:
    (Path(banks[1].location) / "logits" / "zarr.json").write_text("{")
    with pytest.raises(Damaged, match=f"{banks[1].location} is damaged"):
        _ = banks[1].logits


def test_labels_alone_draw_from_labelled_rows_only(experiment, banks, tmp_path) -> None:
    frozen, dataset = experiment
    labels = dataset.labels.copy()
    labels[dataset.train[::2]] = -1
    dataset = dataclasses.replace(dataset, labels=labels)
    run = run_of(frozen, dataset, tmp_path)
    method, trial = (
        frozen.methods["labels"].method,
        enumerate_trials(frozen.methods["labels"], 0)[0],
    )
    wanted = [
        grid._make_student(run, method, trial, replicate, None)
        for replicate in replicates_of(frozen, dataset, banks)[:2]
    ]
    requests = [training.make_request(run, student) for student in wanted]
    job = training.make_job(run, wanted, requests)
    for group, order in enumerate(job.buckets.orders):
        size = len(order)
        assert 0 < size < 70
        assert (job.rows.label[group, :size] >= 0).all()


def test_weights_reach_the_rows_that_they_were_computed_for(experiment, banks, tmp_path) -> None:
    frozen, dataset = experiment
    balance = dataclasses.replace(frozen.student.train, class_weights=(1.0, 3.0))
    student_config = dataclasses.replace(frozen.student, train=balance)
    run = run_of(dataclasses.replace(frozen, student=student_config), dataset, tmp_path)
    entry = frozen.methods["kd"]
    trial = enumerate_trials(entry, 0)[0]

    def weigh(replicate: replicates.Replicate, first: str) -> grid.Student:
        # The weight tells row and replicate.
        weights = (replicate.transfer + 1 + 0.5 * replicate.number).astype(np.float32)
        plain = grid._make_student(run, entry.method, trial, replicate, None)
        weighing = grid.Weighing({"first": first}, lambda: weights)
        return dataclasses.replace(plain, weighing=weighing)

    drawn = replicates_of(frozen, dataset, banks)
    wanted = [weigh(drawn[number], "one") for number in (3, 0)]
    requests = [training.make_request(run, student) for student in wanted]
    job = training.make_job(run, wanted, requests)
    for student, member in zip(wanted, job.members, strict=True):
        index = student.replicate.transfer
        expected = (index + 1 + 0.5 * student.replicate.number) * (1 + 2 * dataset.labels[index])
        np.testing.assert_array_equal(job.rows.weight[member.group], expected)
    # A student that is weighed by another first one is another student.
    plain = training.make_request(run, dataclasses.replace(wanted[0], weighing=None))
    other = training.make_request(run, weigh(drawn[3], "two"))
    assert len({plain.fingerprint, other.fingerprint, requests[0].fingerprint}) == 3
