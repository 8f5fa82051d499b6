"""Files of texts with labels: formats, names of classes, merged classes, and their mistakes."""

import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lelp_jax import data
from lelp_jax.cli import command_line
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.data import Split
from lelp_jax.data.reading import text_column
from lelp_jax.data.sources.text_files import TextFiles
from lelp_jax.experiment.help import holds_texts

TEXTS = ["good, very good", ' "bad" \n film', "é 😀", "1984", "null", "a\u0000b", "x", "so so"]
SPLIT = Split((0.6, 0.2, 0.2), 0)


def csv(texts: list[str], labels: list, header: str = "text,label") -> str:
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    return "\n".join([header, *(f"{t},{n}" for t, n in zip(quoted, labels, strict=True))]) + "\n"


def read(text: str | bytes, name: str = "t.csv", **settings: object) -> data.Parts:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return TextFiles(train=name, **settings).parts()  # type: ignore[arg-type]


def write(name: str, metadata: dict | None = None, **columns: object) -> str:
    table = pa.table(columns)
    parquet.write_table(table.replace_schema_metadata(metadata), name)
    return name


def test_all_formats_give_the_same_texts_unchanged() -> None:
    labels = [0, 1] * 4
    tsv = csv(TEXTS, labels).replace(",1\n", "\t1\n").replace(",0\n", "\t0\n")
    Path("t.csv").write_text(csv(TEXTS, labels), newline="")
    Path("t.tsv").write_text(tsv.replace("text,label", "text\tlabel"), newline="")
    rows = [{"text": t, "label": n} for t, n in zip(TEXTS, labels, strict=True)]
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write("plain.parquet", text=TEXTS, label=labels)
    write("words.parquet", text=pa.array(TEXTS).dictionary_encode(), label=labels)
    write("bytes.parquet", text=[text.encode() for text in TEXTS], label=labels)
    write("large.parquet", text=pa.array(TEXTS, pa.large_string()), label=labels)
    for name in ("t.csv", "t.tsv", "t.jsonl", *map(str, Path().glob("*.parquet"))):
        parts = TextFiles(train=name, max_length=7).parts()
        assert parts.train.inputs.tolist() == TEXTS, name
        assert parts.train.inputs.dtype == object
        assert parts.train.labels.tolist() == labels
        assert parts.preprocess is None
        assert parts.max_length == 7
    assert TextFiles(train="t.csv").parts().train.place(2) == "t.csv line 5"
    assert TextFiles(train="plain.parquet").parts().train.place(2) == "plain.parquet row 2"


def test_loaded_rows_keep_text_label_and_id_together() -> None:
    count = 50
    text = "\n".join(["text,label,key", *(f"t{i},{'ab'[i % 2]},k{i}" for i in range(count))])
    Path("t.csv").write_text(text)
    Path("test.csv").write_text("key,extra,label,text\nz,9,b,last\ny,9,a,other\n")
    dataset = data.load(TextFiles(train="t.csv", test="test.csv", id="key"), SPLIT)
    assert dataset.of_texts
    assert dataset.class_names == ("a", "b")
    assert dataset.ids is not None
    for split in (dataset.train, dataset.validation):
        numbers = [int(text[1:]) for text in dataset.inputs[split]]
        assert dataset.labels[split].tolist() == [number % 2 for number in numbers]
        assert dataset.ids[split].tolist() == [f"k{number}" for number in numbers]
    assert dataset.inputs[dataset.test].tolist() == ["last", "other"]
    assert dataset.labels[dataset.test].tolist() == [1, 0]
    assert (len(dataset.train), len(dataset.validation)) == (40, 10)


def test_training_rows_may_lack_labels_but_no_others() -> None:
    text = "text,label\n" + "a,x\nb,y\nc,\nd,-1\n" * 5
    parts = read(text, unlabelled="-1")
    assert parts.train.labels.tolist() == [0, 1, -1, -1] * 5
    with pytest.raises(UserError, match=r"t\.csv line 4: a test row has no label"):
        data.load(TextFiles(train="t.csv", test="t.csv", unlabelled="-1"), SPLIT)


