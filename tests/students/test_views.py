"""Views of images: their numbers, and that students see what the teacher has answered for."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.augmentation.config import Augmentation
from lelp_jax.bank import stage
from lelp_jax.bank.stage import BankConfig, ViewedImages
from lelp_jax.bank.views import Views
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment import config
from lelp_jax.experiment.run import Run
from lelp_jax.inputs.images import Images
from lelp_jax.methods.base import Dims
from lelp_jax.models.pixels import scale_pixels
from lelp_jax.projection.random_split import RandomSplit
from lelp_jax.students import grid, projections, training
from lelp_jax.students.replicates import Replicate
from lelp_jax.students.trials import enumerate_trials
from lelp_jax.teachers.base import Network, Teacher
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import StepSpec
from tests.helpers import tiny
from tests.helpers.fleets import BATCH
from tests.helpers.image_fleets import CHANGES, IMAGES, LABELS, Pixels, watching_spec

COUNT = 3
VIEWS = Views(len(IMAGES), COUNT, CHANGES, 5)
TRAIN, VALIDATION = np.arange(1, 17), np.array([0, 17, 18])
WEIGHTS = np.random.default_rng(4).normal(size=(IMAGES[0].size, 2)).astype(np.float32)


@given(st.data())
def test_numbers_are_sorted_and_tell_image_and_view(draw: st.DataObject) -> None:
    rows, count = draw.draw(st.integers(1, 1000)), draw.draw(st.integers(1, 20))
    chosen = draw.draw(st.sets(st.integers(0, rows - 1), min_size=1))
    index = np.array(sorted(chosen))
    views = Views(rows, count, CHANGES, 0)
    numbers = views.list_numbers(index)
    assert (np.diff(numbers) > 0).all()
    assert numbers.min() >= rows
    assert len(numbers) == count * len(index)
    np.testing.assert_array_equal(views.find_index(numbers), np.tile(index, count))
    np.testing.assert_array_equal(views.find_index(index), index)
    assert len(np.unique(views.derive_seeds(numbers))) == len(numbers)


def test_view_0_is_the_image_and_views_depend_on_seed_image_and_number_alone() -> None:
    index = np.arange(len(IMAGES))
    np.testing.assert_array_equal(VIEWS.render(IMAGES, index), IMAGES)
    numbers = VIEWS.list_numbers(index)
    shown = VIEWS.render(IMAGES[VIEWS.find_index(numbers)], numbers)
    assert shown.dtype == np.uint8
    mixed = np.array([numbers[30], 3, numbers[7]])
    found = VIEWS.render(IMAGES[VIEWS.find_index(mixed)], mixed)
    np.testing.assert_array_equal(found, [shown[30], IMAGES[3], shown[7]])
    changed = (shown.reshape(COUNT, *IMAGES.shape) != IMAGES).any(axis=(2, 3, 4))
    assert changed.mean() > 0.9
    other = dataclasses.replace(VIEWS, seed=6).render(IMAGES[VIEWS.find_index(numbers)], numbers)
    assert (other != shown).any(axis=(1, 2, 3)).mean() > 0.9


def answer(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers as a teacher does whose embedding is all pixels."""
    embedding = scale_pixels(images).reshape(len(images), -1)
    return embedding @ WEIGHTS, embedding


def make_teacher() -> Teacher:
    nothing: Any = None
    return Teacher(
        fingerprint="t",
        dims=IMAGES[0].size,
        outputs=2,
        answers=lambda index: answer(IMAGES[index]),
        class_logits=nothing,
        output_weights=lambda: WEIGHTS,
        answers_test=True,
        hint="",
        network=Network(Pixels(2), nothing, nothing, "", answer),
    )


def make_run(workdir: Path, changes: Augmentation = CHANGES) -> Run:
    raw = load_config(tiny.ROOT / "configs" / "digits.py", ["quick"]).to_dict()
    raw["student"] |= {"inputs": {"name": "images"}, "model": {"name": "small_cnn", "widths": (2,)}}
    raw["student"]["train"] |= {"batch_size": BATCH, "augmentation": dataclasses.asdict(changes)}
    raw["bank"]["views"] = COUNT
    dataset = Dataset(
        inputs=IMAGES,
        labels=LABELS.astype(np.int32),
        fine_labels=None,
        train=TRAIN,
        validation=VALIDATION,
        test=np.array([19]),
        class_names=("bars", "rows"),
        fine_names=(),
        preprocessing=None,
    )
    session = Session(Reporter(), Interrupts(), CurveLog(workdir / "metrics.jsonl"), 60)
    seen = Images().ensure(workdir, dataset, session)
    frozen = config.from_config_dict(raw)
    return Run("images", workdir, workdir, frozen, dataset, (dataset,), seen, session)


def make_replicate(run: Run, bank: Any) -> Replicate:
    return Replicate(0, 0, make_teacher(), bank, run.dataset, TRAIN[2:14], 3, VIEWS)


