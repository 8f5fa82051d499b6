"""Rows, labels, splits and preprocessing, whatever the source."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lelp_jax import data
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.data import loader
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.data.preprocessing import standardization
from lelp_jax.data.sources.arrays import Arrays
from lelp_jax.data.sources.digits import Digits
from lelp_jax.data.split import Strata, split_off
from tests.helpers import planted
from tests.helpers.paths import ROOT

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
INPUTS = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
LABELS = np.arange(100) % 2


def save(name: str = "t.npz", **arrays: np.ndarray) -> str:
    np.savez(name, **{"inputs": INPUTS, "labels": LABELS, **arrays})
    return name


def load(**arrays: np.ndarray) -> data.Dataset:
    return data.load(Arrays(train=save(**arrays)), SPLIT)


def test_digits_are_those_of_scikit_learn() -> None:
    rows = Digits(10).parts().train
    images, digits = load_digits(return_X_y=True)
    np.testing.assert_array_equal(rows.inputs, images.astype(np.float32))
    np.testing.assert_array_equal(rows.labels, digits)
    # Finished runs name their data by this.
    assert data.load(Digits(), SPLIT).digest == "859d36707aa50c1f"


def test_digits_that_are_not_there_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs digits\.csv\.gz, .* run: pip install"):
        Digits().parts()


def test_digits_are_read_without_slow_imports() -> None:
    code = """
import sys
from lelp_jax import data
data.load(data.SOURCES["digits"](), data.Split((0.6, 0.2, 0.2), 0))
slow = {"PIL", "jax", "pandas", "pyarrow", "scipy", "sklearn", "tensorflow_datasets"}
print(*sorted(slow & {*sys.modules}))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.stdout == "\n"


def test_digits_are_split_without_overlap_and_in_proportion() -> None:
    dataset = data.load(Digits(), SPLIT)
    parts = [dataset.train, dataset.validation, dataset.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(1797))
    assert [len(part) for part in parts] == [1077, 360, 360]
    assert dataset.fine_labels is not None
    whole = np.bincount(dataset.fine_labels) / 1797
    for part in parts:
        share = np.bincount(dataset.fine_labels[part]) / len(part)
        np.testing.assert_allclose(share, whole, atol=0.004)
    np.testing.assert_array_equal(dataset.labels, dataset.fine_labels % 2)


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (2, ("even", "odd")),
        (3, ("0/3/6/9", "1/4/7", "2/5/8")),
        (5, ("0/5", "1/6", "2/7", "3/8", "4/9")),
        (10, tuple("0123456789")),
    ],
)
def test_digits_in_more_classes_keep_their_fine_labels(classes: int, names: tuple) -> None:
    dataset = data.load(Digits(classes), SPLIT)
    assert dataset.class_names == names
    assert dataset.num_classes == classes
    assert dataset.fine_labels is not None
    assert dataset.fine_names == tuple("0123456789")
    for label, name in enumerate(names):
        digits = {0, 2, 4, 6, 8} if name == "even" else {1, 3, 5, 7, 9}
        wanted = digits if classes == 2 else {int(digit) for digit in name.split("/")}
        assert set(dataset.fine_labels[dataset.labels == label]) == wanted
    two = data.load(Digits(), SPLIT)
    assert (dataset.digest == two.digest) == (classes == 2)
    np.testing.assert_array_equal(dataset.fine_labels, two.fine_labels)


@pytest.mark.parametrize("classes", [-1, 0, 1, 11])
def test_digits_in_fewer_or_more_classes_than_there_are_are_refused(classes: int) -> None:
    with pytest.raises(UserError, match=rf"whole number in \[2, 10\], got {classes}"):
        sections.build(Digits, {"classes": classes}, "config.data")


def test_the_split_depends_on_its_own_seed_alone() -> None:
    again = data.load(Digits(), SPLIT)
    assert again.digest == data.load(Digits(), SPLIT).digest
    other = data.load(Digits(), data.Split(SPLIT.fractions, 1))
    assert other.digest != again.digest
    assert not np.array_equal(other.test, again.test)


