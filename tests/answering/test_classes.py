"""Which output is which class: by name, and never by a guess that nothing confirms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.answering import classes
from lelp_jax.answering.classes import Matching
from lelp_jax.core.errors import UserError

NAMES = ("anger", "Joy", "sadness", "fear")


@given(st.permutations(range(4)))
def test_outputs_are_put_in_the_order_of_the_data(order: list[int]) -> None:
    model_names = [NAMES[number].upper() for number in order]
    found = classes.match(model_names, (), NAMES, named=True)
    assert [model_names[output] for output in found.outputs] == [name.upper() for name in NAMES]
    assert found.names == NAMES
    assert found.by_name
    assert ("are put in this order" in found.note) == (order != sorted(order))


@pytest.mark.parametrize("named", [False, True])
def test_numbers_as_names_are_names(named: bool) -> None:
    found = classes.match(("1", "0"), (), ("0", "1"), named=named)
    assert found.outputs.tolist() == [1, 0]


def test_the_users_names_come_first() -> None:
    found = classes.match(("good", "bad"), ("bad", "good"), ("bad", "good"), named=True)
    assert found.outputs.tolist() == [0, 1]
    found = classes.match(("LABEL_0", "LABEL_1"), ("1", "0"), ("0", "1"), named=False)
    assert found.outputs.tolist() == [1, 0]


def test_the_largest_number_need_not_occur() -> None:
    found = classes.match(("a", "b", "c"), (), ("0", "1"), named=False)
    assert found.outputs.tolist() == [0, 1, 2]
    assert not found.by_name
    assert "no label is above 1, so give the run --config.data.num_classes=3" in found.note


@pytest.mark.parametrize(
    ("model_names", "given", "class_names", "named", "words"),
    [
        (("a", "b"), (), ("a", "b", "c"), True, "2 outputs (a, b), the data 3 classes (a, b, c)"),
        (("a", "b"), (), ("0", "1", "2"), False, "2 outputs"),
        (("a", "a"), (), ("a", "b"), True, "called a, a"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), (), ("a", "b"), True, "LABEL_2, the data's classes"),
        (("1", "2"), (), ("0", "1"), False, "called 1, 2, the data's classes 0, 1"),
    ],
)
def test_what_cannot_be_told_is_refused(model_names, given, class_names, named, words) -> None:
    with pytest.raises(UserError) as error:
        classes.match(model_names, given, class_names, named)
    assert words in str(error.value)


def matching(by_name: bool, count: int = 3) -> Matching:
    return Matching(np.arange(count), (), by_name, "")


@pytest.mark.parametrize("by_name", [False, True])
def test_labels_contradict_an_order_that_was_assumed(by_name: bool) -> None:
    labels = np.array([0, 1, 2, -1] * 30)
    # Two classes are swapped, which leaves the teacher better than chance would be.
    swapped = np.where(labels == 1, 2, np.where(labels == 2, 1, 0))
    if by_name:
        assert classes.check_agreement(matching(True), swapped, labels) == pytest.approx(1 / 3)
        return
    with pytest.raises(
        UserError, match=r"33.3 % of 90 .* 100.0 % if classes 0, 1, 2 are its outputs 0, 2, 1"
    ):
        classes.check_agreement(matching(False), swapped, labels)


@given(st.integers(0, 2**32 - 1))
def test_a_weak_teacher_in_the_right_order_passes(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, 200)
    predicted = np.where(random.random(200) < 0.3, labels, random.integers(0, 3, 200))
    right = classes.check_agreement(matching(False), predicted, labels)
    assert right == pytest.approx((labels == predicted).mean())


def test_without_labels_nothing_is_compared() -> None:
    assert classes.check_agreement(matching(False), np.zeros(3, int), np.full(3, -1)) is None
