"""`python -m lelp_jax.answer`: answers are those of a plain loop, in the order of the data."""

from pathlib import Path

import numpy as np
import pytest

from lelp_jax.answer import main
from lelp_jax.storage.open import open_bundle
from tests.helpers import torch_models
from tests.helpers.torch_models import NAMES, read_column, write_texts

FILES = {"train": 60, "validation": 20, "test": 20}
DATA = ",".join(f"{name}.csv" for name in FILES)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds classifiers with random weights."""
    folder = tmp_path_factory.mktemp("models")
    torch_models.write(folder / "bert", id2label=NAMES)
    torch_models.write(folder / "distilbert", "distilbert")
    torch_models.write(folder / "llama", "llama", id2label={0: "bad", 1: "good"})
    torch_models.write(folder / "xlnet", "xlnet", id2label={0: "bad", 1: "good"})
    torch_models.write(folder / "no_padding", "llama", pad=False, id2label=NAMES)
    return folder


@pytest.fixture(autouse=True)
def texts() -> list[str]:
    """Writes files of texts into the current folder; returns all texts."""
    for seed, (name, rows) in enumerate(FILES.items()):
        write_texts(Path(f"{name}.csv"), rows, seed)
    return [text for name in FILES for text in read_column(Path(f"{name}.csv"), "text")]


def answer(model: Path | str, *arguments: str, data: str = DATA, out: str = "teacher.npz") -> int:
    return main(["answer", f"--model={model}", f"--data={data}", f"--out={out}", *arguments])


def load(path: str = "teacher.npz") -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama", "xlnet", "no_padding"])
def test_answers_are_those_of_a_plain_loop(
    family: str, models: Path, texts: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--label_names=good,bad"] if family == "distilbert" else []
    assert answer(models / family, "--id=id", "--batch_size=8", *arguments) == 0
    found = load()
    wanted = torch_models.answer_one_by_one(models / family, texts)
    reversed_names = family in ("bert", "distilbert", "no_padding")
    wanted = wanted[:, ::-1] if reversed_names else wanted
    np.testing.assert_allclose(found["logits"], wanted, atol=1e-5)
    assert np.abs(np.diff(wanted, axis=0)).max() > 0.1
    computed = found["embeddings"].astype(np.float64) @ found["output_weights"]
    np.testing.assert_allclose(computed + found["output_bias"], found["logits"], atol=1e-4)
    assert found["label_names"].tolist() == ["bad", "good"]
    ids = [each for name in FILES for each in read_column(Path(f"{name}.csv"), "id")]
    assert found["ids"].tolist() == ids
    labels = [each for name in FILES for each in read_column(Path(f"{name}.csv"), "label")]
    np.testing.assert_array_equal(found["labels"], np.array(labels) == "good")
    assert {found[name].dtype for name in ("embeddings", "logits", "output_weights")} == {
        np.dtype(np.float32)
    }
    log = capfd.readouterr().err
    assert ("are put in this order" in log) == reversed_names
    assert ("one by one" in log) == (family == "no_padding")


@pytest.mark.parametrize("out", ["teacher", "teacher.zarr"])
def test_formats_hold_the_same(out: str, models: Path) -> None:
    assert answer(models / "bert", "--label_names=good,bad") == 0
    assert answer(models / "bert", "--label_names=good,bad", out=out) == 0
    bundle, wanted = open_bundle(out, "the test"), load()
    # Zarr holds no texts.
    assert set(wanted) - set(bundle.names()) == ({"label_names"} if out.endswith("zarr") else set())
    for name in bundle.names():
        np.testing.assert_array_equal(bundle.array(name)[:], wanted[name])


def test_long_texts_are_cut_and_counted(
    models: Path, texts: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert answer(models / "bert", "--max_length=7") == 0
    wanted = torch_models.answer_one_by_one(models / "bert", texts, truncation=True, max_length=7)[
        :, ::-1
    ]
    np.testing.assert_allclose(load()["logits"], wanted, atol=1e-5)
    # Three words and as many as follow, between two special tokens.
    cut = sum(len(text.split()) + 2 > 7 for text in texts)
    assert f"{cut} of 100 texts are cut at 7 tokens" in capfd.readouterr().err


def test_the_number_of_texts_in_a_batch_makes_no_difference(models: Path) -> None:
    found = []
    for size in (1, 7, 100):
        assert answer(models / "bert", f"--batch_size={size}", out=f"{size}.npz") == 0
        found.append(load(f"{size}.npz")["logits"])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


def test_rows_without_a_label_are_answered(models: Path, texts: list[str]) -> None:
    lines = Path("train.csv").read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",?"
    lines[2] = lines[2].rpartition(",")[0] + ","
    Path("train.csv").write_text("\n".join(lines))
    # By default, "?" would be a third class.
    assert answer(models / "bert") == 2
    assert answer(models / "bert", "--unlabelled=?") == 0
    found = load()
    assert (found["labels"] == -1).nonzero()[0].tolist() == [0, 1]
    assert found["label_names"].tolist() == ["bad", "good"]
    wanted = torch_models.answer_one_by_one(models / "bert", texts)[:, ::-1]
    np.testing.assert_allclose(found["logits"], wanted, atol=1e-5)


def test_ids_and_labels_are_read_as_they_stand(models: Path) -> None:
    Path("odd.jsonl").write_text(
        '{"id": "007", "text": "a film", "label": "bad"}\n'
        '{"id": "7", "text": "a plot", "label": "good"}\n'
        '{"id": "2024-01-01", "text": "1.10", "label": "good"}\n'
    )
    assert answer(models / "bert", "--id=id", data="odd.jsonl") == 0
    assert load()["ids"].tolist() == ["007", "7", "2024-01-01"]
    # A whole number for each row, which zarr holds.
    Path("whole.csv").write_text("id,text,label\n3,a film,bad\n11,a plot,good\n")
    assert answer(models / "bert", "--id=id", data="whole.csv", out="t.zarr") == 0
    assert open_bundle("t.zarr", "the test").array("ids")[:].tolist() == [3, 11]
    Path("padded.csv").write_text("id,text,label\n03,a film,bad\n11,a plot,good\n")
    assert answer(models / "bert", "--id=id", data="padded.csv", out="t.zarr") == 2
