"""An exported student treats rows as training did, however they are handed over."""

import datetime
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from lelp_jax import data, models
from lelp_jax.core.errors import UserError
from lelp_jax.data.preprocessing import standardization
from lelp_jax.data.sources.table import Table
from lelp_jax.deploy import export
from lelp_jax.deploy.export import ExportedStudent
from lelp_jax.inputs.features import FeatureEncoding
from tests.helpers import tiny
from tests.helpers.paths import CONFIGS

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
ROWS = 20
ZONED = st.datetimes(
    datetime.datetime(1950, 1, 1), datetime.datetime(2050, 1, 1), timezones=st.just(datetime.UTC)
)
VALUES = {
    "small": st.none() | st.integers(-3, 3),
    "large": st.integers(2**60, 2**60 + 5000),
    "real": st.none() | st.floats(-1e6, 1e6),
    "offset": st.floats(1.7e9, 1.7e9 + 100),
    "flag": st.none() | st.booleans(),
    "colour": st.none() | st.sampled_from(["red", "green", " blue", ""]),
    "when": st.none() | ZONED.map(lambda time: time.replace(tzinfo=None)),
    "zoned": st.none() | ZONED,
    "emb": st.lists(st.floats(-1, 1), min_size=2, max_size=2),
}


class Frame:
    """An array with names, which is what all data frames have in common."""

    def __init__(self, array: Any, columns: list[str]):
        self.array, self.columns = array, columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.array, dtype)

    def __len__(self) -> int:
        return len(self.array)


def build_student(encoding: FeatureEncoding, width: int) -> ExportedStudent:
    """Builds a student of random weights."""
    model = models.build({"name": "mlp", "hidden": (4,), "dropout": 0.0}, 2, 0)
    params = model.init(jax.random.key(0), np.zeros((1, width), np.float32))["params"]
    arrays = {"params": params, "statistics": {}, "extra": {}, "constants": {}}
    card = {"method": "kd", "numeric": {}}
    return ExportedStudent(("0", "1"), card, encoding, model, arrays)


def reload(dataset: data.Dataset) -> FeatureEncoding:
    """Returns the encoding as an export's folder keeps it."""
    assert dataset.preprocessing is not None
    facts = json.loads(json.dumps(FeatureEncoding(dataset.preprocessing).save(Path())))
    return FeatureEncoding.load(Path(), facts)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_raw_rows_of_any_table_are_seen_as_in_training(draw: st.DataObject) -> None:
    names = draw.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, unique=True))
    columns = {
        name: draw.draw(st.lists(VALUES[name], min_size=ROWS, max_size=ROWS)) for name in names
    }
    table = pa.table({**columns, "label": np.arange(ROWS) % 2})
    parquet.write_table(table, "t.parquet")
    try:
        dataset = data.load(Table("t.parquet"), SPLIT)
    except UserError as error:
        assume("same value" not in str(error) and "no feature column" not in str(error))
        raise
    student = build_student(reload(dataset), dataset.inputs.shape[1])
    expected = student._model.apply({"params": student._arrays["params"]}, dataset.inputs).logits
    forms: list[Any] = [
        columns,
        {**columns, "more": ["x"] * ROWS},
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        table.select(sorted(table.column_names, reverse=True)),
        parquet.read_table("t.parquet"),
        Table("t.parquet").parts().train.inputs,
    ]
    for form in forms:
        np.testing.assert_array_equal(student._encoding(form), dataset.inputs)
        np.testing.assert_allclose(student.class_logits(form), expected, atol=1e-5)
    # A row alone has too little in it to tell the kinds of its columns by.
    row = draw.draw(st.integers(0, ROWS - 1))
    alone = {name: values[row : row + 1] for name, values in columns.items()}
    np.testing.assert_array_equal(student._encoding(alone), dataset.inputs[row : row + 1])