def test_names_of_classes_from_the_files_metadata_and_from_the_config() -> None:
    columns = {"text": TEXTS, "label": [0, 1] * 4, "fine_label": [0, 2] * 4}
    lists = {"label_names": '["neg", "pos"]', "fine_label_names": '["a", "b", "c"]'}
    write("own.parquet", lists, **columns)
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    hub = {"huggingface": json.dumps({"info": {"features": features}})}
    write("hub.parquet", hub, **columns)
    write("broken.parquet", {"label_names": '["neg"', "huggingface": "[]"}, **columns)
    write("words.parquet", {"label_names": '["q", "p"]'}, text=TEXTS, label=["p", "q"] * 4)

    def names(**settings: object) -> tuple:
        parts = TextFiles(**settings).parts()  # type: ignore[arg-type]
        return parts.class_names, parts.fine_names

    assert names(train="own.parquet") == (("neg", "pos"), ("a", "b", "c"))
    assert names(train="own.parquet", label="fine_label") == (("a", "b", "c"), ())
    assert names(train="hub.parquet") == (("no", "yes"), ("0", "1", "2"))
    assert names(train="broken.parquet") == (("0", "1"), ("0", "1", "2"))
    assert names(train="words.parquet") == (("p", "q"), ())
    assert names(train="own.parquet", label_names=("A", "B"))[0] == ("A", "B")
    # Names as labels: the order given counts, not the sorted one.
    parts = TextFiles(train="words.parquet", label_names=("q", "p")).parts()
    assert parts.class_names == ("q", "p")
    assert parts.train.labels.tolist() == [1, 0] * 4
    with pytest.raises(UserError, match=r"hub\.parquet calls the numbers in 'label' no, yes, but"):
        TextFiles(train="own.parquet", test="hub.parquet").parts()


def test_fine_labels_are_used_where_every_file_has_them() -> None:
    Path("plain.csv").write_text("text,label\na,0\nb,1\n")
    fine = "text,label,fine_label,grade\na,0,p,x\nb,1,q,y\n"
    assert read(fine).fine_names == ("p", "q")
    assert read(fine, fine_label="grade").fine_names == ("x", "y")
    assert read(fine, test="plain.csv").fine_names == ()
    assert TextFiles(train="t.csv", text="fine_label").parts().fine_names == ()
    with pytest.raises(UserError, match=r"unknown column of plain\.csv: 'fine_label'.*NAME"):
        read(fine, test="plain.csv", fine_label="fine_label")


@pytest.mark.parametrize(
    ("class_map", "classes", "names"),
    [
        ((0, 1, 0, 1), [0, 1, 0, 1, -1], ("a/c", "b/d")),
        (("0", " 1", "0", "1"), [0, 1, 0, 1, -1], ("a/c", "b/d")),
        ((1, 0, 2, 1), [1, 0, 2, 1, -1], ("b", "a/d", "c")),
        (("pos", "neg", "neg", "pos"), [1, 0, 0, 1, -1], ("neg", "pos")),
        (("d=0", "c=1", "b=1", "a=1"), [1, 1, 1, 0, -1], ("d", "a/b/c")),
        (("d=up", "c=low", "b=low", "a = up"), [1, 0, 0, 1, -1], ("low", "up")),
        (("parity",), [0, 1, 0, 1, -1], ("even", "odd")),
    ],
)
@pytest.mark.parametrize("of_numbers", [False, True])
def test_merged_classes_and_the_label_before_as_fine_label(
    class_map: tuple, classes: list[int], names: tuple, of_numbers: bool
) -> None:
    labels = [0, 1, 2, 3, -1] if of_numbers else ["a", "b", "c", "d", ""]
    settings = {"label_names": tuple("abcd")} if of_numbers else {}
    parts = read(csv(TEXTS[:5], labels), class_map=class_map, **settings)
    assert parts.train.labels.tolist() == classes
    assert parts.class_names == names
    assert parts.train.fine_labels is not None
    assert parts.train.fine_labels.tolist() == [0, 1, 2, 3, -1]
    assert parts.fine_names == tuple("abcd")


def test_parity_of_labels_is_that_of_their_numbers() -> None:
    parts = read(csv(TEXTS[:4] * 2, [3, -1, 0, 2] * 2), class_map=("parity",), unlabelled="")
    assert parts.train.labels.tolist() == [1, 1, 0, 0] * 2
    assert parts.fine_names == ("-1", "0", "2", "3")


def test_names_of_labels_that_hold_equals_signs() -> None:
    parts = read(csv(TEXTS[:3], ["x=1", "x=2", "y"]), class_map=("x=1=a", "x=2=b", "y=b"))
    assert parts.train.labels.tolist() == [0, 1, 1]
    assert parts.class_names == ("a", "b")


