"""What becomes of the columns of an ordinary table."""

import datetime
import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.columns import BUCKETS, read_facts, write_facts
from lelp_jax.data.sources.table import Table

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
ROWS = 200
RANDOM = np.random.default_rng(0)
LABEL = np.arange(ROWS) % 2
DAY = datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC)


def load(columns: dict, name: str = "t.parquet", **settings: object) -> data.Dataset:
    """Loads a table of columns and a label."""
    table = pa.table({**columns, "label": LABEL[: len(next(iter(columns.values())))]})
    parquet.write_table(table, name)
    return data.load(Table(train=name, **settings), SPLIT)


def with_holes(values: np.ndarray, share: float = 0.2) -> list:
    """Returns values as a list in which some are missing."""
    holes = np.random.default_rng(1).random(len(values)) < share
    return [None if hole else value for hole, value in zip(holes, values.tolist(), strict=True)]


def test_numbers_are_those_of_scikit_learn() -> None:
    values = with_holes(RANDOM.normal(size=ROWS) * 5 + 1e6)
    dataset = load({"x": values})
    raw = np.array(values, float)[:, None]
    imputer = SimpleImputer(strategy="median", add_indicator=True).fit(raw[dataset.train])
    filled = imputer.transform(raw)
    scaler = StandardScaler().fit(filled[dataset.train, :1])
    np.testing.assert_allclose(dataset.inputs[:, :1], scaler.transform(filled[:, :1]), rtol=1e-6)
    np.testing.assert_array_equal(dataset.inputs[:, 1], filled[:, 1])
    assert dataset.preprocessing.columns == ("x", "x is missing")


def test_texts_are_those_of_scikit_learn() -> None:
    values = RANDOM.choice(["red", "green", "blue", "", "Grün"], ROWS).astype(object)
    dataset = load({"colour": values})
    encoder = OneHotEncoder(sparse_output=False).fit(values[dataset.train, None])
    np.testing.assert_array_equal(dataset.inputs, encoder.transform(values[:, None]))
    names = ("is missing", "=Grün", "=blue", "=green", "=red")
    assert dataset.preprocessing.columns == tuple(
        f"colour{' ' * (not name.startswith('='))}{name}" for name in names
    )


def test_a_text_that_no_training_row_has_is_none_of_them(caplog: pytest.LogCaptureFixture) -> None:
    columns = {"colour": ["red", "green"] * 30, "label": [0, 1] * 30}
    parquet.write_table(pa.table(columns), "t.parquet")
    for name, colours in (
        ("test", ["red", "blue", "blue", " green "]),
        ("validation", ["red"] * 4),
    ):
        parquet.write_table(pa.table({"colour": colours, "label": [0, 1, 0, 1]}), f"{name}.parquet")
    source = Table("t.parquet", validation="validation.parquet", test="test.parquet")
    dataset = data.load(source, SPLIT)
    assert dataset.inputs[dataset.test].tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]]
    [warning] = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert warning.startswith(
        "column colour: the value of 2 of 68 rows is in no training row, such as 'blue'"
    )


def test_many_texts_share_buckets() -> None:
    names = [f"town {number}" for number in range(120)]
    values = RANDOM.permutation(names * 5).tolist()
    parquet.write_table(pa.table({"town": values, "label": [0, 1] * 300}), "t.parquet")
    dataset = data.load(Table("t.parquet"), SPLIT)
    assert dataset.inputs.shape == (600, BUCKETS)
    # Stable: the same in every process and every version.
    digest = hashlib.blake2b(b"town 7", digest_size=8).digest()
    bucket = int.from_bytes(digest, "little") % BUCKETS
    rows = [row for row, value in enumerate(values) if value == "town 7"]
    assert (dataset.inputs[rows].argmax(axis=1) == bucket).all()
    assert (dataset.inputs.sum(axis=1) == 1).all()
    assert dataset.preprocessing.columns[bucket] == f"town#{bucket}"


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "Europe/Berlin"), pa.string()],
)
def test_dates_are_seconds(kind: pa.DataType) -> None:
    seconds = RANDOM.integers(0, 10**6, ROWS)
    times = [DAY.replace(tzinfo=None) + datetime.timedelta(seconds=int(each)) for each in seconds]
    values = pa.array(times, pa.timestamp("s")).cast(kind)
    dataset = load({"when": values})
    scaler = StandardScaler().fit(seconds[dataset.train, None])
    np.testing.assert_allclose(dataset.inputs, scaler.transform(seconds[:, None]), atol=1e-6)
    holes = with_holes(values)
    flagged = load({"when": pa.array(holes, values.type)})
    missing = np.array([each is None for each in holes])
    np.testing.assert_array_equal(flagged.inputs[:, 1], missing)
    assert len(np.unique(flagged.inputs[missing, 0])) == 1


