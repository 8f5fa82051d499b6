"""Data sets of TensorFlow Datasets, prepared here and read without TensorFlow."""

import functools
import importlib.util
import re
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.data import labels
from lelp_jax.data.sources import tfds_base as source
from lelp_jax.data.sources import tfds_prepared, tfds_reader
from lelp_jax.data.sources.tfds import Tfds
from tests.helpers import prepared_tfds

SPLIT = data.Split((0.6, 0.2, 0.2), 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Holds small data sets in the formats of TFDS."""
    import tensorflow_datasets as tfds

    features = tfds.features
    text, label = features.Text(), features.ClassLabel(names=["negative", "positive"])

    place = str(tmp_path_factory.mktemp("tfds"))
    prepare = functools.partial(prepared_tfds.prepare, place)
    rows = [{"sentence": f"t {i} é", "label": i % 2, "idx": i} for i in range(40)]
    hidden = [{**row, "label": -1} for row in rows[:5]]
    glue = {"idx": np.int32, "sentence": text, "label": label}
    prepare("hidden_test", glue, {"train": rows, "validation": rows[:7], "test": hidden})
    prepare("all_splits", glue, {"train": rows, "validation": rows[:7], "test": rows[:9]})
    prepare("hidden_alone", glue, {"train": rows, "test": hidden})
    prepare("two_texts", {**glue, "other": text}, {"train": [{**r, "other": "b"} for r in rows]})
    prepare(
        "no_classes",
        {"sentence": text, "score": np.float32},
        {"train": [{"sentence": "a", "score": 0.5}]},
    )
    kinds = {"text": text, "coarse": label, "fine": features.ClassLabel(names=list("abcd"))}
    questions = [{"text": f"t {i}", "coarse": i % 2, "fine": i % 4} for i in range(16)]
    prepare("questions", kinds, {"train": questions})
    prepare("bad_bytes", glue, {"train": [{**rows[0], "sentence": b"caf\xe9"}]})
    prepare("as_parquet", glue, {"train": rows}, file_format="parquet")
    tweets = {"text": text, "user": text, "polarity": np.int32}

    def graded(grades: list[int]) -> list[dict]:
        return [{"text": f"{g} {i}", "user": "u", "polarity": g} for i, g in enumerate(grades)]

    # The name of a registered builder, which then is of no use: it is read from its files.
    prepare("sentiment140", tweets, {"train": graded([0, 4] * 9), "test": graded([0, 2, 4] * 3)})
    return place


def parts(folder: str, name: str, **settings: object) -> data.Parts:
    return Tfds(name=name, data_dir=folder, **settings).parts()  # type: ignore[arg-type]


def test_rows_of_all_splits(folder: str) -> None:
    found = parts(folder, "all_splits", max_length=9)
    assert found.class_names == ("negative", "positive")
    assert (found.max_length, found.preprocess) == (9, None)
    assert found.validation is not None
    assert found.test is not None
    for rows, count in ((found.train, 40), (found.validation, 7), (found.test, 9)):
        numbers = [int(text.split()[1]) for text in rows.inputs]
        assert rows.inputs.tolist() == [f"t {number} é" for number in numbers]
        assert sorted(numbers) == list(range(count))
        assert rows.labels.tolist() == [number % 2 for number in numbers]
    assert found.test.place(3) == "all_splits/1.0.0 test row 3"
    assert "tensorflow" not in sys.modules
    again = parts(folder, "all_splits")
    assert again.train.inputs.tolist() == found.train.inputs.tolist()


def test_validation_is_the_test_set_where_test_labels_are_hidden(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = mock.Mock()
    monkeypatch.setattr(source, "_LOG", log)
    found = parts(folder, "hidden_test")
    assert found.test is not None
    assert len(found.test.inputs) == 7
    assert found.validation is None
    assert found.test.place(0) == "hidden_test/1.0.0 validation row 0"
    assert "hides the labels" in log.info.call_args.args[0]
    dataset = data.load(Tfds(name="hidden_test", data_dir=folder), SPLIT)
    assert [len(rows) for rows in (dataset.train, dataset.validation, dataset.test)] == [32, 8, 7]


def test_test_rows_are_split_off_where_no_other_split_has_labels(folder: str) -> None:
    found = parts(folder, "hidden_alone")
    assert (found.test, found.validation) == (None, None)
    # A validation split that is named is not the test split, too.
    found = parts(folder, "hidden_test", validation="validation")
    assert found.test is None
    assert found.validation is not None
    assert len(found.validation.inputs) == 7


def test_splits_that_are_named(folder: str) -> None:
    found = parts(folder, "all_splits", test="validation")
    assert found.test is not None
    assert (len(found.test.inputs), found.validation) == (7, None)
    found = parts(folder, "all_splits", train="test", test="train")
    assert found.test is not None
    assert (len(found.train.inputs), len(found.test.inputs)) == (9, 40)


def test_neutral_tweets_are_dropped(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = mock.Mock()
    monkeypatch.setattr(tfds_reader, "_LOG", log)
    found = parts(folder, "sentiment140")
    assert found.class_names == ("negative", "positive")
    assert found.test is not None
    for rows, count in ((found.train, 18), (found.test, 6)):
        assert len(rows.inputs) == count
        grades = [int(text.split()[0]) for text in rows.inputs]
        assert rows.labels.tolist() == [grade // 4 for grade in grades]
        assert set(grades) == {0, 4}
    template, *values = log.info.call_args.args
    assert template % tuple(values) == (
        "sentiment140/1.0.0 test: 3 of 9 rows are dropped, whose polarity is 2"
    )
    # Rows keep the number that they have in the data set.
    builder = tfds_prepared.find_builder("sentiment140", folder)
    columns = {"text": "text", "label": "polarity", "fine_label": ""}
    stored = tfds_reader.Reader(builder, columns, {}, labels.AUTO)
    every = [text.decode() for text in stored.read("test").inputs]
    numbers = [int(found.test.place(row).split()[-1]) for row in range(6)]
    assert [every[number] for number in numbers] == found.test.inputs.tolist()


def test_fine_labels(folder: str) -> None:
    for label in ("coarse", ""):  # the only column of classes besides
        found = parts(folder, "questions", label=label, fine_label="fine")
        assert found.class_names == ("negative", "positive")
        assert found.fine_names == tuple("abcd")
        numbers = [int(text.split()[1]) for text in found.train.inputs]
        assert found.train.labels.tolist() == [number % 2 for number in numbers]
        assert found.train.fine_labels is not None
        assert found.train.fine_labels.tolist() == [number % 4 for number in numbers]
    assert parts(folder, "questions", label="fine").class_names == tuple("abcd")


def test_merged_classes(folder: str) -> None:
    found = parts(folder, "all_splits", class_map=("negative=1", "positive=0"))
    assert found.class_names == ("positive", "negative")
    assert found.fine_names == ("negative", "positive")
    numbers = [int(text.split()[1]) for text in found.train.inputs]
    assert found.train.labels.tolist() == [1 - number % 2 for number in numbers]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nothing", {}, "config.data.name: TFDS knows no data set 'nothing', nor is one prepared"),
        (
            "glue/nothing",
            {},
            "unknown variant of glue in config.data.name: 'nothing'; known: ax, cola",
        ),
        ("bad_bytes", {}, "bad_bytes/1.0.0 train row 0, column sentence: byte 0xe9 at byte 4"),
        ("two_texts", {}, "several columns of texts; name one with --config.data.text=NAME: "),
        ("questions", {}, "several columns of classes; name one with --config.data.label=NAME: co"),
        ("no_classes", {}, "no column of classes; name one with --config.data.label=NAME: score"),
        ("no_classes", {"label": "score"}, "column score: it holds"),
        ("all_splits", {"text": "sentense"}, "did you mean 'sentence'?"),
        ("all_splits", {"text": "idx"}, "column idx: it holds"),
        ("all_splits", {"train": "training"}, "unknown split of all_splits/1.0.0: 'training'; "),
        ("hidden_test", {"test": "test"}, "hides the labels of 'test': no row has one; "),
        ("as_parquet", {}, "is of the format parquet, and only array_record is read; "),
    ],
)
def test_mistakes_are_named(folder: str, name: str, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parts(folder, name, **settings)
    assert "\n" not in str(caught.value)


def test_how_to_prepare_a_data_set_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find(name)
    )
    with pytest.raises(UserError) as caught:
        parts("new", "glue/sst2")
    assert str(caught.value) == (
        "config.data.name: 'glue/sst2' is not prepared in new/glue/sst2/2.0.0, and that needs "
        "TensorFlow, though nothing after it does: pip install 'lelp_jax[tfds]' and "
        'python -c "import tensorflow_datasets as tfds; '
        "tfds.builder('glue/sst2', data_dir='new').download_and_prepare("
        "file_format='array_record')\", here or on a machine from which you copy that folder"
    )


@pytest.mark.parametrize("reached", [True, False])
def test_a_data_set_is_prepared_where_tensorflow_is(
    folder: str, reached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow_datasets as tfds

    ready = tfds.builder("all_splits", data_dir=folder)
    new = mock.Mock(wraps=ready, info=ready.info, data_path=ready.data_path)
    new.name = "all_splits"
    new.is_prepared = lambda: False
    new.download_and_prepare = mock.Mock(
        side_effect=None if reached else ConnectionError("no\nroute to host")
    )
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: new)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    if reached:
        assert len(parts(folder, "all_splits").train.inputs) == 40
    else:
        message = "TFDS cannot prepare 'all_splits': no route to host; where there is a network"
        with pytest.raises(UserError, match=message):
            parts(folder, "all_splits")
    settings = new.download_and_prepare.call_args.kwargs
    assert settings["file_format"] == "array_record"
    assert not settings["download_config"].try_download_gcs


def test_damaged_records_are_named(folder: str) -> None:
    import shutil

    shutil.copytree(folder, "copy")
    file = next(Path("copy/all_splits/1.0.0").glob("*train*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = b"\x00" * (len(content) - len(content) // 2)
    file.write_bytes(content)
    with pytest.raises(
        UserError, match=r"the split 'train' cannot be read: .*prepare the data set"
    ):
        parts("copy", "all_splits")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, "name is empty; give a data set of TFDS"),
        ({"train": "a", "test": "a"}, "train and test are both 'a'; name two different splits"),
        ({"text": "a", "label": "a"}, "text and label are both 'a'; name two columns"),
        ({"max_length": -1}, "max_length must be a whole number of 1 or more, got -1"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        sections.build(Tfds, {"name": "glue/sst2", **settings}, "config.data")
