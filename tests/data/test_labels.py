"""What labels mean: numbers, names, and the mark of rows that have none."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from lelp_jax import data
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.data import labels
from lelp_jax.main import main
from tests.helpers.error_lines import only_error
from tests.helpers.paths import CONFIGS

SPLIT = data.Split((0.6, 0.2, 0.2), 0)


def read(raw: np.ndarray | list, mark: str = labels.AUTO) -> labels.LabelColumn:
    values = raw if isinstance(raw, np.ndarray) else np.array(raw, object)
    return labels.read(values, "label", lambda row: f"t.csv line {row + 2}", mark)


def code(
    raw: np.ndarray | list, mark: str = labels.AUTO, num_classes: int = 0
) -> tuple[tuple[str, ...], list[int]]:
    """Returns the names of the classes and the class of each row."""
    column = read(raw, mark)
    coding = labels.fit_coding(column, num_classes)
    return coding.names, coding.classes(column).tolist()


@given(
    st.lists(
        st.one_of(st.none(), st.integers(0, 40).map(str), st.sampled_from(["", " 3", "+2"])),
        min_size=1,
    )
)
def test_whole_numbers_as_text_are_those_numbers(texts: list[str | None]) -> None:
    column = read(texts)
    assert column.numbers is not None
    expected = [int(text) if text else -1 for text in texts]
    assert np.append(column.numbers, -1)[column.codes].tolist() == expected


@given(st.lists(st.sampled_from(["1.10", "1.2", "007", "7e", "12e3", "9" * 20, "", "NA"])))
def test_other_texts_are_names_as_they_stand(texts: list[str]) -> None:
    column = read([*texts, "x"])
    assert column.by_name
    found = np.array([*column.distinct, ""], object)[column.codes].tolist()
    assert found == [*texts, "x"]


def test_too_large_labels_are_told_as_they_are() -> None:
    with pytest.raises(UserError, match=r"line 7: label 9223372036854775807 is too large"):
        read(np.array([0] * 5 + [2**63 - 1]))
    with pytest.raises(UserError, match=r"line 3: label 1e\+30 is not a whole number"):
        read(np.array([0.0, 1e30]))


@pytest.mark.parametrize("other", ["0.5", "01", "1e0", "1.0"])
def test_numbers_that_are_written_in_two_ways_are_refused(other: str) -> None:
    with pytest.raises(UserError, match=f"line 4: label {other} is not a whole number, but oth"):
        read(["0", "1", other])


@pytest.mark.parametrize("missing", ["NA", "nan", "NULL", ""])
def test_among_numbers_a_missing_one_is_no_class(missing: str) -> None:
    assert code(["0", "1", missing, "1"]) == (("0", "1"), [0, 1, -1, 1])
    assert code(["0.0", "1.0", missing, "1.0"]) == (("0", "1"), [0, 1, -1, 1])


# -1: a class, or no label.

# Each kind of column, with -1 in a third of the rows.
THIRDS = {
    "text": ["-1", "0", "1"] * 40,
    "plus": ["-1", "0", "+1"] * 40,
    "float text": ["-1.0", "0.0", "1.0"] * 40,
    "int": np.array([-1, 0, 1] * 40),
    "float": np.array([-1.0, 0.0, 1.0] * 40),
}


@pytest.mark.parametrize("kind", THIRDS)
def test_a_mark_that_is_as_common_as_a_class_is_asked_for(kind: str) -> None:
    raw = THIRDS[kind]
    with pytest.raises(UserError) as caught:
        code(raw)
    for part in (
        "t.csv line 2: label -1, in 40 of 120 training rows, would mean that they have no label",
        "as common as the label",
        "in 40; set --config.data.unlabelled=-1 if",
        "and --config.data.unlabelled= if -1 is a class",
    ):
        assert part in str(caught.value)
    assert code(raw, "-1")[1] == [-1, 0, 1] * 40
    names, classes = code(raw, "")
    assert classes == [0, 1, 2] * 40
    assert names == ("-1", "0", "1")
    # With another mark, -1 is a class like any other.
    assert code(raw, "?")[1] == [0, 1, 2] * 40
    # It is no class where it is known how many there are.
    assert code(raw, num_classes=2)[1] == [-1, 0, 1] * 40


def test_two_classes_minus_one_and_one() -> None:
    raw = ["-1", "+1"] * 30
    with pytest.raises(UserError, match=r"label -1, in 30 of 60 .*--config\.data\.unlabelled= if"):
        code(raw)
    assert code(raw, "") == (("-1", "1"), [0, 1] * 30)


def test_a_rare_mark_is_taken_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    log = mock.Mock()
    monkeypatch.setattr(labels, "_LOG", log)
    assert code(["0", "1"] * 20 + ["-1", "", "-1"])[1] == [0, 1] * 20 + [-1] * 3
    template, *values = log.info.call_args.args
    assert template % tuple(values) == (
        "3 of 43 training rows have no label in 'label': 2 hold -1, 1 nothing "
        "(t.csv line 42 is the first)"
    )
    log.reset_mock()
    code(["0", "1"] * 20)
    log.info.assert_not_called()


@pytest.mark.parametrize(("mark", "none"), [("?", "?"), ("99", "99"), ("99", "99.0"), ("0", "0")])
def test_any_text_or_number_may_be_the_mark(mark: str, none: str) -> None:
    names, classes = code(["1", "2", none, ""] * 5 + ["5"] * 9, mark, num_classes=6)
    assert classes == [1, 2, -1, -1] * 5 + [5] * 9
    assert len(names) == 6


def test_negative_numbers_of_other_files_are_matched_as_numbers() -> None:
    train = read(["-2", "0", "+2"] * 5, "")
    coding = labels.fit_coding(train)
    assert coding.names == ("-2", "0", "2")
    assert coding.classes(read(np.array([2.0, -2.0, np.nan]), "")).tolist() == [2, 0, -1]
    with pytest.raises(UserError, match="line 3: label '-1' is not among the classes; known: -2"):
        coding.classes(read(np.array([0, -1]), ""))
    named = labels.fit_coding(train, names=("bad", "so so", "good"))
    assert named.names == ("bad", "so so", "good")
    assert named.classes(train).tolist() == [0, 1, 2] * 5
    with pytest.raises(UserError, match=r"2 names of classes are given, but .* 3 names in"):
        labels.fit_coding(train, names=("bad", "good"))
    # Without a mark, the -1 of another file is no class of 0 and 1.
    coding = labels.fit_coding(read(["0", "1"] * 5, ""))
    with pytest.raises(UserError, match=r"line 2: label -1 is outside 0\.\.1; correct it, or name"):
        coding.classes(read(["-1", "1"], ""))


def test_fine_labels_may_lack_in_most_rows() -> None:
    column = read([-1] * 50 + [0, 1])
    assert labels.fit_coding(column, fine=True).classes(column).tolist() == [-1] * 50 + [0, 1]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("table", "t.csv"),
        ("files", "t.csv"),
        ("files", "t.jsonl"),
        ("files", "t.parquet"),
        ("arrays", "t.npz"),
    ],
)
def test_the_key_means_the_same_in_every_source(source: str, name: str) -> None:
    label = [-1, 0, 1] * 40
    table = pa.table({"x": np.arange(120.0), "text": ["a"] * 120, "label": label})
    np.savez("t.npz", inputs=np.arange(240.0).reshape(120, 2), labels=label)
    csv.write_csv(table, "t.csv")
    parquet.write_table(table, "t.parquet")
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))

    def classes(mark: str) -> list[int]:
        values = {"train": name, "unlabelled": mark}
        parts = sections.build(data.SOURCES[source], values, "config.data").parts()
        found: list[int] = parts.train.labels.tolist()
        return found

    with pytest.raises(UserError, match="-1, in 40 of 120 training rows, would mean"):
        classes("auto")
    assert classes("") == [0, 1, 2] * 40
    assert classes("-1") == label


def test_from_the_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 7},{i % 11}," for i in range(120)]
    half = [f"{row}{1 - i % 2 * 2}" for i, row in enumerate(rows)]
    Path("t.csv").write_text("\n".join(["x,y,label", *half]))
    flags = [f"--config={CONFIGS}/table.py:quick", "--config.data.train=t.csv", "--workdir=run"]
    assert main(["main", *flags]) == 2
    text = only_error(capfd.readouterr().err)
    assert "t.csv line 2: label -1, in 60 of 120 training rows" in text
    assert "--config.data.unlabelled= if -1 is a class" in text
    # -1 is rarer than the only class: what is left is no problem of two classes.
    few = [f"{row}{-1 if i < 9 else 1}" for i, row in enumerate(rows)]
    Path("t.csv").write_text("\n".join(["x,y,label", *few]))
    assert main(["main", *flags]) == 2
    text = only_error(capfd.readouterr().err)
    assert "class '0' has no labelled training row" in text
    assert "9 training rows have no label: if their mark, -1 by default, is a class, set" in text
    assert not Path("run").exists()