def test_fractions_of_seconds_and_years_before_1970_count() -> None:
    start = np.datetime64("1901-01-01T00:00:00.000")
    times = start + RANDOM.integers(0, 900, ROWS).astype("m8[ms]")
    dataset = load({"when": times})
    expected = StandardScaler().fit((times[dataset.train, None] - start).astype(float))
    found = expected.transform((times[:, None] - start).astype(float))
    # Seconds since 1970 are 2.2e9 below 0, where float64 numbers are 5e-7 apart.
    np.testing.assert_allclose(dataset.inputs, found, atol=1e-4)


def test_times_of_day_durations_booleans_and_decimals_are_numbers() -> None:
    seconds = RANDOM.integers(0, 86_400, ROWS)
    columns = {
        "time": pa.array(seconds, pa.int32()).cast(pa.time32("s")),
        "fine": pa.array(seconds * 10**9).cast(pa.time64("ns")),
        "duration": pa.array(seconds * 1000).cast(pa.duration("ms")),
        "decimal": pa.array(seconds).cast(pa.decimal128(30, 2)),
        "number": seconds.astype(np.float64),
    }
    inputs = load({**columns, "flag": seconds > 43_200}).inputs
    for column in range(4):
        np.testing.assert_allclose(inputs[:, column], inputs[:, 4], rtol=1e-6)
    assert len(np.unique(inputs[:, 5])) == 2


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float64()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float64(), 3),
        pa.list_view(pa.float64()),
    ],
)
def test_a_column_of_lists_is_a_block_of_features(kind: pa.DataType) -> None:
    values = RANDOM.normal(size=(ROWS, 3)) * [1, 1, 1e-12]
    dataset = load({"emb": pa.array(values.tolist(), kind), "x": LABEL.astype(float)})
    scaler = StandardScaler().fit(values[dataset.train])
    np.testing.assert_allclose(dataset.inputs[:, :2], scaler.transform(values)[:, :2], rtol=1e-5)
    # A dead dimension of an embedding, and a column of the table in a unit of its own.
    assert dataset.preprocessing.columns == ("emb[0]", "emb[1]", "emb[2]", "x")
    assert not dataset.inputs[:, 2].any()
    assert dataset.inputs[:, 3].any()


