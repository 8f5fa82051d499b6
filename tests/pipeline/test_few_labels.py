"""Hidden labels reach nothing: with others in their place, a run gives the same to the byte."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.core import seeds
from lelp_jax.data import few_labels
from lelp_jax.data.dataset import Dataset
from tests.helpers import tiny
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns a run, and one in which all labels are others but those that teacher 0 knows.

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_labels, "draw_labelled", lambda dataset, count, seed: kept[seed])
        for name, found in (("one", dataset), ("other", poison(dataset, first))):
            patch.setattr(data, "load", lambda source, split, found=found: found)
            assert tiny.launch(folder / "few.py", folder / name) == 0
    return folder / "one", folder / "other"


def poison(dataset: Dataset, known: np.ndarray) -> Dataset:
    """Turns the labels of all other training rows around and permutes their fine labels."""
    hidden = np.setdiff1d(dataset.train, known)
    assert dataset.fine_labels is not None
    labels, fine = dataset.labels.copy(), dataset.fine_labels.copy()
    labels[hidden] = 1 - labels[hidden]
    fine[hidden] = np.random.default_rng(0).permutation(fine[hidden])
    return dataclasses.replace(dataset, labels=labels, fine_labels=fine)


@pytest.mark.slow
def test_hidden_labels_reach_no_student(runs: tuple[Path, Path]) -> None:
    """Numbers that training gives are equal to the last bit, and so are all fingerprints."""
    lines = [
        {(line["method"], line["replicate"]): line for line in tiny.results(run)} for run in runs
    ]
    keys = ("fingerprint", "validation", "test", "teacher_test", "parameters")
    for name in NAMES:
        one, other = (found[name, 0] for found in lines)
        assert [key for key in keys if one[key] != other[key]] == []
        # The other teacher knows labels that are other ones now.
        one, other = (found[name, 1] for found in lines)
        assert [key for key in keys if one[key] == other[key]] == ["parameters"]
    answers = [np.load(run / "report/test_predictions.npz") for run in runs]
    chosen = (answers[0]["replicate"] == 0) & np.isin(answers[0]["method"], NAMES)
    assert chosen.sum() == len(NAMES)
    one, other = (found["class_logits"][chosen] for found in answers)
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_hidden_labels_reach_no_teacher_and_no_projection(runs: tuple[Path, Path]) -> None:
    one, other = map(tiny.snapshot, runs)
    for stage, count in (("banks", 3), ("projections", 1)):
        common = [
            name
            for name in one.keys() & other.keys()
            if name.startswith(f"{stage}/") and not name.endswith("stage.json")
        ]
        # Those of teacher 0: its own, one trained on subclasses and one with a new output layer.
        assert len({name.split("/")[1] for name in common}) == count
        assert [name for name in common if one[name] != other[name]] == []
