"""A sentence encoder has no classifier: its teacher is a logistic regression on its embeddings."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lelp_jax.answer import main
from lelp_jax.answering import head
from tests.helpers import checkpoints, torch_models
from tests.helpers.torch_models import read_column, write_texts

FILES = ("train.csv", "test.csv")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder with mean pooling, as sentence-transformers saves it."""
    folder = checkpoints.write(tmp_path_factory.mktemp("models") / "encoder", num_hidden_layers=1)
    torch_models.write_tokenizer(folder)
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (kind, path) in enumerate((("Transformer", ""), ("Pooling", "1_Pooling")))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 40}))
    return folder


@pytest.fixture(autouse=True)
def files() -> None:
    for seed, name in enumerate(FILES):
        write_texts(Path(name), 60, seed)


def test_embeddings_are_those_of_the_library(encoder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    line = [f"--model={encoder}", "--data=train.csv,test.csv", "--out=teacher.npz", "--fit_head"]
    assert main(["answer", *line, "--batch_size=7"]) == 0
    with np.load("teacher.npz") as file:
        found = {name: file[name] for name in file.files}
    texts = [text for name in FILES for text in read_column(Path(name), "text")]
    wanted = SentenceTransformer(str(encoder), device="cpu").encode(texts)
    np.testing.assert_allclose(found["embeddings"], wanted, atol=1e-5)
    logits = found["embeddings"].astype(np.float64) @ found["output_weights"] + found["output_bias"]
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
    assert found["label_names"].tolist() == ["bad", "good"]
    # The words tell the class, in rows that it was not fitted to, too.
    right = found["logits"].argmax(axis=1) == found["labels"]
    assert right[60:].mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=train.csv,test.csv"], "is a sentence encoder without a classifier"),
        (["--data=train.csv", "--fit_head"], "give these files of their own"),
        (["--data=train.csv,test.csv", "--fit_head", "--label_names=a,b"], "leave it out with"),
        (["--data=bare.csv,train.csv", "--fit_head"], "needs labels"),
        (["--data=few.csv,test.csv", "--fit_head"], "class 1 has 1 labelled rows"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    arguments: list[str], message: str, encoder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("bare.csv").write_text("id,text\n1,a film\n2,a plot\n")
    Path("few.csv").write_text("text,label\na film,bad\na plot,good\na cast,bad\n")
    assert main(["answer", f"--model={encoder}", "--out=teacher.npz", *arguments]) == 2
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not Path("teacher.npz").exists()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_that_of_a_pipeline_with_a_scaler(classes: int) -> None:
    random = np.random.default_rng(0)
    label = np.arange(120) % classes
    # Units of very different size, and one that does not vary.
    values = random.normal(size=(120, 6)) * [1, 100, 0.01, 1, 1, 0] + [0, 1e3, 0, 5, 0, 7]
    values[:, 0] += label
    unlabelled = np.append(label, [-1, -1])
    weights, bias = head.fit(np.concatenate([values, values[:2] + 1e6]), unlabelled, classes)
    assert weights.dtype == bias.dtype == np.float32
    logits = values @ weights.astype(np.float64) + bias
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    candidates = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        .fit(values, label)
        .predict_proba(values)
        for strength in head._STRENGTHS
    ]
    assert min(np.abs(found - each).max() for each in candidates) < 1e-3
