"""A run that was killed goes on where it was, and nothing else is taken for its answers."""

import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lelp_jax.answer import main
from lelp_jax.answering.classifier import Classifier
from lelp_jax.bank import store
from tests.helpers import processes, torch_models
from tests.helpers.torch_models import NAMES, write_texts

ROWS, PART, BATCH = 100, 16, 8
# Runs the command in small parts, and kills itself in the sixth batch.
KILLED = f"""
import os, signal, sys
import torch
from lelp_jax import answer
from lelp_jax.answering.classifier import Classifier
from lelp_jax.bank import store
store._MOST_CHUNK_ROWS = {PART}
torch.set_num_threads(1)  # as in the test: sums are rounded in another order otherwise
answers, done = Classifier.answer, []
def answer_or_die(self, texts):
    done.extend(texts)
    if len(done) > 5 * {BATCH}:
        os.kill(os.getpid(), signal.SIGKILL)
    return answers(self, texts)
Classifier.answer = answer_or_die
answer.main(sys.argv)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torch_models.write(tmp_path_factory.mktemp("models") / "bert", id2label=NAMES)


def arguments(model: Path, out: str = "teacher.npz") -> list[str]:
    return [f"--model={model}", "--data=train.csv", f"--out={out}", f"--batch_size={BATCH}"]


@pytest.fixture
def run(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Gives what runs the command; it returns the number of texts answered, and the log."""
    answers, done = Classifier.answer, []

    def count(self: Classifier, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        done.extend(texts)
        return answers(self, texts)

    def run(*more: str, out: str = "teacher.npz") -> tuple[int, str]:
        done.clear()
        assert main(["answer", *arguments(model, out), *more]) == 0
        return len(done), capfd.readouterr().err

    monkeypatch.setattr(Classifier, "answer", count)
    monkeypatch.setattr(store, "_MOST_CHUNK_ROWS", PART)
    return run


def load(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.slow
def test_a_killed_run_is_resumed(model: Path, run: Callable[..., tuple[int, str]]) -> None:
    write_texts(Path("train.csv"), ROWS, 0)
    process = processes.launch([sys.executable, "-c", KILLED, *arguments(model)])
    assert process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL
    assert not Path("teacher.npz").exists()
    shutil.copytree("teacher.npz.partial", "kept")
    # Two parts of two batches were finished; the sixth batch was in the third part.
    answered, log = run()
    assert answered == ROWS - 2 * PART
    assert f"{2 * PART} of {ROWS} texts were answered before; resuming" in log
    assert run(out="whole.npz")[0] == ROWS
    wanted = load("whole.npz")
    for name, values in load("teacher.npz").items():
        np.testing.assert_array_equal(values, wanted[name])
    # Nothing is left but the answers.
    names = ["kept", "teacher.npz", "train.csv", "whole.npz"]
    assert sorted(path.name for path in Path().iterdir()) == names

    # A part that has changed since is noticed when it is read.
    shutil.copytree("kept", "teacher.npz.partial")
    shutil.copy("kept/embeddings/c/0/0", "teacher.npz.partial/embeddings/c/1/0")
    answered, log = run()
    assert answered == 2 * ROWS - 2 * PART
    assert "answering all texts again" in log
    for name, values in load("teacher.npz").items():
        np.testing.assert_array_equal(values, wanted[name])

    # Parts of another option, another model or other texts are not used.
    other = torch_models.write(Path("other"), id2label=NAMES, layer_norm_eps=1e-3)
    for change in (["--max_length=9"], [f"--model={other}"], []):
        shutil.copytree("kept", "teacher.npz.partial")
        if not change:
            write_texts(Path("train.csv"), ROWS, 1)
        answered, log = run(*change)
        assert answered == ROWS, change
        assert "starting anew" in log
