"""Mistakes in files of data, with the words that the answer must hold."""

import io
import json

import numpy as np

from tests.helpers.bad_cases import ARRAYS, CONFIGS, TABLE, Case


def table(name: str, text: str | bytes, *words: str, flags: tuple[str, ...] = ()) -> Case:
    """A CSV file with a mistake in it."""
    arguments = (TABLE, "--config.data.train=train.csv", *flags)
    return Case(name, arguments, ("train.csv", *words), {"train.csv": text})


def tables(name: str, test: str, *words: str, train: str = "", suffix: str = "csv") -> Case:
    """A test file with a mistake in it, beside right training rows."""
    files = {f"train.{suffix}": train or RIGHT, f"test.{suffix}": test}
    flags = tuple(f"--config.data.{split}={split}.{suffix}" for split in ("train", "test"))
    return Case(name, (TABLE, *flags), words, files)


def arrays(name: str, *words: str, test: dict | None = None, **train: object) -> Case:
    """An .npz file with a mistake in it."""
    given = {"inputs": INPUTS, "labels": LABELS, **train}
    files = {"train.npz": {key: value for key, value in given.items() if value is not None}}
    flags = ["--config.data.train=train.npz"]
    if test is not None:
        files["test.npz"] = {"inputs": INPUTS, "labels": LABELS, **test}
        flags.append("--config.data.test=test.npz")
    return Case(f"npz_{name}", (ARRAYS, *flags), words, files)


def rows(count: int = 200) -> list[str]:
    return ["x,y,label", *(f"{i % 7},{i % 11},{i % 2}" for i in range(count))]


def changed(line: int, content: str, count: int = 200) -> str:
    """Returns a right table with one line replaced; lines count from 1, the header is line 1."""
    lines = rows(count)
    lines[line - 1] = content
    return "\n".join(lines) + "\n"


RIGHT = "\n".join(rows()) + "\n"
JSON = "".join(json.dumps({"x": i % 7, "label": i % 2}) + "\n" for i in range(200))
INPUTS = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
LABELS = np.arange(200) % 2


def damaged() -> bytes:
    """Returns an .npz file with a byte changed in the middle of an array."""
    stream = io.BytesIO()
    np.savez(stream, inputs=INPUTS, labels=LABELS)
    content = bytearray(stream.getvalue())
    content[500] ^= 0xFF
    return bytes(content)


DAMAGED = damaged()
WITH_ORACLE = (
    "import runpy\n"
    "from lelp_jax import methods\n"
    "def get_config():\n"
    f"    config = runpy.run_path({str(CONFIGS / 'arrays.py')!r})['get_config']()\n"
    "    config.methods = methods.default_config('kd', 'oracle', trials=1)\n"
    "    return config\n"
)

