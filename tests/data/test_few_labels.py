"""Which training rows keep their label where labels are few, and what is known of the others."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.data.few_labels import draw_labelled, hide_labels
from tests.helpers import planted

SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=6)


def make(sizes: list[int], unlabelled: int = 0) -> Dataset:
    """Returns training rows of each class and without one, then a row of each class to validate."""
    classes = np.arange(len(sizes))
    train = np.repeat([UNLABELLED, *classes], [unlabelled, *sizes])
    train = np.random.default_rng(0).permutation(train)
    labels = np.concatenate([train, classes])
    rows = np.arange(len(labels))
    return dataclasses.replace(
        planted.dataset(labels, rows[:, None]),
        train=rows[: len(train)],
        validation=rows[len(train) :],
        fine_labels=np.where(labels < 0, UNLABELLED, 2 * labels + rows % 2).astype(np.int32),
        fine_names=tuple(map(str, range(2 * len(sizes)))),
    )


@given(SIZES, st.integers(0, 20), st.data(), st.integers(0, 99))
def test_a_draw_is_in_proportion_and_part_of_every_larger_one(
    sizes: list[int], unlabelled: int, data: st.DataObject, seed: int
) -> None:
    dataset, classes, total = make(sizes, unlabelled), len(sizes), sum(sizes)
    count = data.draw(st.integers(classes, total))
    drawn = draw_labelled(dataset, count, seed)
    assert np.array_equal(drawn, np.unique(drawn))
    assert np.isin(drawn, dataset.labelled_train).all()
    counts = np.bincount(dataset.labels[drawn], minlength=classes)
    assert counts.sum() == count
    assert counts.min() >= 1
    # Webster's criterion: moving a row between two classes brings their shares no nearer. A single
    # row is not moved.
    for count_of, size in zip(counts, sizes, strict=True):
        if count_of > 1:
            full = [other < size_of for other, size_of in zip(counts, sizes, strict=True)]
            rises = [(other + 0.5) / size_of for other, size_of in zip(counts, sizes, strict=True)]
            least = min([rise for rise, yes in zip(rises, full, strict=True) if yes], default=2.0)
            assert (count_of - 0.5) / size <= least
    larger = draw_labelled(dataset, data.draw(st.integers(count, total)), seed)
    assert np.isin(drawn, larger).all()


def test_every_row_is_drawn_about_equally_often() -> None:
    dataset = make([30, 60])
    often = np.zeros(len(dataset.labels), int)
    for seed in range(2000):
        often[draw_labelled(dataset, 15, seed)] += 1
    # A binomial's deviation is 17 here.
    assert np.abs(often[dataset.train] - 2000 * 15 / 90).max() < 75
    assert not often[dataset.validation].any()


def test_what_is_hidden_is_as_if_it_had_never_been_labelled() -> None:
    dataset = make([30, 20], unlabelled=7)
    bare, (first, second) = hide_labels(dataset, 10, (1, 2))
    assert first.digest != second.digest
    assert not len(bare.labelled_train)
    for known, kept in (
        (bare, np.array([], int)),
        (first, draw_labelled(dataset, 10, 1)),
        (second, draw_labelled(dataset, 10, 2)),
    ):
        assert np.array_equal(known.labelled_train, kept)
        for name in ("labels", "fine_labels"):
            expected = getattr(dataset, name).copy()
            expected[np.setdiff1d(dataset.train, kept)] = UNLABELLED
            np.testing.assert_array_equal(getattr(known, name), expected)
        # Shared, and yet the digest is that of such data made anew.
        assert known.inputs is dataset.inputs
        assert known.digest == dataclasses.replace(known).digest
    # The labels of the data themselves stay, and other rows of the same labels are other data.
    assert len(dataset.labelled_train) == 50
    moved = dataclasses.replace(dataset, inputs=dataset.inputs + 1)
    assert moved.hide_labels(dataset.train).digest == moved.digest != dataset.digest


@given(st.integers(0, 9))
def test_a_digest_tells_nothing_of_hidden_labels(seed: int) -> None:
    dataset = make([30, 20])
    kept = draw_labelled(dataset, 10, seed)
    hidden = np.setdiff1d(dataset.train, kept)
    poisoned = {}
    for name in ("labels", "fine_labels"):
        poisoned[name] = getattr(dataset, name).copy()
        poisoned[name][hidden] = np.random.default_rng(seed).permutation(poisoned[name][hidden])
    other = dataclasses.replace(dataset, **poisoned)
    assert other.digest != dataset.digest
    assert other.hide_labels(kept).digest == dataset.hide_labels(kept).digest
    changed = dataset.labels.copy()
    changed[kept[0]] = 1 - changed[kept[0]]
    different = dataclasses.replace(dataset, labels=changed)
    assert different.hide_labels(kept).digest != dataset.hide_labels(kept).digest


@pytest.mark.parametrize("count", [0, 50])
def test_where_nothing_is_hidden_the_data_are_what_they_were(count: int) -> None:
    dataset = make([30, 20], unlabelled=3)
    bare, known = hide_labels(dataset, count, (1, 2, 3))
    assert bare is dataset
    assert all(each is dataset for each in known)
    assert len(known) == 3


@pytest.mark.parametrize(("count", "message"), [(1, "is below"), (51, "exceeds the 50 labelled")])
def test_too_few_or_too_many_are_refused(count: int, message: str) -> None:
    with pytest.raises(UserError, match=f"config.data.labelled_rows {count} {message}"):
        hide_labels(make([30, 20], unlabelled=7), count, (1,))