def test_data_in_other_units_are_other_data(tmp_path: Path) -> None:
    """Standardised they are equal to the last bit, but not the map that a student ships with."""
    inputs = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    datasets = []
    for unit in (1, 4):
        path = tmp_path / f"unit{unit}.npz"
        np.savez(path, inputs=unit * inputs, labels=np.arange(200) % 2)
        datasets.append(data.load(Arrays(str(path)), SPLIT))
    first, second = datasets
    np.testing.assert_array_equal(first.inputs, second.inputs)
    assert not np.array_equal(first.preprocessing.scale, second.preprocessing.scale)
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("raw", "classes", "names"),
    [
        (LABELS.astype(np.uint8), LABELS, ("0", "1")),
        (LABELS.astype(bool), LABELS, ("0", "1")),
        (LABELS.astype(np.float32), LABELS, ("0", "1")),
        (np.array(["b", "a"])[LABELS], 1 - LABELS, ("a", "b")),
        (np.array([b"0", b"1"])[LABELS], LABELS, ("0", "1")),
    ],
)
def test_labels_of_every_type(raw: np.ndarray, classes: np.ndarray, names: tuple) -> None:
    dataset = load(labels=raw)
    np.testing.assert_array_equal(dataset.labels, classes)
    assert dataset.labels.dtype == np.int32
    assert dataset.class_names == names


@pytest.mark.parametrize(
    "raw",
    [
        np.where(np.arange(100) < 30, -1, LABELS),
        np.where(np.arange(100) < 30, np.nan, LABELS),
        np.where(np.arange(100) < 30, "", np.array(["a", "b"])[LABELS]),
    ],
)
def test_rows_without_a_label_all_stay_with_the_training_rows(raw: np.ndarray) -> None:
    dataset = load(labels=raw)
    assert (dataset.labels[:30] == UNLABELLED).all()
    assert set(range(30)) <= set(dataset.train.tolist())
    assert len(dataset.labelled_train) == len(dataset.train) - 30
    assert [len(dataset.validation), len(dataset.test)] == [14, 14]


def test_fine_labels_may_be_names_and_may_lack() -> None:
    names = np.array(["cat", "dog", "", "-1"])[np.arange(100) % 4]
    dataset = load(fine_labels=names)
    assert dataset.fine_names == ("cat", "dog")
    assert dataset.fine_labels is not None
    assert dataset.fine_labels.tolist() == [0, 1, -1, -1] * 25


def test_a_row_without_fine_label_is_a_stratum_of_its_own_class() -> None:
    # Class 1 without fine label must not be mixed up with the last fine label of class 0.
    classes = np.repeat([0, 1], [20, 80])
    fine = np.repeat([2, -1], [20, 80])
    _, taken = split_off(np.arange(100), Strata(classes, fine, ("a", "b")), 0.2, 0, "test")
    assert np.bincount(classes[taken]).tolist() == [4, 16]


def test_own_files_for_validation_and_test_are_not_divided() -> None:
    other = save("other.npz", inputs=INPUTS[:10], labels=LABELS[:10])
    dataset = data.load(Arrays(train=save(), validation=other, test=other), SPLIT)
    assert dataset.train.tolist() == list(range(100))
    assert dataset.validation.tolist() == list(range(100, 110))
    assert dataset.test.tolist() == list(range(110, 120))
    np.testing.assert_array_equal(dataset.inputs[:10], dataset.inputs[110:])


def test_a_class_that_a_split_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    log = mock.Mock()
    monkeypatch.setattr("lelp_jax.data.dataset._LOG", log)
    other = save("other.npz", inputs=INPUTS[:10], labels=np.zeros(10, int))
    data.load(Arrays(train=save(), validation=other), SPLIT)
    (call,) = log.warning.call_args_list
    assert call.args[0] % call.args[1:] == (
        "the validation rows hold no row of class 1, so validation metrics say nothing of it; "
        "roc_auc stays empty, and so may pr_auc"
    )


def test_a_moved_border_between_splits_is_another_data_set() -> None:
    first = planted.dataset(np.arange(6) % 2, INPUTS[:6])
    digests = set()
    for cuts in ((3, 5), (2, 4)):
        train, validation, test = np.split(np.arange(6), cuts)
        moved = dataclasses.replace(first, train=train, validation=validation, test=test)
        digests.add(moved.digest)
    assert len(digests) == 2


