"""Tables as people have them, in every format."""

import json
from decimal import Decimal
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lelp_jax import data
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import Rows
from lelp_jax.data.reading.table_file import TableFile
from lelp_jax.data.sources.table import Table

SPLIT = data.Split((0.6, 0.2, 0.2), 0)


def read(text: str | bytes, name: str = "t.csv", **settings: object) -> data.Parts:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return sections.build(Table, {"train": name, **settings}, "config.data").parts()


def values_of(rows: Rows) -> list[list]:
    """Returns the features of rows, a list per row."""
    return [list(row) for row in rows.inputs.tolist()]


def test_csv_tsv_json_and_parquet_give_the_same_rows() -> None:
    rows = [{"x": 0.5 * i, "on": i % 3 == 0, "n": i, "label": i % 2} for i in range(6)]
    header = list(rows[0])

    def text(delimiter: str) -> str:
        lines = [header, *([str(row[key]).lower() for key in header] for row in rows)]
        return "".join(delimiter.join(map(str, line)) + "\n" for line in lines)

    Path("t.csv").write_text(text(","))
    Path("t.tsv").write_text(text("\t"))
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pa.Table.from_pylist(rows), "t.parquet")
    for name in ("t.csv", "t.tsv", "t.jsonl", "t.parquet"):
        part = Table(train=name).parts().train
        assert part.inputs.dtype.names == ("x", "on", "n")
        np.testing.assert_array_equal(
            values_of(part), [[0.5 * i, float(i % 3 == 0), i] for i in range(6)], err_msg=name
        )
        np.testing.assert_array_equal(part.labels, [0, 1] * 3, err_msg=name)


def test_byte_order_mark_windows_line_ends_quotes_and_empty_lines() -> None:
    parts = read(b'\xef\xbb\xbfx,"my, note",label\r\n1,"a\r\nb",0\r\n\r\n2,"say ""c""",1\r\n')
    assert parts.train.inputs.dtype.names == ("x",)
    assert values_of(parts.train) == [[1], [2]]
    # The header is line 1, the first row spans lines 2 and 3, line 4 is empty.
    assert [parts.train.place(row) for row in (0, 1)] == ["t.csv line 2", "t.csv line 5"]


def test_json_lines_with_a_mark_and_empty_lines() -> None:
    text = '\ufeff{"x": 1, "label": 0}\n\n\n{"label": 1, "x": 2.5}\n'
    parts = read(text, "t.jsonl")
    assert values_of(parts.train) == [[1], [2.5]]
    assert [parts.train.place(row) for row in (0, 1)] == ["t.jsonl line 1", "t.jsonl line 4"]


def test_rows_that_are_not_found_by_line_are_counted_from_0() -> None:
    parts = read('{"x": 1,\n "label":\n 0} {"x": 2, "label": 1}\n', "t.jsonl")
    assert [parts.train.place(row) for row in (0, 1)] == ["t.jsonl row 0", "t.jsonl row 1"]


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        (["0", "1", "-1", ""], [0, 1, -1, -1], ("0", "1")),
        (["1.0", "0.0", "", "-1.0"], [1, 0, -1, -1], ("0", "1")),
        (["true", "false", "", "true"], [1, 0, -1, 1], ("false", "true")),
        (["spam", "ham", "", "-1"], [1, 0, -1, -1], ("ham", "spam")),
        (["1.10", "1.2", "", "1.10"], [0, 1, -1, 0], ("1.10", "1.2")),
        (["007", "07", "", "-1"], [0, 1, -1, -1], ("007", "07")),
        (["b ", " a", "b", " "], [1, 0, 1, -1], ("a", "b")),
        (["10", "2", "x", "2"], [0, 1, 2, 1], ("10", "2", "x")),
        (["NA", "EU", "EU", "NA"], [1, 0, 0, 1], ("EU", "NA")),
        (["é", "ü", "", "é"], [0, 1, -1, 0], ("é", "ü")),
    ],
)
def test_labels_in_csv(labels: list[str], classes: list[int], names: tuple[str, ...]) -> None:
    lines = "".join(f"{i},{label}\n" for i, label in enumerate(labels))
    parts = read("x,label\n" + lines, unlabelled="-1")
    assert parts.train.labels.tolist() == classes
    assert parts.class_names == names


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        (["1", "0", None, "-1"], [1, 0, -1, -1], ("0", "1")),
        ([1, 0, None, -1], [1, 0, -1, -1], ("0", "1")),
        ([True, False, None, True], [1, 0, -1, 1], ("0", "1")),
        (["b", "a", None, ""], [1, 0, -1, -1], ("a", "b")),
    ],
)
def test_labels_in_json(labels: list, classes: list[int], names: tuple[str, ...]) -> None:
    lines = [json.dumps({"x": i, "label": label}) for i, label in enumerate(labels)]
    parts = read("\n".join(lines), "t.jsonl", unlabelled="-1")
    assert parts.train.labels.tolist() == classes
    assert parts.class_names == names


