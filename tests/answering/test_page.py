"""The examples of docs/own_teacher.md make teachers that a run takes."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.answering import flags
from lelp_jax.cli.config_file import load_config
from lelp_jax.data import Split
from lelp_jax.data.sources.arrays import Arrays
from lelp_jax.data.sources.text_files import TextFiles
from lelp_jax.teachers.arrays import ImportedTeachers
from tests.helpers import torch_models
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs/own_teacher.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL))


def run(name: str) -> None:
    exec(compile(EXAMPLES[name], name, "exec"), {})


def accuracy(dataset: data.Dataset, rows: np.ndarray) -> float:
    """Returns on how many of the rows the teacher's class is the label."""
    arrays, positions = ImportedTeachers(("teacher.npz",))._join(0, dataset)
    assert arrays.output_weights is not None
    predicted = arrays.logits[positions[rows]].argmax(axis=1)
    return float((predicted == dataset.labels[rows]).mean())


def test_a_pipeline_of_scikit_learn_teaches_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("train", "validation", "test")):
        torch_models.write_texts(Path(f"{name}.csv"), 60, seed)
    # The words of these texts are fewer than a hundred.
    monkeypatch.setitem(
        EXAMPLES, "sklearn_teacher", EXAMPLES["sklearn_teacher"].replace("SVD(100", "SVD(12")
    )
    run("sklearn_teacher")
    source = TextFiles(train="train.csv", validation="validation.csv", test="test.csv")
    dataset = data.load(source, Split((0.6, 0.2, 0.2), 0))
    for rows in (dataset.train, dataset.validation, dataset.test):
        assert accuracy(dataset, rows) > 0.85


def test_a_network_of_scikit_learn_teaches_arrays() -> None:
    random = np.random.default_rng(0)
    for name in ("train", "test"):
        labels = random.integers(0, 3, 600)
        inputs = 5 + 10 * (random.normal(size=(600, 6)) + 2 * np.eye(6)[labels])
        np.savez(f"{name}.npz", inputs=inputs, labels=labels)
    run("mlp_teacher")
    dataset = data.load(Arrays(train="train.npz", test="test.npz"), Split((0.6, 0.2, 0.2), 0))
    assert accuracy(dataset, dataset.train) > 0.8
    assert accuracy(dataset, dataset.test) > 0.8


def test_all_examples_are_python() -> None:
    assert set(EXAMPLES) == {
        *("sklearn_teacher", "mlp_teacher", "timm_teacher", "torchvision_teacher")
    }
    for source in EXAMPLES.values():
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        assert "np" in names


def test_the_commands_have_flags_that_exist() -> None:
    commands = re.findall(r"^    python -m lelp_jax\.(\w+) (.*)$", PAGE, re.MULTILINE)
    assert [program for program, _ in commands] == ["answer", "main", "answer", "main"]
    for program, line in commands:
        arguments = shlex.split(line)
        if program == "answer":
            assert flags.parse(["answer", *arguments], "") is not None
            continue
        path, _, mode = arguments[0].removeprefix("--config=").partition(":")
        config = load_config(ROOT / path, [mode] if mode else [])
        for argument in arguments[1:]:
            key = argument.removeprefix("--config.").partition("=")[0]
            section, _, name = key.partition(".")
            assert name in config[section]
