"""Hidden labels reach nothing: with others in their place, training gives the same to the bit."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from lelp_jax import data, pipeline
from lelp_jax.cli.config_file import load_config
from lelp_jax.core import seeds
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.data import few_labels
from lelp_jax.data.dataset import Dataset
from lelp_jax.projection import base
from lelp_jax.report import stage as report
from lelp_jax.students.selection import Outcome
from tests.helpers.config_files import changing

NAMES = ("labels", "kd", "lelp", "subclass_distillation", "subclass_matched")
CONFIG = changing(
    "digits",
    f"""
    config.methods = methods.default_config(*{NAMES}, trials=1)
    config.methods.lelp.membership = ("teacher",)
    for name in ("lelp", "subclass_distillation", "subclass_matched"):
        config.methods[name].num_subclasses = (3,)
    config.data.labelled_rows = 40
    config.data.transfer_size = 0
    config.teacher.model.hidden = (16,)
    config.teacher.train.steps = 60
    config.teacher.train.batch_size = 32
    config.teacher.train.class_weights = ("balanced",)
    config.student.model.hidden = (8,)
    config.student.train.steps = 60
    config.student.train.class_weights = ("balanced",)
    """,
)
Students = dict[tuple[str, int], Outcome]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Students, Students]:
    """Returns students, and those if all labels are others but those that teacher 0 knows.

    Which rows keep their labels depends on the labels of all, so those of the first run are kept.
    """
    folder = tmp_path_factory.mktemp("few")
    (folder / "few.py").write_text(CONFIG)
    dataset = data.load(data.SOURCES["digits"](), data.Split((0.6, 0.2, 0.2), 0))
    kept = {
        seed: few_labels.draw_labelled(dataset, 40, seed)
        for seed in (seeds.derive(0, "labelled", number) for number in range(2))
    }
    first, second = kept.values()
    assert len(np.setdiff1d(second, first)) > 20
    reached: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_labels, "draw_labelled", lambda dataset, count, seed: kept[seed])
        # What follows training takes most of a small run's time.
        patch.setattr(pipeline.export, "ensure", lambda *given: {})
        patch.setattr(report, "ensure", lambda run, compared: reached.append(compared))
        for name, found in (("one", dataset), ("other", poison(dataset, first))):
            patch.setattr(data, "load", lambda source, split, found=found: found)
            raw = load_config(folder / "few.py", []).to_dict()
            pipeline.run("few", raw, folder / name, Interrupts(), Reporter())
    one, other = (
        {(each.student.trial.method, each.student.replicate.number): each for each in made.outcomes}
        for made in reached
    )
    return one, other


def poison(dataset: Dataset, known: np.ndarray) -> Dataset:
    """Turns the labels of all other training rows around and permutes their fine labels."""
    hidden = np.setdiff1d(dataset.train, known)
    assert dataset.fine_labels is not None
    labels, fine = dataset.labels.copy(), dataset.fine_labels.copy()
    labels[hidden] = 1 - labels[hidden]
    fine[hidden] = np.random.default_rng(0).permutation(fine[hidden])
    return dataclasses.replace(dataset, labels=labels, fine_labels=fine)


def read(outcome: Outcome) -> dict[str, Any]:
    """Returns all that a student has been made of, by kind."""
    student, rows = outcome.student, outcome.student.replicate.dataset.inputs
    teacher, bank = student.replicate.teacher, student.replicate.bank
    assert teacher.network is not None
    projection = student.projection
    return {
        "names": [outcome.trained.fingerprint, teacher.fingerprint, bank.fingerprint],
        "teacher": teacher.network.load(),
        "answers": [bank.logits[:], np.asarray(bank.embeddings[:]), bank.output_weights],
        "projection": dict(base.arrays_of(projection)) if projection else student.constants,
        "student": outcome.trained.load(student.spec, rows),
        "validation": dict(outcome.trained.validation),
    }


def equal(one: Any, other: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


@pytest.mark.slow
@pytest.mark.parametrize("method", NAMES)
def test_hidden_labels_reach_nothing(method: str, runs: tuple[Students, Students]) -> None:
    one, other = (read(run[method, 0]) for run in runs)
    assert [kind for kind in one if not equal(one[kind], other[kind])] == []
    # The other teacher knows labels that are other ones now.
    one, other = (read(run[method, 1]) for run in runs)
    assert not set(one["names"]) & set(other["names"])
    for kind in ("teacher", "answers", "student", "validation"):
        assert not equal(one[kind], other[kind]), kind


@pytest.mark.slow
def test_students_know_the_labels_of_their_teacher(runs: tuple[Students, Students]) -> None:
    for run in runs:
        known = [run["kd", number].student.replicate.dataset.labelled_train for number in range(2)]
        assert [len(rows) for rows in known] == [40, 40]
        assert not np.array_equal(*known)