def test_labels_and_features_of_every_parquet_type() -> None:
    table = pa.table(
        {
            "label": pa.array(["b", None, "a", "b"]).dictionary_encode(),
            "fine": pa.array([2, 0, 1, None], pa.int8()),
            "decimal": pa.array([Decimal(i) for i in (1, 2, 3, 4)], pa.decimal128(10, 2)),
            "half": pa.array(np.array([1, 2, 3, 4], np.float16)),
            "big": pa.array([2**60, 1, 2, 3], pa.uint64()),
            "text": pa.array(["1", "x", "y", "z"], pa.large_string()),
        }
    )
    parquet.write_table(table, "t.parquet")
    parts = Table(train="t.parquet", fine_label="fine").parts()
    assert parts.train.labels.tolist() == [1, -1, 0, 1]
    assert parts.train.fine_labels is not None
    assert parts.train.fine_labels.tolist() == [2, 0, 1, -1]
    assert parts.fine_names == ("0", "1", "2")
    assert parts.train.inputs.dtype.names == ("decimal", "half", "big")
    assert values_of(parts.train)[0] == [1, 1, 2**60]


def test_column_that_becomes_fractional_late_in_a_large_file_is_numeric() -> None:
    lines = ["x,label", *(f"{i},{i % 2}" for i in range(200_000)), "0.5,1"]
    assert values_of(read("\n".join(lines)).train)[-1] == [0.5]


def test_test_file_may_order_its_columns_otherwise_and_hold_more() -> None:
    Path("test.csv").write_text("more,label,y,x\n9,b,2,1\n9,a,4,3\n")
    parts = read("x,y,label\n5,6,a\n7,8,b\n", test="test.csv")
    assert parts.test is not None
    assert values_of(parts.test) == [[1, 2], [3, 4]]
    assert parts.test.labels.tolist() == [1, 0]


def test_numbers_in_the_test_file_may_be_names_in_the_training_file() -> None:
    Path("test.csv").write_text("x,label\n1,2\n1,10\n")
    parts = read("x,label\n1,2\n1,10\n1,other\n", test="test.csv")
    assert parts.class_names == ("10", "2", "other")
    assert parts.test is not None
    assert parts.test.labels.tolist() == [1, 0]


def test_columns_without_numbers_are_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = mock.Mock()
    monkeypatch.setattr("lelp_jax.data.sources.table._LOG", log)
    parts = read("id,x,note,empty,label\na,1,hi,,0\nb,2,yo,,1\n")
    assert parts.train.inputs.dtype.names == ("x",)
    log.info.assert_called_once_with(mock.ANY, Path("t.csv"), "id, note, empty")


def test_columns_that_are_asked_for_may_hold_numbers_as_text() -> None:
    lines = [{"x": "1.5", "y": 2, "label": 0}, {"x": " 2", "y": 3, "label": 1}]
    parts = read("\n".join(map(json.dumps, lines)), "t.jsonl", columns=("y", "x"))
    assert values_of(parts.train) == [[2, 1.5], [3, 2]]


