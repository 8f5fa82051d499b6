"""The test rows on which methods disagree, against counts by hand."""

import itertools

import numpy as np
import pytest

from lelp_jax.report.explorer.page import render_markdown
from lelp_jax.report.results.disagreement import Answer, Disagreement, describe, find_disagreement
from tests.helpers import planted


def logits(answers: list[list[int]], classes: int = 3, margin: float = 5.0) -> np.ndarray:
    """Returns logits of students by their answers, [replicates, rows]."""
    return margin * np.eye(classes, dtype=np.float32)[np.array(answers)]


def test_an_answer_is_that_of_most_replicates() -> None:
    """Four rows, three replicates."""
    index = np.array([7, 8, 9, 20])
    found = find_disagreement(
        index,
        {
            "labels": logits([[0, 1, 2, 0], [0, 1, 2, 0], [0, 1, 2, 0]]),
            "kd": logits([[0, 1, 1, 1], [0, 2, 1, 1], [1, 1, 2, 1]]),
            "lelp": logits([[0, 1, 1, 2], [0, 1, 1, 2], [0, 0, 1, 2]]),
        },
    )
    assert (found.methods, found.test_rows) == (3, 4)
    # Three answers are more disputed than two; single replicates do not count.
    assert found.disputed == [
        (20, (Answer(0, ("labels",)), Answer(1, ("kd",)), Answer(2, ("lelp",)))),
        (9, (Answer(1, ("kd", "lelp")), Answer(2, ("labels",)))),
    ]


def test_of_equally_many_replicates_the_more_probable_answer_counts() -> None:
    undecided = np.stack([3 * np.eye(3)[[0, 0]], 2 * np.eye(3)[[1, 1]]])
    undecided[1, 1] *= 2
    (row,) = find_disagreement(np.arange(2), {"a": undecided, "b": logits([[0, 0]])}).disputed
    assert row == (1, (Answer(1, ("a",)), Answer(0, ("b",))))


def test_rows_are_sorted_by_how_often_students_of_two_methods_differ() -> None:
    random = np.random.default_rng(0)
    votes = random.integers(0, 3, (4, 5, 40))
    names = ("a", "b", "c", "d")
    predictions = {name: logits(given.tolist()) for name, given in zip(names, votes, strict=True)}
    found = find_disagreement(np.arange(40), predictions)
    majority = np.array([[np.bincount(r, minlength=3).argmax() for r in v.T] for v in votes])
    different = {
        row: np.mean(
            [
                (f[:, None, row] != s[None, :, row]).mean()
                for f, s in itertools.combinations(votes, 2)
            ]
        )
        for row in range(40)
    }
    shown = [each.row for each in found.disputed]
    # Where no vote is tied, the rows are known.
    counts = np.sort([[np.bincount(r, minlength=3) for r in v.T] for v in votes], axis=-1)
    untied = np.flatnonzero((counts[..., 2] > counts[..., 1]).all(axis=0)).tolist()
    expected = {row for row in untied if len(set(majority[:, row])) > 1}
    assert expected == set(shown) & set(untied)
    amounts = [different[row] for row in shown]
    assert amounts == pytest.approx(sorted(amounts, reverse=True))


def test_methods_that_agree_have_nothing_disputed() -> None:
    same = logits([[0, 1]])
    assert find_disagreement(np.arange(2), {"a": same, "b": 2 * same}) == (2, 2, [])
    assert find_disagreement(np.arange(2), {"a": same}) == (1, 2, [])
    assert find_disagreement(np.arange(2), {}).disputed == []


# As text.


def disputed(rows: int, of: int = 40) -> Disagreement:
    return find_disagreement(
        np.arange(of),
        {
            "kd": logits([[0] * of], 2),
            "labels": logits([[0] * of], 2),
            "lelp": logits([[1] * rows + [0] * (of - rows)], 2),
        },
    )


def test_texts_are_listed_with_what_methods_say() -> None:
    names = ("no|<b>", "yes")
    texts = np.array(["a | *b*\n<i>"] + ["word " * 50] * 39, object)
    data = planted.dataset(np.arange(40) % 2, texts, class_names=names)
    section = describe(disputed(20), data)
    assert section.title == "Where methods disagree"
    assert "The 3 trained methods give different answers for 20 of 40 test rows (50.0 %)." in (
        section.text
    )
    assert "The 12 most disputed:" in section.text
    rows = section.text.splitlines()[2:]
    assert rows[0] == "| row | text | class | answers |"
    assert len(rows) == 2 + 12
    assert rows[2] == (r"| 0 | a \| \*b\* \<i> | no\|\<b> | no\|\<b>: kd, labels; yes: lelp |")
    assert len(rows[3]) < 200
    page = render_markdown(section.text)
    assert page.count("<tr>") == 13
    assert "<b>" not in page
    assert "<i>" not in page


def test_numbers_are_listed_by_name_and_images_are_not() -> None:
    labels = np.arange(40) % 2
    numbers = planted.dataset(
        labels, np.ones((40, 2)), ids=np.array([f"id {n}" for n in range(40)])
    )
    text = describe(disputed(2), numbers).text
    assert "| id 1 | class 1 | class 0: kd, labels; class 1: lelp |" in text
    assert "most disputed" not in text
    images = planted.dataset(labels, np.zeros((40, 2, 2, 1), np.uint8))
    assert "|" not in describe(disputed(2), images).text
    assert "0 of 40 test rows (0.0 %)" in describe(disputed(0), numbers).text
    assert "|" not in describe(disputed(0), numbers).text
    single = find_disagreement(np.arange(2), {"kd": logits([[0, 1]])})
    assert not describe(single, numbers).text


def test_of_many_methods_the_first_are_named() -> None:
    given = {f"method_{n}": logits([[0]], 2) for n in range(9)} | {"lelp": logits([[1]], 2)}
    data = planted.dataset(np.arange(2), np.ones((2, 2)))
    text = describe(find_disagreement(np.arange(1), given), data).text
    assert "method_3, method_4 and 4 more; class 1: lelp |" in text