@pytest.mark.slow
def test_a_student_of_a_mixed_table_answers_as_its_report_says(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    label = np.arange(150) % 2
    colour = np.where(random.random(150) < 0.8, np.array(["red", "blue"])[label], "green")
    size = np.where(random.random(150) < 0.1, np.nan, 1.7e9 + 90 * label + random.normal(size=150))
    when = np.datetime64("2024-01-01T00:00") + random.integers(0, 10**4, 150).astype("m8[m]")
    columns = {"colour": colour, "size": size, "when": when.astype(str)}
    names = ("", *columns, "label")
    rows = zip(range(150), *columns.values(), label, strict=True)
    lines = [",".join("" if each != each else str(each) for each in row) for row in rows]
    Path("t.csv").write_text("\n".join([",".join(names), *lines]))
    small = [
        f"--config.{who}.train.{setting}"
        for who in ("teacher", "student")
        for setting in ("steps=9", "batch_size=16")
    ]
    small += ["--config.teacher.count=1", "--config.replicates=1", "--config.methods.kd.trials=1"]
    small += [f"--config.methods.{name}.trials=0" for name in ("lelp", "soft_kmeans")]
    small += ["--config.methods.random_split.trials=0", "--config.data.train=t.csv"]
    assert tiny.launch(CONFIGS / "table.py", tmp_path, *small) == 0
    [line] = [line for line in tiny.results(tmp_path) if line["method"] == "kd"]
    student = export.load(tmp_path / line["student"])
    assert student.card["inputs"]["columns"][:3] == ["colour=blue", "colour=green", "colour=red"]
    test = data.load(Table("t.csv"), SPLIT).test
    kept = np.load(tmp_path / "report" / "test_predictions.npz")
    raw = {name: values[test] for name, values in columns.items()}
    logits = kept["class_logits"][kept["method"] == "kd"][0]
    np.testing.assert_allclose(student.class_logits(raw), logits, atol=1e-5)
    assert (
        "features are made of columns of numbers: size; dates: when; texts: colour (3)"
        in (tmp_path / "report" / "report.md").read_text()
    )


def load_numbers() -> tuple[data.Dataset, FeatureEncoding, np.ndarray]:
    """Loads a table of two columns of numbers; returns data, encoding and raw rows."""
    raw = np.random.default_rng(0).normal(size=(60, 2)) * [1, 1000] + [5, 1e6]
    lines = [f"{age!r},{income!r},{row % 2}" for row, (age, income) in enumerate(raw.tolist())]
    Path("t.csv").write_text("\n".join(["age,income,label", *lines]))
    dataset = data.load(Table("t.csv"), SPLIT)
    return dataset, reload(dataset), raw


def test_columns_are_taken_by_name_or_by_position() -> None:
    dataset, encoding, raw = load_numbers()
    structured = np.zeros(60, [("income", float), ("other", "U3"), ("age", float)])
    structured["age"], structured["income"] = raw.T
    for rows in (
        raw,
        raw.tolist(),
        structured,
        Frame(raw[:, ::-1], ["income", "age"]),
        {"income": raw[:, 1], "age": [str(age) for age in raw[:, 0].tolist()]},
        pa.table({"income": raw[:, 1], "age": raw[:, 0]}),
        pa.table({"income": raw[:, 1], "age": raw[:, 0]}).to_batches()[0],
    ):
        np.testing.assert_array_equal(encoding(rows), dataset.inputs)
    assert encoding(raw[:0]).shape == (0, 2)
    assert encoding({"age": [], "income": []}).shape == (0, 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((3, 1)), r"shape \(3, 1\), but numbers \[rows, 2\] are needed, or columns by"),
        (np.ones((3, 3)), r"shape \(3, 3\), but numbers \[rows, 2\] are needed"),
        (np.ones(2), r"shape \(2,\), but numbers \[rows, 2\] are needed"),
        ([[1, 2], [3]], r"numbers \[rows, 2\] are needed"),
        (np.array([["a", "b"]]), r"type <U1 .* numbers \[rows, 2\] are needed"),
        ({"age": [1]}, "no column 'income'; columns needed: age, income; given: age"),
        ({"age": [1], "income": [1, 2]}, "column income has 2 rows, column age 1"),
        ({"age": 1, "income": 2}, "column age is 1; give a list with a value per row"),
        ({"age": "1", "income": [2]}, "column age is '1'; give a list"),
        ({"age": [1, "x"], "income": [1, 2]}, "column age cannot be read: .*'x'"),
        ({"age": ["1", "x"], "income": [1, 2]}, "row 1, column age: 'x' is not a number"),
        ({"age": [[1], [1, 2]], "income": [1, 2]}, "column age: it holds lists, but numbers are"),
        ({"age": [[1]], "income": [1]}, "row 0, column age: it holds lists, but numbers are"),
        ({"age": [1, np.inf], "income": [1, 2]}, "row 1, column age: the value is not finite"),
        (np.array([[1, 1], [1, np.inf]]), "row 1, column income: the value is not finite"),
        (Frame(np.ones((1, 2)), ["age", "age"]), "the rows have column 'age' 2 times"),
        ([{"age": 1}, {"age": 2}], "no column 'income'"),
        ("age", r"numbers \[rows, 2\] are needed"),
        (None, r"numbers \[rows, 2\] are needed"),
    ],
)
def test_rows_that_are_not_those_of_training_are_refused(rows: Any, message: str) -> None:
    _, encoding, _ = load_numbers()
    with pytest.raises(UserError, match=message) as error:
        encoding(rows)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"when": [5], "colour": ["a"]}, "row 0, column when: it holds numbers, but dates"),
        ({"when": ["x"], "colour": ["a"]}, "row 0, column when: 'x' is not among dates"),
        ({"when": ["2024-01-01"], "colour": [["a"]]}, "row 0, column colour: it holds list"),
        (np.ones((3, 2)), r"not all numbers; give them by name.*: colour \(texts\), when \(dates"),
    ],
)
def test_rows_of_mixed_columns_that_are_refused(rows: Any, message: str) -> None:
    columns = {"colour": ["a", "b"] * 30, "when": np.arange(60).astype("M8[D]")}
    parquet.write_table(pa.table({**columns, "label": np.arange(60) % 2}), "t.parquet")
    encoding = reload(data.load(Table("t.parquet"), SPLIT))
    with pytest.raises(UserError, match=message):
        encoding(rows)
    assert encoding({"when": ["1970-01-02"], "colour": ["b"]}).shape == (1, 3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((3, 2, 4)), r"shape \(2, 4\), but those of training \(2, 3\)"),
        (np.ones((2, 3)), r"shape \(3,\), but those of training"),
        ({"a": [1]}, "the rows are dict of the type object"),
        ([["a"]], "the rows are list of the type <U1"),
        ([[1], [1, 2]], "the rows are no array of numbers"),
        (np.full((1, 2, 3), np.nan), "row 0, feature 0: the value is not finite"),
    ],
)
def test_arrays_without_names_are_checked(rows: Any, message: str) -> None:
    raw = np.random.default_rng(0).normal(size=(10, 2, 3))
    encoding = FeatureEncoding(standardization(raw, same_unit=True))
    with pytest.raises(UserError, match=message):
        encoding(rows)