def test_a_column_of_numbers_with_one_mistake_is_not_dropped_in_silence() -> None:
    with pytest.raises(UserError, match=r"t\.csv line 4, column y: '3,5' is not a number"):
        read('x,y,label\n1,2,0\n1,3,0\n1,"3,5",1\n')


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": ("x", "x")}, "columns holds 'x' twice"),
        ({"columns": ("label",)}, "columns holds 'label', which is not a feature"),
        ({"fine_label": "label"}, "label and fine_label are both 'label'"),
        ({"label": ""}, "label is empty"),
        ({"num_classes": -2}, "num_classes must be a whole number of 2 or more, or 0, got -2"),
        ({"num_classes": 3}, "num_classes is 3, but the training rows have 2 names"),
        ({"label": "list"}, "column list: it holds list<"),
        ({"columns": ("object",)}, "column object: it holds struct<.*, which cannot be a feature"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    line = '{"x": 1, "label": "%s", "list": [1, 2], "object": {"a": 1}}\n'
    with pytest.raises(UserError, match=message):
        read(line % "a" + line % "b", "t.jsonl", **settings)


def test_end_to_end_rows_are_standardised_each_column_in_its_own_unit() -> None:
    generator = np.random.default_rng(0)
    table = generator.normal(size=(100, 2)) * [1e7, 1e-4] + [3e7, 5.0]
    lines = [f"{x:.9g},{y:.9g},4,{i % 2}" for i, (x, y) in enumerate(table)]
    Path("t.csv").write_text("\n".join(["x,y,constant,label", *lines]))
    dataset = data.load(Table(train="t.csv"), SPLIT)
    inputs = dataset.inputs[dataset.train]
    np.testing.assert_allclose(inputs.std(axis=0), [1, 1, 0], atol=1e-2)
    np.testing.assert_allclose(inputs.mean(axis=0), [0, 0, 0], atol=5e-2)
    assert dataset.preprocessing.columns == ("x", "y", "constant")


def test_place_of_a_row_far_down() -> None:
    Path("t.csv").write_text("x,label\n" + '"1\n",0\n\n' * 50)
    file = TableFile("t.csv", "train")
    assert file.table.num_rows == 50
    assert file.place(49) == f"t.csv line {2 + 3 * 49}"


def pandas_metadata(*index: object) -> dict[bytes, bytes]:
    """Returns what pandas writes into a Parquet file; pandas itself is not needed."""
    return {b"pandas": json.dumps({"index_columns": index, "columns": []}).encode()}


@pytest.mark.parametrize("name", ["__index_level_0__", "row", "when"])
def test_the_index_of_a_data_frame_is_no_feature(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    table = pa.table({"x": [0.5, 0.7, 0.5], "label": [0, 1, 0], name: [7, 8, 9]})
    parquet.write_table(table.replace_schema_metadata(pandas_metadata(name)), "t.parquet")
    assert Table("t.parquet").parts().train.inputs.dtype.names == ("x",)
    assert caplog.messages == [f"t.parquet: the index of a data frame is not a feature: '{name}'"]
    # What the user asks for is done.
    assert Table("t.parquet", columns=(name,)).parts().train.inputs.dtype.names == (name,)
    ids = Table("t.parquet", id=name).parts().train.ids
    assert ids is not None
    assert ids.tolist() == ["7", "8", "9"]


@pytest.mark.parametrize(
    "metadata",
    [
        pandas_metadata({"kind": "range", "start": 0, "stop": 3, "step": 1}),
        pandas_metadata("gone"),
        {b"pandas": b"{"},
        {b"pandas": b"[]"},
        {b"pandas": b"{}"},
        {b"other": b"{}"},
    ],
)
def test_metadata_without_an_index_column_change_nothing(metadata: dict) -> None:
    table = pa.table({"x": [0.5, 0.7, 0.5], "label": [0, 1, 0]}).replace_schema_metadata(metadata)
    parquet.write_table(table, "t.parquet")
    assert Table("t.parquet").parts().train.inputs.dtype.names == ("x",)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 12"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_column_without_a_header_is_no_feature(name: str, suffix: str) -> None:
    mark = {"csv": ",", "tsv": "\t"}[suffix]
    rows = [(name, "x", "label"), (0, 0.5, 0), (1, 0.5, 1)]
    text = "".join(mark.join(map(str, row)) + "\n" for row in rows)
    assert read(text, f"t.{suffix}").train.inputs.dtype.names == ("x",)


def test_numbers_that_may_name_the_rows_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    lines = [f"{1000 + i},{i / 8},{i % 3},{i},{i % 2}" for i in range(20)]
    parts = read("\n".join(["customer,x,kind,n,label", *lines]))
    assert parts.train.inputs.dtype.names == ("customer", "x", "kind", "n")
    [message] = caplog.messages
    assert message.startswith(
        "t.csv: whole numbers that differ in every row are used as features: customer, n; if they "
    )
    assert "--config.data.id=customer" in message
    caplog.clear()
    read("\n".join(["customer,x,kind,n,label", *lines]), id="customer", columns=("x", "kind"))
    assert not caplog.messages


def test_texts_that_are_not_utf_8_are_found() -> None:
    texts = pa.array([b"a", b"b", b"\xff"] * 4, pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"x": texts, "label": [0, 1, 0] * 4}), "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet row 2, column x: byte 0xff at byte 1"):
        Table("t.parquet").parts()