def make_job(run: Run, replicate: Replicate, method: str, spec: StepSpec | None = None) -> Any:
    entry = run.config.methods[method]
    student = grid._make_student(run, entry.method, enumerate_trials(entry, 0)[0], replicate, None)
    if spec is not None:
        student = dataclasses.replace(student, spec=spec)
    return training.make_job(run, [student], [training.make_request(run, student)])


def test_a_student_is_shown_the_images_that_the_teacher_answered_for(tmp_path: Path) -> None:
    run, steps = make_run(tmp_path), 6
    viewed = ViewedImages(IMAGES, VIEWS)
    bank = stage.ensure(tmp_path, BankConfig(), make_teacher(), run.dataset, run.session, viewed)
    # Validation rows have no views.
    assert len(bank.index) == len(TRAIN) * (1 + COUNT) + len(VALIDATION)
    replicate = make_replicate(run, bank)
    spec = watching_spec(steps, augmentation=CHANGES, dims=Dims(2, IMAGES[0].size, 0, steps))
    runner = Runner(make_job(run, replicate, "kd", spec))
    assert runner.job.rows.view.shape == (1, COUNT * 12)
    state = runner.new_state()
    for first in range(0, steps, runner.steps):
        state, _ = runner.dispatch(state, first)
    seen = {name: np.asarray(value)[0] for name, value in state.members.method.items()}
    shown = seen["student"].reshape(steps * BATCH, -1)
    # Pixel for pixel, as the logits of an image differ from those of any other.
    np.testing.assert_allclose(shown @ WEIGHTS, seen["logits"].reshape(-1, 2), atol=1e-4)
    numbers = replicate.list_shown(replicate.transfer)
    every = answer(VIEWS.render(IMAGES[VIEWS.find_index(numbers)], numbers))[1]
    found = (shown[:, None] == every).all(axis=2)
    assert (found.sum(axis=1) == 1).all()
    # A pass over all views shows each of them once.
    assert found[: COUNT * 12].sum() == COUNT * 12
    labels = LABELS[VIEWS.find_index(numbers)]
    np.testing.assert_array_equal(labels[found.argmax(axis=1)], seen["label"].ravel())


def test_logits_of_a_view_reach_its_row_and_no_other(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    index = np.concatenate([np.arange(19), VIEWS.list_numbers(TRAIN)])
    logits = np.random.default_rng(0).normal(size=(len(index), 2)).astype(np.float32)

    def find_positions(numbers: np.ndarray) -> np.ndarray:
        position = np.searchsorted(index, numbers)
        np.testing.assert_array_equal(index[position], numbers)
        return position

    def job(logits: np.ndarray) -> Any:
        bank: Any = SimpleNamespace(
            fingerprint="b", logits=logits, embeddings=logits, find_positions=find_positions
        )
        return make_job(run, make_replicate(run, bank), "kd")

    sound = job(logits).rows
    poisoned = logits.copy()
    number = 2 * len(IMAGES) + TRAIN[5]
    poisoned[np.searchsorted(index, number)] = 99
    changed = job(poisoned).rows
    rows = np.flatnonzero((changed.teacher_logits != sound.teacher_logits).any(axis=(0, 2)))
    assert len(rows) == 1
    # The table of inputs holds the training rows.
    assert TRAIN[sound.row[0, rows[0]]] == TRAIN[5]
    assert sound.view[0, rows[0]] == VIEWS.derive_seeds(np.array([number]))[0]
    # What the image itself is answered is not asked for.
    poisoned = logits.copy()
    poisoned[:19] = 99
    np.testing.assert_array_equal(job(poisoned).rows.teacher_logits, sound.teacher_logits)
    # Students of methods without a teacher see the same views.
    plain = make_job(run, make_replicate(run, SimpleNamespace()), "labels").rows
    assert plain.teacher_logits is None
    np.testing.assert_array_equal(np.sort(plain.view), np.sort(sound.view))


def test_an_image_keeps_its_random_pseudo_subclass_in_all_views(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    bank: Any = SimpleNamespace(
        embeddings=np.zeros((200, 1), np.float32), find_positions=lambda numbers: numbers % 200
    )
    replicate = make_replicate(run, bank)
    shown = replicate.list_shown(replicate.transfer)
    split = RandomSplit(np.array(7), np.ones((2, 3), bool))
    scores = projections.score_rows(split, replicate, shown)
    by_view = scores.reshape(COUNT, 12, 2, 3)
    np.testing.assert_array_equal(by_view, np.broadcast_to(by_view[0], by_view.shape))
    assert len(np.unique(by_view[0].argmax(axis=-1))) == 3


def test_a_banks_fingerprint_covers_its_views(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    others = ({}, {"count": 2}, {"seed": 6}, {"augmentation": Augmentation(flip=0.5)})
    viewed = [ViewedImages(IMAGES, dataclasses.replace(VIEWS, **changed)) for changed in others]
    banks = [
        stage.ensure(tmp_path, BankConfig(), make_teacher(), run.dataset, run.session, each)
        for each in (*viewed, None)
    ]
    assert len({bank.fingerprint for bank in banks}) == len(banks)