def test_a_fine_label_column_stays_where_classes_are_merged() -> None:
    text = "text,label,fine_label\n" + "a,0,7\nb,1,5\nc,2,5\n" * 3
    parts = read(text, class_map=(0, 0, 1))
    assert parts.class_names == ("0/1", "2")
    assert parts.train.fine_labels is not None
    assert parts.train.fine_labels.tolist() == [7, 5, 5] * 3


def test_class_map_from_the_command_line() -> None:
    Path("t.csv").write_text(csv(TEXTS[:4] * 5, list("abcd") * 5))
    Path("c.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        "    data = {'source': 'files', 'train': 't.csv', 'class_map': ()}\n"
        "    return ConfigDict({'data': data})\n"
    )
    for text, names in (
        ("0,1,0,1", ("a/c", "b/d")),
        ("a=p,b=p,c=n,d=n", ("n", "p")),
        ("parity", ("even", "odd")),
    ):
        argv = ["main", "--config=c.py", f"--config.data.class_map={text}"]
        arguments = command_line.parse(argv, "Usage.", holds_texts)
        assert arguments is not None
        values = dict(arguments.config["data"])
        assert values.pop("source") == "files"
        source = sections.build(data.SOURCES["files"], values, "config.data")
        assert source.parts().class_names == names


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ((0, 1, 0), "class_map has 3 entries, but there are 4 labels: a, b, c, d; give one class"),
        ((0, 2, 0, 2), "class_map gives class 1 no label, but class 2 one; number the classes"),
        ((0, 0, 0, 10**8), "class_map gives class 1 no label, but class 100000000 one"),
        ((-1, 0, 1, 1), "class_map holds -1; number the classes 0, 1, 2"),
        ((0, 0, 0, 0), "class_map makes a single class of all labels"),
        (("x", "x", "x", "x"), "class_map makes a single class of all labels"),
        ((0, "x", 0, 1), "class_map holds the number 0 and the name 'x'; use one kind"),
        ((0, 1.5, 0, 1), "class_map holds 1.5; give a whole number or a name per label"),
        (("x", "", "x", "y"), "class_map holds an empty name; give every label a class"),
        (("a=0", "b=1"), "class_map gives no class to c, d; add c=CLASS"),
        (("a=0", "b=1", "c=0", "e=0"), "unknown label in config.data.class_map: 'e'; "),
        (("a=0", "a=1", "c=0", "d=0"), "class_map gives the label 'a' two classes"),
        (("a=0", "1", "c=0", "d=0"), "class_map holds '1' beside entries LABEL=CLASS"),
    ],
)
def test_class_maps_that_cannot_be(class_map: tuple, message: str) -> None:
    with pytest.raises(UserError, match=r"config\.data\.class_map") as caught:
        read(csv(TEXTS[:4], list("abcd")), class_map=class_map)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blank_texts_are_kept_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    log = mock.Mock()
    monkeypatch.setattr(text_column, "_LOG", log)
    write("t.parquet", text=["a", None, "", " \n\u00a0", "b"], label=[0, 1, 0, 1, 0])
    parts = TextFiles(train="t.parquet").parts()
    assert parts.train.inputs.tolist() == ["a", "", "", " \n\u00a0", "b"]
    template, *values = log.warning.call_args.args
    assert (template % tuple(values)).startswith(
        "t.parquet row 1, column text: the text is blank, as in 3 of 5 rows; they are kept"
    )
    log.reset_mock()
    write("t.parquet", text=["a", "b"], label=[0, 1])
    TextFiles(train="t.parquet").parts()
    log.warning.assert_not_called()


def bad_string(kind: pa.DataType) -> pa.Array:
    """Returns texts of which the third is not UTF-8, as some writers make them."""
    raw = pa.array([b"fine", None, b"caf\xe9", b"fine"], pa.binary())
    return pa.Array.from_buffers(kind, 4, raw.buffers())


@pytest.mark.parametrize("kind", [pa.string(), pa.binary()])
def test_bytes_that_are_no_text_in_parquet_are_named(kind: pa.DataType) -> None:
    write("t.parquet", text=bad_string(kind), label=[0, 1, 0, 1])
    message = r"t\.parquet row 2, column text: byte 0xe9 at byte 4 of the text is not UTF-8; write"
    with pytest.raises(UserError, match=message):
        TextFiles(train="t.parquet").parts()