def test_hexadecimal_numbers_are_no_numbers_in_any_column() -> None:
    # Arrow reads 0x10 as 16 in a column of whole numbers alone.
    for other in ("7", "0.5"):
        lines = "".join(f"{other},{row % 2}\n" for row in range(20))
        with pytest.raises(UserError, match="line 22, column x: '0x10' is not a number"):
            read(f"x,label\n{lines}0x10,1\n")
    names = "".join(f"0X{row % 3},{row % 2}\n" for row in range(20))
    assert set(read(f"x,label\n{names}").train.inputs["x"]) == {"0X0", "0X1", "0X2"}
    beside = "x,name,label\n007,0x1,0\n12,a,1\n"
    assert values_of(read(beside, columns=("x",)).train) == [[7], [12]]


def write_parquet(name: str = "x") -> bytes:
    table = pa.table({name: np.arange(40.0), "label": np.arange(40) % 2})
    parquet.write_table(
        table, "t.parquet", write_page_checksum=True, compression="none", use_dictionary=False
    )
    return Path("t.parquet").read_bytes()


@pytest.mark.parametrize("row", [0, 17, 39])
def test_a_page_of_parquet_is_compared_with_its_checksum(row: int) -> None:
    content = bytearray(write_parquet())
    place = content.index(np.arange(40.0).tobytes()) + 8 * row + 6
    content[place] ^= 1
    with pytest.raises(UserError, match=r"t\.parquet cannot be read as Parquet: .*checksum"):
        read(bytes(content), "t.parquet")


def test_the_name_of_a_column_of_parquet_is_utf_8() -> None:
    content = write_parquet("thecolumn").replace(b"thecolumn", b"the\xffolumn")
    with pytest.raises(UserError, match=r"t\.parquet: the name of a column is not UTF-8"):
        read(content, "t.parquet")


@pytest.mark.parametrize("name", ["la\nbels", "la\r\nbels", "la\u2028bels"])
def test_messages_are_of_one_line_whatever_columns_are_called(name: str) -> None:
    with pytest.raises(UserError, match="label") as caught:
        read(f'x,"{name}"\n1,0\n2,1\n')
    assert r"la\nbels" in str(caught.value) or "u2028" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
