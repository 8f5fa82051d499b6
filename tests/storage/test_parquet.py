"""Parquet files as others write them, whole and damaged."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from lelp_jax.core.errors import UserError
from lelp_jax.storage import parquet as reading
from tests.helpers import stored

VALUES = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def save(columns: Any, **settings: Any) -> Path:
    parquet.write_table(pa.table(columns), "t.parquet", **settings)
    return Path("t.parquet")


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BATCH_ROWS", 8)


@pytest.mark.parametrize("group", [1, 7, 60])
@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
@pytest.mark.parametrize("kind", ["list", "large_list", "fixed", "dictionary"])
def test_lists_of_numbers_are_matrices(kind: str, compression: str, group: int) -> None:
    of = {
        "list": pa.list_(pa.float32()),
        "large_list": pa.large_list(pa.float32()),
        "fixed": pa.list_(pa.float32(), 4),
        "dictionary": pa.list_(pa.float32()),
    }[kind]
    lists = pa.array(VALUES.tolist(), of)
    path = save(
        {"x": lists, "n": pa.array(range(60))},
        row_group_size=group,
        compression=compression,
        use_dictionary=kind == "dictionary",
    )
    array = stored.read(path).array("x")
    assert array.shape == (60, 4)
    stored.same(array[:], VALUES)
    positions = np.random.default_rng(1).integers(0, 60, 100)
    stored.same(array[positions], VALUES[positions])
    for start in (0, 5, 50, 3):
        stored.same(array[start : start + 9], VALUES[start : start + 9])


def test_every_kind_of_column() -> None:
    columns = {
        "int8": pa.array([1, 2, 3], pa.int8()),
        "half": pa.array(np.array([1, 2, 3], np.float16)),
        "flag": pa.array([True, False, True]),
        "decimal": pa.array([Decimal("1.5"), Decimal("2.5"), Decimal("3.5")]),
        "text": pa.array(["a", "bcd", "é"]),
        "text view": pa.array(["a", "bcd", "é"], pa.string_view()),
        "list view": pa.array([[1.0, 2.0]] * 3, pa.list_view(pa.float64())),
        "decimals": pa.array([[Decimal("1.5")]] * 3),
        "tensor": pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float32(), [2]),
            pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2)),
        ),
        "category": pa.array(["a", "b", "a"]).dictionary_encode(),
        "coded": pa.array([7, 8, 7]).dictionary_encode(),
        "flags": pa.array([[True, False]] * 3),
        "dots.name": pa.array([[1.0, 2.0]] * 3),
    }
    wanted = {
        "int8": np.array([1, 2, 3], np.int8),
        "half": np.array([1, 2, 3], np.float16),
        "flag": np.array([True, False, True]),
        "decimal": np.array([1.5, 2.5, 3.5]),
        "text": np.array(["a", "bcd", "é"]),
        "text view": np.array(["a", "bcd", "é"]),
        "list view": np.array([[1.0, 2.0]] * 3),
        "decimals": np.array([[1.5]] * 3),
        "tensor": np.array([[1.0, 2.0]] * 3, np.float32),
        "category": np.array(["a", "b", "a"]),
        "coded": np.array([7, 8, 7]),
        "flags": np.array([[True, False]] * 3),
        "dots.name": np.array([[1.0, 2.0]] * 3),
    }
    bundle = stored.read(save(columns, row_group_size=2))
    assert bundle.names() == sorted(columns)
    for name, values in wanted.items():
        array = bundle.array(name)
        stored.same(array[:], values)
        stored.same(array[[2, 0]], values[[2, 0]])
        assert array.dtype.kind == values.dtype.kind


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1.0, 2.0]] * 41 + [[1.0]] * 2, "row 41 holds 1 numbers, row 0 holds 2; make all lists"),
        ([[1.0, 2.0]] * 41 + [None], "row 41: a value is missing"),
        ([[1.0, 2.0]] * 41 + [[1.0, None]], "row 41: a value is missing; fill it in or remove"),
        ([None] + [[1.0]] * 41, "row 0: a value is missing"),
        ([1.0] * 40 + [None], "row 40: a value is missing"),
        (["a"] * 40 + [None], "row 40: a value is missing"),
        ([["a"]] * 3, "holds list<.*>; numbers, texts or lists of numbers are needed"),
        ([{"a": 1}] * 3, "holds struct<.*>; numbers"),
        ([[[1.0]]] * 3, "holds list<.*>; numbers"),
        (pa.array([1, 2], pa.timestamp("s")), r"holds timestamp\[.*\]; numbers"),
        (pa.array([], pa.float32()), "has no rows"),
        (pa.array([], pa.list_(pa.float32())), "has no rows"),
    ],
)
def test_what_is_no_array_of_rows_names_the_row(values: Any, words: str) -> None:
    path = save({"x": values}, row_group_size=16)
    with pytest.raises(UserError, match=rf"t\.parquet, array 'x',? {words}") as error:
        stored.read(path).array("x")[:]
    assert "\n" not in str(error.value)


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    parquet.write_table(table, "t.parquet")
    with pytest.raises(UserError, match="holds column 'x' 2 times; rename one"):
        stored.read("t.parquet")


def test_a_column_is_read_when_its_first_rows_are_asked_for() -> None:
    array = stored.read(save({"x": VALUES.tolist()})).array("x")
    Path("t.parquet").write_bytes(b"")
    assert array.shape == (60, 4)
    with pytest.raises(UserError, match=r"array 'x' cannot be read as Parquet"):
        array[:1]


@given(size=st.integers(0, 100_000))
def test_a_file_that_is_cut_off_is_named(size: int) -> None:
    path = save({"x": VALUES.tolist()})
    stored.cut(path, size % path.stat().st_size)
    with pytest.raises(UserError, match="cannot be read as Parquet") as error:
        stored.read(path).array("x")[:]
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@given(place=st.integers(0, 100_000), bit=st.integers(0, 7))
def test_a_flipped_bit_of_what_we_write_never_gives_other_numbers(place: int, bit: int) -> None:
    path = Path("t.parquet")
    stored.write(path, {"x": VALUES})
    footer = int.from_bytes(path.read_bytes()[-8:-4], "little") + 8
    stored.flip(path, place % (path.stat().st_size - footer), bit)
    values = stored.read_or_refused(lambda: stored.read(path).array("x"), str(path))
    if values is not None:
        np.testing.assert_array_equal(values, VALUES)