@pytest.mark.parametrize(
    ("name", "text", "settings", "message"),
    [
        ("t.csv", "", {}, "t.csv cannot be read as CSV: Empty CSV file"),
        ("t.csv", "text,label\n", {}, "t.csv has no rows"),
        ("t.jsonl", "", {}, "t.jsonl cannot be read as JSON lines: Empty JSON file"),
        ("t.parquet", "", {}, "t.parquet cannot be read as Parquet"),
        ("t.csv", b"text,label\na,0\ncaf\xe9,1\n", {}, "t.csv line 3: byte 0xe9 at byte 4"),
        ("t.csv", "text,label\n,0\n,1\n", {}, "t.csv line 2, column text: all texts are blank"),
        (
            "t.jsonl",
            '{"text": 1, "label": 0}',
            {},
            "t.jsonl line 1, column text: it holds int64, not texts",
        ),
        (
            "t.jsonl",
            '{"text": ["a"], "label": 0}',
            {},
            "t.jsonl line 1, column text: it holds list",
        ),
        ("t.csv", 'text,label\n" ",0\n"",1\n', {}, "line 2, column text: all texts are blank"),
        ("t.csv", 'text,label\n"a,0\nb,1\n', {}, "t.csv line 2: a quotation mark opens a field"),
        ("t.csv", "text,text,label\na,b,0\n", {}, "the header holds column 'text' 2 times"),
        (
            "t.csv",
            "sentence,label\na,x\nb,y\n",
            {},
            "t.csv has no column 'text', but one of texts: 'sentence'; "
            "set --config.data.text=sentence",
        ),
        (
            "t.csv",
            "title,body,label\na,b,0\n",
            {},
            "unknown column of t.csv: 'text'; known: body, label, title; "
            "name the right one with --config.data.text=NAME",
        ),
        (
            "t.csv",
            "text,lable\na,0\n",
            {},
            "unknown column of t.csv: 'label'; did you mean 'lable'? known: lable, text; "
            "name the right one with --config.data.label=NAME",
        ),
        ("t.csv", "text;label\na;0\n", {}, "unknown column of t.csv: 'text'; known: text;label"),
        ("t.csv", "text;label\na;0\n", {}, "separate the columns by commas"),
        ("t.csv", csv(TEXTS, [0, 1] * 4), {"id": "key"}, "with --config.data.id=NAME"),
        ("t.csv", csv(TEXTS, [0, 1] * 4), {"num_classes": 3, "label_names": ("a", "b")}, "2 names"),
        ("t.csv", csv(TEXTS, list("aabbaabb")), {"label_names": ("a", "c")}, "label 'b' is not"),
        (
            "t.csv",
            csv(TEXTS, list("01230123")),
            {"class_map": (0, 1), "num_classes": 2},
            "line 5: label 2",
        ),
    ],
)
def test_mistakes_in_files_are_named(
    name: str, text: str | bytes, settings: dict, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read(text, name, **settings)
    assert "\n" not in str(caught.value)


def test_a_test_file_with_other_columns_is_named() -> None:
    Path("test.csv").write_text("sentence,label\na,0\n")
    with pytest.raises(UserError, match=r"^test\.csv has no column 'text', but one of texts"):
        read(csv(TEXTS, [0, 1] * 4), test="test.csv")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": ""}, "config.data.train is empty; give a .csv"),
        ({"text": ""}, "config.data.text is empty; give the name of the column of texts"),
        ({"label": "text"}, "text and label are both 'text'; name two columns"),
        ({"id": "label"}, "label and id are both 'label'; name two columns"),
        ({"num_classes": 1}, "num_classes must be a whole number of 2 or more, or 0, got 1"),
        ({"label_names": ("a", "b", "a")}, "label_names holds 'a' twice"),
        ({"max_length": 0}, "max_length must be a whole number of 1 or more, got 0"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        sections.build(TextFiles, {"train": "t.csv", **settings}, "config.data")


def test_a_million_texts_take_no_loop_over_rows() -> None:
    # Only counts calls: each row costs none in Python.
    texts = pa.array(["some words"]).take(pa.array(np.zeros(1_000_000, np.int32)))
    place = mock.Mock(return_value="row")
    assert text_column.read(texts, "text", place).shape == (1_000_000,)
    place.assert_not_called()
