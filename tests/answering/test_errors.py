"""What a user can get wrong ends with one line that says what, where and how to fix it."""

import builtins
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lelp_jax.answer import main
from tests.helpers import checkpoints, torch_models
from tests.helpers.torch_models import NAMES, write_texts


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds models, most of which cannot be used."""
    folder = tmp_path_factory.mktemp("models")
    torch_models.write(folder / "good", id2label=NAMES)
    torch_models.write(folder / "one_output", num_labels=1)
    torch_models.write(folder / "unnamed")
    torch_models.write(folder / "balanced", id2label={0: "negative", 1: "positive"})
    _balance(folder / "balanced")
    torch_models.write(folder / "three", id2label={0: "bad", 1: "good", 2: "fair"})
    torch_models.write(folder / "other_names", id2label={0: "negative", 1: "positive"})
    torch_models.write(folder / "some_names", id2label={0: "good", 1: "poor"})
    torch_models.write(folder / "small_vocabulary", vocab_size=20, id2label=NAMES)
    torch_models.write(folder / "not_finite", id2label=NAMES, layer_norm_eps=float("nan"))
    checkpoints.write(folder / "encoder")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(autouse=True)
def files() -> None:
    """Writes train.csv and others into the current folder."""
    write_texts(Path("train.csv"), 30, 0)
    write_texts(Path("other.csv"), 10, 1, labels=("bad", "fine"))
    Path("numbers.csv").write_text("text,label\na film,0\na plot,1\na cast,5\n")
    Path("no_text.csv").write_text("review,label\na film,0\na plot,1\n")
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")


def _balance(folder: Path) -> None:
    """Shifts a model's bias so that it prefers either class as often."""
    write_texts(folder / "texts.csv", 30, 0)
    texts = torch_models.read_column(folder / "texts.csv", "text")
    logits = torch_models.answer_one_by_one(folder, texts)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias[0] += float(np.median(logits[:, 1] - logits[:, 0]))
    model.save_pretrained(folder)


def fail(capfd: pytest.CaptureFixture[str], *arguments: str, **flags: str) -> str:
    """Runs a command that must fail; returns its one line."""
    values = {"model": "good", "data": "train.csv", "out": "teacher.npz", **flags}
    before = _list_files()
    line = [f"--{name}={value}" for name, value in values.items() if value]
    assert main(["answer", *line, *arguments]) == 2
    errors = [each for each in capfd.readouterr().err.splitlines() if not each.startswith("[")]
    errors = [each for each in errors if "Loading weights" not in each]
    assert len(errors) == 1, errors
    assert _list_files() == before
    return errors[0].removeprefix("error: ")


def _list_files() -> list[Path]:
    """Returns all files but those of answers that the next run uses."""
    return sorted(path for path in Path().rglob("*") if ".partial" not in path.parts[0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": ""}, r"--model is missing; for example --model=FOLDER"),
        ({"data": ""}, r"--data is missing; for example --data=train.csv"),
        ({"out": ""}, r"--out is missing"),
        ({"data": "train.csv,"}, r"--data=train.csv, has an empty entry"),
        ({"data": "train.csv,train.csv"}, r"names 'train.csv' twice"),
        ({"batch_size": "0"}, r"--batch_size must be a whole number of 1 or more, got 0"),
        ({"max_length": "-3"}, r"--max_length must be .* got -3"),
        ({"text": "label", "label": "label"}, r"--text and --label are both 'label'"),
        ({"colour": "red"}, r"[Uu]nknown.*colour.*--help shows the flags"),
        ({"out": "teacher.parquet"}, r"Parquet has no place for output weights"),
        ({"out": "teacher.npy"}, r"holds one array"),
        ({"out": "missing/teacher.npz"}, r"the folder .*missing is missing"),
        ({"out": "taken"}, r"also holds 'notes.txt', which would be lost"),
        ({"out": "t.zarr", "id": "id"}, r"ids such as 'train-0' are texts, which zarr does not"),
        ({"data": "missing.csv"}, r"missing.csv: no such file; check --data"),
        ({"data": "train.txt"}, r"unknown ending '.txt' in --data"),
        ({"data": "no_text.csv"}, r"'review'; set --text=review"),
        ({"id": "number"}, r"unknown column of .*'number'.*--id=NAME"),
        ({"label": "stars"}, r"unknown column of .*'stars'.*--label=NAME"),
        ({"data": "train.csv,other.csv"}, r"other.csv line \d+: label 'fine' is not among"),
        ({"data": "numbers.csv"}, r"numbers.csv line 4: label 5 would make 6 classes of 3 rows"),
    ],
)
def test_errors_before_the_model_is_loaded(
    flags: dict[str, str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = fail(capfd, **{"model": "nowhere/at/all", **flags})
    assert re.search(message, found), found
    assert "config." not in found


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("missing", [], r"missing: no such folder; give an existing one"),
        ("empty", [], r"cannot be loaded as a classifier"),
        ("encoder", [], r"has no weights for classifier.bias, classifier.weight; give a model"),
        ("one_output", [], r"a single output.*num_labels=2"),
        ("small_vocabulary", [], r"gives token \d+, but the model knows 20"),
        ("good", ["--max_length=41"], r"--max_length=41: the model sees at most 40 tokens"),
        ("good", ["--device=abacus"], r"--device=abacus: PyTorch cannot use it"),
        ("good", ["--fit_head"], r"--fit_head is for models of sentence-transformers"),
        ("good", ["--label_names=good"], r"--label_names has 1 names, .* 2 outputs \(good, bad\)"),
        ("good", ["--label_names=good,fine"], r"are called good, fine, .* classes bad, good; say"),
        ("three", [], r"called bad, good, fair, the data's classes bad, good; say which"),
        ("other_names", [], r"called negative, positive, the data's classes bad, good; say which"),
        ("some_names", [], r"called good, poor, the data's classes bad, good; say which"),
        ("not_finite", [], r"the model's logits are not finite for the first text tried"),
    ],
)
def test_errors_of_the_model(
    model: str, arguments: list[str], message: str, models: Path, capfd: Any
) -> None:
    found = fail(capfd, *arguments, model=str(models / model))
    assert re.search(message, found), found
    assert "config." not in found