def test_preprocessing_is_fitted_on_training_rows_alone() -> None:
    other = save("other.npz", inputs=INPUTS + 100)
    dataset = data.load(Arrays(train=save(), validation=other, test=other), SPLIT)
    np.testing.assert_allclose(dataset.preprocessing.shift, INPUTS.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(dataset.inputs[dataset.train].std(axis=0), 1, rtol=1e-5)


def test_a_fine_label_of_one_row_makes_the_classes_be_divided_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = mock.Mock()
    monkeypatch.setattr("lelp_jax.data.split._LOG", log)
    dataset = load(fine_labels=np.where(np.arange(100) == 7, 9, LABELS))
    assert np.bincount(dataset.labels[dataset.test]).tolist() == [10, 10]
    log.warning.assert_any_call(mock.ANY, "test", "a fine label has a single row")


@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_division_takes_its_share_or_is_refused(
    counts: list[int], share: float, seed: int
) -> None:
    classes = np.repeat(np.arange(len(counts)), counts)
    names = tuple("abcde")[: len(counts)]
    arguments = (np.arange(len(classes)), Strata(classes, None, names), share, seed, "test")
    size = int(np.ceil(share * len(classes)))
    if min(counts) < 2:
        with pytest.raises(UserError, match=f"class '{names[counts.index(1)]}' has a single row"):
            split_off(*arguments)
        return
    if min(size, len(classes) - size) < len(counts):
        with pytest.raises(UserError, match="too few for one row of each"):
            split_off(*arguments)
        return
    kept, taken = split_off(*arguments)
    assert sorted([*kept, *taken]) == list(range(len(classes)))
    assert len(taken) == size
    reference = train_test_split(
        np.arange(len(classes)), test_size=share, random_state=seed, stratify=classes
    )
    np.testing.assert_array_equal(taken, np.sort(reference[1]))
    assert set(classes[kept]) == set(range(len(counts)))


def test_standardisation() -> None:
    raw = np.array([[1, 5, 0], [3, 5, 0], [5, 5, 0]], np.float32)
    scaling = standardization(raw, same_unit=True)
    np.testing.assert_allclose(scaling(raw)[:, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    assert (scaling(raw)[:, 1:] == 0).all()


def test_dead_dimensions_of_an_embedding_are_not_blown_up() -> None:
    # As in sentence embeddings: one dimension of noise at 1e-9 beside others at 0.08.
    generator = np.random.default_rng(0)
    raw = generator.normal(size=(500, 3)) * [0.08, 1e-9, 0.05] + [0.0, 3e-9, 0.1]
    inputs = standardization(raw.astype(np.float32), same_unit=True)(raw.astype(np.float32))
    np.testing.assert_allclose(inputs.std(axis=0), [1, 0, 1], rtol=1e-3)
    assert (inputs[:, 1] == 0).all()


def test_rounding_noise_around_a_large_mean_is_not_a_feature() -> None:
    raw = np.float32(0.1) + np.zeros((100, 2), np.float32)
    raw[::2, 0] = np.nextafter(np.float32(0.1), np.float32(1))
    raw[:, 1] = np.arange(100)
    inputs = standardization(raw, same_unit=False)(raw)
    assert (inputs[:, 0] == 0).all()


@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1e9, 1e30])
def test_columns_of_a_table_keep_their_own_unit(unit: float) -> None:
    raw = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    raw[:, 1] *= unit
    inputs = standardization(raw, same_unit=False)(raw)
    np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-4)


def test_every_epoch_shows_every_row_once_and_any_step_can_be_asked_for() -> None:
    whole = loader.batch_positions(seed=3, first_step=0, steps=30, batch_size=4, size=10)
    for epoch in whole.reshape(-1, 10):
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in whole.reshape(-1, 10)}) == 12
    later = loader.batch_positions(seed=3, first_step=7, steps=5, batch_size=4, size=10)
    np.testing.assert_array_equal(later, whole[7:12])
    other = loader.batch_positions(seed=4, first_step=0, steps=30, batch_size=4, size=10)
    assert not np.array_equal(other, whole)