DATA = (
    Case("no_train", (TABLE,), ("config.data.train is empty",)),
    Case("missing_file", (TABLE, "--config.data.train=a.csv"), ("a.csv: no such file",)),
    Case("folder", (TABLE, f"--config.data.train={CONFIGS}/a.csv/.."), ("unknown ending",)),
    Case("ending", (TABLE, "--config.data.train=a.xlsx"), ("a.xlsx", "'.xlsx'", ".parquet")),
    table("empty_file", "", "Empty CSV"),
    table("header_only", "x,label\n", "no rows"),
    table("fraction", changed(5, "1,2,0.5"), "line 5", "label 0.5 is not a whole number"),
    table("second_header", RIGHT + RIGHT, "train.csv line 202 repeats the header; remove it"),
    table("open_quote", changed(7, '1,2,"1'), "line 7: a quotation mark opens a field"),
    table(
        "minus_one_as_a_class",
        RIGHT + "1,2,-1\n" * 100,
        "line 2: label -1, in 100 of 300 training rows, would mean that they have no label",
        "--config.data.unlabelled= if -1 is a class",
    ),
    table("label_minus_two", changed(5, "1,2,-2"), "line 5", "label -2 is outside 0..1"),
    table(
        "label_outside",
        changed(9, "1,2,2"),
        "line 9",
        "label 2 is outside 0..1",
        flags=("--config.data.num_classes=2",),
    ),
    table("label_is_an_id", changed(9, "1,2,70000"), "line 9", "label 70000", "70001 classes"),
    Case(
        "one_class",
        (TABLE, "--config.data.train=train.csv"),
        ("label '0' alone",),
        {"train.csv": "x,label\n" + "1,0\n2,0\n" * 50},
    ),
    Case(
        "empty_class",
        (TABLE, "--config.data.train=train.csv"),
        ("class '1' has no labelled training row", "[60, 0, 60]"),
        {"train.csv": "x,label\n" + "1,0\n2,2\n" * 100},
    ),
    Case(
        "class_of_one_row",
        (TABLE, "--config.data.train=train.csv"),
        ("class 'rare' has a single row", "config.data.test"),
        {"train.csv": "x,label\n" + "1,a\n2,b\n" * 100 + "3,rare\n"},
    ),
    table("no_label_column", RIGHT.replace("label", "lable"), "'label'", "did you mean 'lable'?"),
    table("no_column", RIGHT, "column of", "'z'", flags=("--config.data.columns=x,z",)),
    table("not_a_number", changed(7, "abc,2,1"), "line 7", "column x", "'abc'"),
    table("infinite_value", changed(7, "inf,2,1"), "line 7", "column x", "inf is not finite"),
    table("huge_value", changed(7, "1e300,2,1"), "line 7", "column x", "1e+300", "float32"),
    table("ragged", changed(7, "1,2,1,4"), "line 7", "4 fields", "header has 3"),
    table(
        "line_after_newlines",
        changed(7, '"1\n\n",2,1').replace("\n", "\r\n") + "\r\n\r\nnope,1,1\r\n",
        "line 206",
        "'nope'",
    ),
    table(
        "bytes", changed(7, "1,2,caf\xe9").encode("latin-1"), "line 7", "byte 0xe9", "save", "UTF-8"
    ),
    table("utf_16", RIGHT.encode("utf-16"), "line 1", "byte 0xff", "save"),
    table("two_columns", RIGHT.replace("x,y", "x,x"), "'x' 2 times"),
    table("semicolons", RIGHT.replace(",", ";"), "'label'", "separate the columns by commas"),
    Case(
        "label_is_a_text",
        (TABLE, "--config.data.train=train.csv"),
        ("train.csv line 2", "'label' holds 90 different texts in 90 rows", "such as 'row 0'"),
        {"train.csv": "x,label\n" + "".join(f"1,row {i}\n" for i in range(90))},
    ),
    table(
        "no_feature",
        "x,y,label\n" + "".join(f"name {i},,{i % 2}\n" for i in range(90)),
        "no feature column besides 'label' (x, y hold none)",
    ),
    table("only_an_index", ",label\n" + "".join(f"{i},{i % 2}\n" for i in range(90)), "no feature"),
    table(
        "text_for_number",
        "x,label\n" + "1.5,0\n2,1\n" * 90 + "big,1\n",
        "train.csv line 182, column x: 'big' is not a number",
    ),
    Case(
        "constant",
        (TABLE, "--config.data.train=train.csv"),
        ("every feature has the same value",),
        {"train.csv": "x,label\n" + "3,0\n3,1\n" * 90},
    ),
    Case(
        "no_label_at_all",
        (TABLE, "--config.data.train=train.csv"),
        ("no training row has a label in 'label'",),
        {"train.csv": "x,label\n" + "1,\n2,-1\n" * 90},
    ),
    Case(
        "label_is_a_feature",
        (TABLE, "--config.data.train=train.csv", "--config.data.columns=x,label"),
        ("config.data", "'label', which is not a feature"),
        {"train.csv": RIGHT},
    ),
    Case(
        "roc_auc_of_three_classes",
        (
            ARRAYS,
            "--config.data.train=train.npz",
            "--config.report.selection_metric=roc_auc",
        ),
        ("config.report.selection_metric 'roc_auc'", "3"),
        {"train.npz": {"inputs": INPUTS, "labels": np.arange(200) % 3}},
    ),
    Case(
        "roc_auc_without_a_class",
        (
            ARRAYS,
            *(f"--config.data.{split}={split}.npz" for split in ("train", "validation")),
            "--config.report.selection_metric=roc_auc",
        ),
        ("config.report.selection_metric 'roc_auc' needs validation rows of both", "class '1'"),
        {
            "train.npz": {"inputs": INPUTS, "labels": LABELS},
            "validation.npz": {"inputs": INPUTS, "labels": 0 * LABELS},
        },
    ),
    Case(
        "membership_by_label",
        (TABLE, "--config.data.train=t.csv", "--config.methods.lelp.membership=label"),
        ("config.methods.lelp.membership", "60 of", "--config.methods.lelp.membership=teacher"),
        {"t.csv": RIGHT + "1,2,\n" * 60},
    ),
    tables("test_columns", "x,label\n1,0\n", "test.csv", "'y'"),
    tables("test_label", changed(8, "1,2,2"), "test.csv line 8", "label 2 is outside 0..1"),
    tables("test_unlabelled", changed(8, "1,2,-1"), "test.csv line 8", "test row has no label"),
    tables(
        "test_name",
        "x,label\n1,spam\n2,eggs\n",
        "test.csv line 3",
        "'eggs'",
        "known: ham, spam",
        train="x,label\n" + "1,ham\n2,spam\n" * 90,
    ),
    tables("name_for_number", changed(8, "1,2,spam"), "test.csv line 8", "'spam'", "whole"),
    Case(
        "far_value",
        (TABLE, "--config.data.train=train.csv", "--config.data.test=test.csv"),
        ("test.csv line 3, column x", "3e+38"),
        {
            "train.csv": "x,label\n" + "1e-9,0\n2e-9,1\n" * 90,
            "test.csv": "x,label\n1e-9,0\n3e38,1\n",
        },
    ),
    tables("bad_json", JSON + "{x: 1}\n", "test.jsonl line 201", train=JSON, suffix="jsonl"),
    tables(
        "json_kinds",
        JSON + '\n{"x": "1", "label": 0}\n',
        "test.jsonl line 202, column x: '1' is text",
        train=JSON,
        suffix="jsonl",
    ),
    tables("json_array", "[\n1\n]\n", "test.jsonl line 1", "[", train=JSON, suffix="jsonl"),
    tables(
        "list_length",
        '{"x": [1, 2], "label": 0}\n{"x": [1, 2], "label": 1}\n{"x": [1], "label": 1}\n',
        "test.jsonl line 3, column x: the list holds 1 numbers, that of test.jsonl line 1 2",
        train='{"x": [1, 2], "label": 0}\n{"x": [2, 1], "label": 1}\n' * 90,
        suffix="jsonl",
    ),
    tables(
        "list_width",
        '{"x": [1], "label": 0}\n{"x": [2], "label": 1}\n',
        "test.jsonl, column x: the lists hold 1 numbers, those of the training rows 2",
        train='{"x": [1, 2], "label": 0}\n{"x": [2, 1], "label": 1}\n' * 90,
        suffix="jsonl",
    ),
    tables(
        "list_hole",
        '{"x": [1, 2], "label": 0}\n{"x": [1, null], "label": 1}\n',
        "test.jsonl line 2, column x: a number of the list is missing",
        train='{"x": [1, 2], "label": 0}\n{"x": [2, 1], "label": 1}\n' * 90,
        suffix="jsonl",
    ),
    tables(
        "dates_and_numbers",
        "when,label\n5,0\n6,1\n",
        "test.csv line 2, column when: it holds numbers, but dates are needed",
        train="when,label\n" + "2020-01-01,0\n2021-01-01,1\n" * 90,
    ),
    Case(
        "broken_parquet",
        (TABLE, "--config.data.train=t.parquet"),
        ("t.parquet cannot be read as Parquet",),
        {"t.parquet": "no parquet"},
    ),
    Case(
        "home_of_nobody",
        (TABLE, "--config.data.train=~nobody_there/t.csv"),
        ("~nobody_there/t.csv: no such file", "config.data.train"),
    ),
    Case(
        "no_npz",
        (ARRAYS, "--config.data.train=t.npz"),
        ("t.npz is not an .npz file", "numpy.savez"),
        {"t.npz": RIGHT},
    ),
    Case(
        "cut_npz",
        (ARRAYS, "--config.data.train=t.npz"),
        ("t.npz is not a readable .npz file",),
        {"t.npz": DAMAGED},
    ),
    arrays(
        "key",
        "train.npz",
        "'labels' is missing",
        "it holds 'inputs', 'other'",
        labels=None,
        other=1,
    ),
    arrays("shape", "train.npz", "inputs have shape (200,)", inputs=INPUTS[:, 0]),
    arrays("length", "train.npz", "labels have shape (100,)", "200 rows", labels=LABELS[:100]),
    arrays("complex", "train.npz", "complex", inputs=INPUTS + 1j),
    arrays("objects", "train.npz", "fixed-width", labels=np.array([None, 1] * 100, object)),
    arrays(
        "nan",
        "train.npz row 17, feature 2: nan is not finite",
        inputs=np.where(np.arange(600).reshape(200, 3) == 53, np.nan, INPUTS),
    ),
    arrays(
        "label",
        "train.npz row 3",
        "label",
        "-2 is outside",
        labels=np.where(np.arange(200) == 3, -2, LABELS),
    ),
    arrays("test_shape", "test.npz", "(2,)", "(3,)", test={"inputs": INPUTS[:, :2]}),
    arrays("test_label", "test.npz row 0", "labels 5 is outside 0..1", test={"labels": LABELS + 5}),
    arrays("no_fine", "the test rows have no fine labels", test={}, fine_labels=LABELS),
    arrays("few_rows", "batch_size 64 exceeds", inputs=INPUTS[:60], labels=LABELS[:60]),
    Case(
        "oracle_without_fine_labels",
        ("--config=c.py", "--config.data.train=train.npz"),
        ("config.methods.oracle needs fine labels", "--config.methods.oracle.trials=0"),
        {"c.py": WITH_ORACLE, "train.npz": {"inputs": INPUTS, "labels": LABELS}},
    ),
    Case(
        "oracle_with_fine_labels_of_one_class",
        ("--config=c.py", "--config.data.train=train.npz"),
        ("config.methods.oracle", "no training row of class '1' has one"),
        {
            "c.py": WITH_ORACLE,
            "train.npz": {
                "inputs": INPUTS,
                "labels": LABELS,
                "fine_labels": np.where(LABELS == 1, -1, np.arange(200) // 100),
            },
        },
    ),
)