@pytest.mark.parametrize(
    "encode",
    [
        lambda texts: texts,
        lambda texts: texts.cast(pa.large_string()),
        lambda texts: texts.cast(pa.string_view()),
        lambda texts: texts.dictionary_encode(),
    ],
)
def test_how_texts_are_stored_changes_nothing(encode) -> None:
    texts = {
        "number": [str(n % 7 / 4) for n in range(ROWS)],
        "category": ["a", "b"] * (ROWS // 2),
        "when": [f"2024-01-{1 + n % 28:02}" for n in range(ROWS)],
        "name": [f"name {n}" for n in range(ROWS)],
    }
    dataset = load({name: encode(pa.array(values)) for name, values in texts.items()})
    expected = load({name: pa.array(values) for name, values in texts.items()})
    assert expected.preprocessing.columns == ("number", "category=a", "category=b", "when")
    assert dataset.digest == expected.digest


def test_only_training_rows_are_learnt_from() -> None:
    size = 60
    columns = {
        "x": np.where(np.arange(size) < 40, np.arange(size) % 5, 1e6).tolist(),
        "hole": [float(n % 3) if n < 40 else None for n in range(size)],
        "colour": ["red", "blue"] * 20 + ["grey"] * 20,
        "label": np.arange(size) % 2,
    }
    table = pa.table(columns)
    parquet.write_table(table[:40], "train.parquet")
    parquet.write_table(table[40:], "test.parquet")
    split = data.Split((0.5, 0.25, 0.25), 0)
    with_test = data.load(Table("train.parquet", test="test.parquet"), split)
    learnt = with_test.preprocessing
    assert learnt.columns == ("x", "hole", "colour=blue", "colour=red")
    train = with_test.train
    raw = np.array(columns["x"])[train]
    np.testing.assert_allclose(learnt.shift[0], raw.mean())
    assert not with_test.inputs[40:, 2:].any()


def test_every_value_and_what_was_learnt_of_it_name_the_data() -> None:
    base = {
        "x": with_holes(RANDOM.normal(size=ROWS)),
        "colour": RANDOM.choice(["a", "b"], ROWS).tolist(),
        "when": RANDOM.integers(0, 10**9, ROWS).astype("M8[s]"),
        "emb": RANDOM.normal(size=(ROWS, 2)).tolist(),
    }
    digests = {load(base).digest}
    for name, value in (("x", 5.5), ("colour", "c"), ("emb", [0.0, 0.0])):
        for row in (0, ROWS - 1):
            changed = list(base[name])
            changed[row] = value
            digests.add(load({**base, name: changed}).digest)
    # The inputs are the same, but a student handed over would encode other texts.
    digests.add(load({**base, "colour": [each.upper() for each in base["colour"]]}).digest)
    assert len(digests) == 8


def test_what_was_learnt_survives_json() -> None:
    dataset = load(
        {
            "x": with_holes(RANDOM.normal(size=ROWS)),
            "colour": ["a", "b"] * (ROWS // 2),
            "when": RANDOM.integers(0, 10**9, ROWS).astype("M8[s]"),
            "emb": RANDOM.normal(size=(ROWS, 2)).tolist(),
        }
    )
    table = dataset.preprocessing.table
    assert read_facts(json.loads(json.dumps(write_facts(table)))) == table


def test_the_log_says_what_the_features_are(caplog: pytest.LogCaptureFixture) -> None:
    columns = {
        "x": with_holes(RANDOM.normal(size=ROWS)),
        "same": [3.0] * ROWS,
        "colour": ["a", "b"] * (ROWS // 2),
        "when": RANDOM.integers(0, 10**9, ROWS).astype("M8[s]"),
        "emb": RANDOM.normal(size=(ROWS, 2)).tolist(),
        "name": [f"name {n}" for n in range(ROWS)],
    }
    with caplog.at_level(logging.INFO, "lelp_jax"):
        load(columns)
    assert caplog.messages == [
        "t.parquet: columns without numbers, or with texts that hardly repeat, are not used: name",
        "features are made of columns of numbers: x, same; dates: when; texts: colour (2); lists: "
        "emb (2); where a value is missing, the median of the training rows is used and a feature "
        "says so: x",
        "1 of 8 features are constant over the training rows and so set to 0: same",
    ]


def test_a_number_may_be_missing_where_no_training_row_lacks_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parquet.write_table(pa.table({"x": np.arange(9.0) / 2, "label": [0, 1, 0] * 3}), "t.parquet")
    parquet.write_table(pa.table({"x": [None, 1.0, 2.0], "label": [0, 1, 0]}), "test.parquet")
    parts = Table("t.parquet", validation="test.parquet", test="test.parquet")
    dataset = data.load(parts, SPLIT)
    assert dataset.inputs[dataset.test[0]] == 0
    assert "column x: the value is missing in 2 of 15 rows, but in no training row" in caplog.text


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("x\n1\n2\n", "x\n1\nred\n", r"test\.csv line 3, column x: 'red' is not a number"),
        ("x\n1\n2\n", "x\n1_0\n2\n", r"test\.csv line 2, column x: '1_0' is not a number"),
        ("x\n1\n2\n", "x\n2020-01-01\n\n", "line 2, column x: it holds dates, but numbers are"),
        ("x\n2020-01-01\n2020-01-02\n", "x\n2020-01-01\n1\n", "line 3.*: '1' is not among dates"),
        (
            "x\n2020-01-01 10:00\n2020-01-02 10:00\n",
            "x\n2020-01-01 10:00Z\n2020-01-01 10:00Z\n",
            "it holds dates with a time zone, but dates are needed",
        ),
        (
            "x\n2020-01-01\n2020-01-02\n2020-13-03\n",
            "x\n2020-01-01\n",
            r"train\.csv line 4, column x: '2020-13-03' is not among dates such as 2024-12-31",
        ),
    ],
)
def test_another_file_holds_the_same_kinds(train: str, test: str, message: str) -> None:
    for name, text in (("train", train), ("test", test)):
        header, *lines = text.splitlines()
        rows = [f"{line},{'ab'[n % 2]}" for n, line in enumerate(lines)]
        Path(f"{name}.csv").write_text("\n".join([f"{header},label", *rows]))
    with pytest.raises(UserError, match=message):
        Table("train.csv", test="test.csv").parts()


def test_categories_may_all_look_like_numbers_in_another_file() -> None:
    Path("train.csv").write_text("size,label\n" + "S,0\n007,1\ntrue,0\n" * 9)
    Path("test.csv").write_text("size,label\n007,0\ntrue,1\n")
    parts = Table("train.csv", test="test.csv").parts()
    assert parts.test is not None
    assert parts.test.inputs["size"].tolist() == ["007", "true"]
