"""Ids, labels and texts are read as they stand in a file, and no row of it is lost."""

import csv
import io
import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.reading import delimited, json_lines
from lelp_jax.data.reading.table_file import TableFile
from lelp_jax.data.sources.table import Table
from lelp_jax.data.sources.text_files import TextFiles

IDS = {
    "leading zeros": [f"{i:05d}" for i in range(60)],
    "versions": [f"1.{i}0" for i in range(60)],
    "powers": [f"{i + 1}e{i % 7}" for i in range(60)],
    "20 digits": [f"914678103690000{i:05d}" for i in range(60)],
    "truth": ["true", "TRUE", *(f"t{i}" for i in range(58))],
    "dates": [f"2020-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(60)],
}


def read(content: str, name: str = "t.csv", **settings: object) -> data.Parts:
    Path(name).write_text(content, newline="")
    return TextFiles(train=name, **settings).parts()  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("kind", IDS)
def test_ids_are_read_as_they_stand(kind: str, form: str) -> None:
    ids = IDS[kind]
    rows = [{"uid": uid, "text": f"film {i}", "x": i, "label": i % 2} for i, uid in enumerate(ids)]
    if form == "jsonl":
        content = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        lines = [list(rows[0]), *(list(map(str, row.values())) for row in rows)]
        content = "".join(delimited.DELIMITERS[form.upper()].join(line) + "\n" for line in lines)
    parts = read(content, f"t.{form}", id="uid")
    assert parts.train.ids is not None
    assert parts.train.ids.tolist() == ids
    table = Table(train=f"t.{form}", id="uid", columns=("x",)).parts()
    assert table.train.ids is not None
    assert table.train.ids.tolist() == ids


def test_texts_of_digits_are_texts() -> None:
    parts = read("text,label\n" + "007,a\n1.50,b\n1e3,a\n" * 3)
    assert parts.train.inputs.tolist() == ["007", "1.50", "1e3"] * 3


def test_labels_of_digits_are_names_unless_they_are_class_numbers() -> None:
    assert read("text,label\n" + "a,1.10\nb,1.2\n" * 9).class_names == ("1.10", "1.2")
    assert read("text,label\n" + "a,01\nb,02\n" * 9).class_names == ("01", "02")
    assert read("text,label\n" + "a,1\nb,0\n" * 9).train.labels.tolist() == [1, 0] * 9


# Quotation marks.

GLUE = [
    '"frailty" is a good film',
    '" opens and never closes',
    'closes "',
    '"',
    '""',
    'the "best" of 2020',
    "plain",
    '"quoted"',
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("text_first", [True, False])
def test_tsv_as_glue_writes_it_is_read_exactly(order: int, text_first: bool, end: str) -> None:
    texts = np.random.default_rng(order).permutation(GLUE * 3).tolist()
    rows = [(text, str(i % 2)) for i, text in enumerate(texts)]
    lines = [("text", "label"), *rows]
    lines = lines if text_first else [(label, text) for text, label in lines]
    parts = read(end.join("\t".join(line) for line in lines) + end, "t.tsv")
    assert parts.train.inputs.tolist() == texts
    assert parts.train.labels.tolist() == [i % 2 for i in range(len(texts))]
    assert parts.train.place(5) == "t.tsv line 7"


@given(
    st.lists(
        st.tuples(st.text('ab" ,\n\t', min_size=1, max_size=6), st.sampled_from("01")), min_size=2
    ),
    st.sampled_from(["CSV", "TSV"]),
)
def test_what_a_csv_writer_wrote_is_quoted(rows: list[tuple[str, str]], kind: str) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimited.DELIMITERS[kind])
    writer.writerows([("text", "label"), *rows])
    content = stream.getvalue()
    if kind == "TSV" and any("\n" in text and "\t" in text for text, _ in rows):
        with pytest.raises(UserError, match="a quotation mark opens"):
            delimited.find_quoting(Path("t"), content, kind)
        return
    assert delimited.find_quoting(Path("t"), content, kind)
    found = [tuple(fields) for _, fields in delimited.read_records(content, kind, quoted=True)]
    assert found[1:] == rows


@given(st.lists(st.tuples(st.text('ab" ', max_size=6), st.sampled_from("01")), min_size=1))
def test_tsv_without_quoting_loses_no_row(rows: list[tuple[str, str]]) -> None:
    """Either way of reading gives every line as a row."""
    content = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    quoted = delimited.find_quoting(Path("t"), content, "TSV")
    found = [fields for _, fields in delimited.read_records(content, "TSV", quoted=quoted)][1:]
    assert [label for _, label in found] == [label for _, label in rows]
    if not quoted:
        assert [text for text, _ in found] == [text for text, _ in rows]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        # Marks that open in every column.
        ("t.csv", 'text,label\na,0\n"b,1\nc,0\nd,1\n', "t.csv line 3: a quotation mark opens"),
        ("t.csv", 'label,text\n0,a\n1,"b\n0,c\n1,d\n', "t.csv line 3: a quotation mark opens"),
        ("t.csv", 'id,text,label\n"u1,a,0\nu2,b,1\n', "t.csv line 2: a quotation mark opens"),
        ("t.csv", 'text,label\na,0\n"b" c,1\n', "t.csv line 3: a quotation mark opens a field"),
        # Marks that another mark closes by chance.
        (
            "t.csv",
            'text,label\na,0\n"b,1\nc,0\n5",1\nd,0\n',
            "t.csv line 3, column text: a quotation mark swallows the rows after it; put",
        ),
        (
            "t.csv",
            'label,note,text\n0,x,a\n1,"y,b\n0,z",c\n1,x,d\n',
            "t.csv line 3, column note: a quotation mark swallows the rows",
        ),
        (
            "t.csv",
            'text,label\na,0\n"b,1\nc \u2028 c,0\n5",1\nd,0\n',
            "t.csv line 3, column text: a quotation mark swallows the rows",
        ),
        ("t.csv", 'text,label\na,0\nb,"1\nc,0"\n', "line 3, column label: a quotation mark swal"),
        # Neither way of reading fits.
        ("t.tsv", 'text\tlabel\na\t0\n"b\t1\nc\td\t0\n', "t.tsv line 3: a quotation mark opens"),
        # Files put together.
        ("t.csv", "text,label\na,x\nb,y\ntext,label\nc,x\n", "t.csv line 4 repeats the header"),
        ("t.csv", "text,label\na,0\n\ufefftext,label\nb,1\n", "t.csv line 3 begins with a byte-o"),
        (
            "t.jsonl",
            '{"text": "a", "label": 0}\n\ufeff{"text": "b", "label": 1}\n',
            "t.jsonl line 2 begins with a byte-order mark",
        ),
    ],
)
def test_files_that_would_lose_rows_are_refused(name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read(content, name)
    assert "\n" not in str(caught.value)


def test_texts_of_several_lines_are_no_swallowed_rows() -> None:
    texts = ["Dear John,\nall is well, 1", "a\n\nb", "one, two\nthree, 0\n", 'she said "no"\n1']
    stream = io.StringIO()
    csv.writer(stream).writerows([("text", "label"), *((text, i) for i, text in enumerate(texts))])
    assert read(stream.getvalue()).train.inputs.tolist() == texts


def test_a_long_text_is_no_problem_of_its_file() -> None:
    long = "a, b " * 60_000
    parts = read(f'text,label\n"{long}",0\nb,1\n')
    assert parts.train.inputs.tolist() == [long, "b"]
    assert parts.train.place(1) == "t.csv line 3"


# JSON lines.


def test_half_a_character_is_replaced_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    log = mock.Mock()
    monkeypatch.setattr(json_lines, "_LOG", log)
    texts = [f"film {i}" for i in range(60)]
    texts[7], texts[40], texts[41] = "\\ud83d \U0001f600", "cut \ud83d", "\udc00 cut \ud83d"
    rows = [{"text": text, "label": i % 2} for i, text in enumerate(texts)]
    found = read("".join(json.dumps(row) + "\n" for row in rows), "t.jsonl").train.inputs
    texts[40], texts[41] = "cut \ufffd", "\ufffd cut \ufffd"
    assert found.tolist() == texts
    (call,) = log.warning.call_args_list
    assert (call.args[0] % call.args[1:]).startswith(
        r"t.jsonl line 41: half of a character (\ud83d) is read as U+FFFD, as are 3 in all; cut"
    )


@given(st.text(st.characters(), max_size=8))
def test_whole_characters_stay_as_they_are(text: str) -> None:
    content = json.dumps({"text": text + "\\ud83d\U0001f600"}).encode()
    assert json_lines.replace_half_characters(Path("t"), content) == content


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "label": 0, "label": 1}', "line 31: key 'label' is given 2 times; keep"),
        ('{"text": "a", "label": 0, "more": {"x": 1, "x": 1}}', "line 31: key 'x' is given 2 tim"),
        ('{"text": "a", "label": 1e400}', "line 31: the number 1e400 is beyond the range of float"),
        ('{"text": "a\0b", "label": 1}', "t.jsonl line 31 is not JSON: Invalid control character"),
        ('\0{"text": "a", "label": 1}', "t.jsonl line 31 is not JSON: Expecting value"),
        ('{"text": "a", "label": 1', "t.jsonl line 31 is not JSON"),
        ('{"text": ["a"], "label": 1}', "t.jsonl line 31, column text: ['a'] is a list, but"),
    ],
)
def test_the_bad_line_is_named(line: str, message: str) -> None:
    good = [json.dumps({"text": f"film {i}", "label": i % 2}) for i in range(60)]
    with pytest.raises(UserError, match=re.escape(message)):
        read("\n".join([*good[:30], line, *good[30:]]), "t.jsonl")


def test_bytes_that_are_no_text_are_named_by_line() -> None:
    good = b"".join(b'{"text": "film %d", "label": %d}\n' % (i, i % 2) for i in range(60))
    Path("t.jsonl").write_bytes(good + b'{"text": "caf\xe9", "label": 1}\n')
    with pytest.raises(UserError, match=r"t\.jsonl line 61: byte 0xe9 at byte 14 of the line"):
        TableFile("t.jsonl", "train")