@pytest.mark.parametrize("library", ["torch", "transformers", "sentence_transformers"])
def test_a_missing_library_is_one_line(
    library: str, models: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    found = fail(capfd, model=str(models / "good"))
    assert found == (
        f"lelp_jax.answer needs {library}, which is not installed; run pip install "
        "'lelp_jax[transformers]'"
    )


def test_two_processes_do_not_mix_their_answers(models: Path, capfd: Any) -> None:
    with filelock.FileLock(".teacher.npz.lock"):
        found = fail(capfd, model=str(models / "good"))
    assert "--out=teacher.npz: another process is writing its answers there" in found


def test_help_needs_no_pytorch(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real: Callable[..., Any] = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        assert name.partition(".")[0] not in ("torch", "transformers")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert main(["answer", "--help"]) == 0
    shown = capfd.readouterr().out
    for name in ("model", "data", "out", "text", "label", "id", "label_names", "fit_head"):
        assert f"--{'[no]' if name == 'fit_head' else ''}{name}" in shown
    for name in ("batch_size", "max_length", "device"):
        assert f"--{name}" in shown


def test_numbered_labels_take_the_names_of_the_model(models: Path, capfd: Any) -> None:
    texts = torch_models.read_column(Path("train.csv"), "text")
    logits = torch_models.answer_one_by_one(models / "balanced", texts)
    predicted = logits.argmax(axis=1)
    assert 0.3 < predicted.mean() < 0.7
    for name, labels in (("same", predicted), ("other", 1 - predicted)):
        table = pa.table({"text": texts, "label": labels})
        parquet.write_table(table, f"{name}.parquet")
    named = str(models / "balanced")
    assert main(["answer", f"--model={named}", *_to("same.npz", "same.parquet")]) == 0
    assert "0 is 'negative', 1 is 'positive'" in capfd.readouterr().err
    with np.load("same.npz") as file:
        assert file["label_names"].tolist() == ["negative", "positive"]
    found = fail(capfd, model=named, data="other.parquet", out="other.npz")
    assert "the label of 0.0 % of 30 labelled rows, but of 100.0 % if classes 0, 1 are" in found
    given = ["--label_names=1,0", *_to("other.npz", "other.parquet")]
    assert main(["answer", f"--model={named}", *given]) == 0
    with np.load("same.npz") as same, np.load("other.npz") as other:
        for array in ("logits", "output_weights"):
            np.testing.assert_array_equal(same[array], other[array][:, ::-1])


def test_a_text_without_a_finite_answer_is_named(models: Path, capfd: Any) -> None:
    texts = ["the film was dull"] * 10
    # One that is not among those that are tried first.
    texts[4] = "the film was stale"
    Path("some.csv").write_text("\n".join(["text", *texts]))
    model = AutoModelForSequenceClassification.from_pretrained(models / "good")
    tokenizer = AutoTokenizer.from_pretrained(models / "good")
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("stale")] = np.nan
    model.save_pretrained("stale")
    tokenizer.save_pretrained("stale")
    capfd.readouterr()
    found = fail(capfd, model="stale", data="some.csv")
    assert "some.csv line 6: the model's embedding of this text is not finite" in found


def _to(out: str, data: str = "train.csv") -> list[str]:
    return [f"--out={out}", f"--data={data}"]
