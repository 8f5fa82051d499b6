"""Config files and the frozen form of a config."""

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from lelp_jax import methods, presets
from lelp_jax.augmentation.config import Augmentation
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.errors import UserError
from lelp_jax.deploy import export
from lelp_jax.experiment import config
from lelp_jax.main import main
from lelp_jax.teachers.network import Networks
from lelp_jax.train.optimizer import OptimizerConfig
from tests.helpers.paths import CONFIGS

# What a config file needs besides itself; files that are not listed need nothing.
DATA = {
    "table": "train.csv",
    "arrays": "train.npz",
    "own_teacher": "train.npz",
    "files": "train.csv",
    "sst2": "train.csv",
    "trec": "train.csv",
    "image_folder": "train.parquet",
}
# Those that train teachers.
TRAINED = ("arrays", "table")
KINDS = ("egg", "ham", "spam")


def write_data(rows: int = 120) -> np.ndarray:
    """Writes a table and arrays of three classes, a fifth of them unlabelled; returns the rows."""
    generator = np.random.default_rng(0)
    classes = np.arange(rows) % 3
    inputs = generator.normal(size=(rows, 3)) + 2 * classes[:, None]
    labelled = np.arange(rows) % 5 != 0
    names = np.where(labelled, np.array(KINDS)[classes], "")
    with open("train.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "note", "y", "z", "label"])
        for row, name in zip(inputs, names, strict=True):
            writer.writerow([row[0], 'said "hi",\nleft', row[1], row[2], name])
    np.savez("train.npz", inputs=inputs, labels=np.where(labelled, classes, -1))
    return inputs


def plain(name: str, *arguments: str) -> dict:
    raw = load_config(CONFIGS / f"{name}.py", arguments)
    if "train" in raw.data and not raw.data.source.endswith(("hub", "tfds")):
        raw.data.train = DATA[name]
    for key in ("file", "folder"):
        if key in raw.data:
            raw.data[key] = "images"
    if name == "own_teacher":
        raw.teacher.files = ("teacher.npz",)
    return raw.to_dict()


def launched() -> list[tuple[str, ...]]:
    """Returns the configs' names with their arguments, as the launch lines in them have them."""
    found = set()
    for path in CONFIGS.glob("*.py"):
        for argument in re.findall(
            rf"--config=configs/{path.stem}\.py(?::(\w+))?", path.read_text()
        ):
            found.add((path.stem, argument) if argument else (path.stem,))
    return sorted(found)


@pytest.mark.parametrize("name", launched(), ids=":".join)
def test_every_config_file_builds_the_frozen_config(name: tuple[str, ...]) -> None:
    frozen = config.from_config_dict(plain(*name))
    assert frozen.report.baseline in frozen.methods
    assert {"kd", "lelp"} <= set(frozen.methods)
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["arrays", "files", "own_teacher", "table"])
def test_templates_for_own_data(name: str) -> None:
    frozen = config.from_config_dict(plain(name))
    assert (frozen.replicates, frozen.data.transfer_size) == (6 if name == "files" else 5, 0)
    assert name not in TRAINED or frozen.teacher.count == 3
    assert list(frozen.methods) == ["labels", "kd", "lelp", "soft_kmeans", "random_split"]
    assert frozen.methods["lelp"].values["membership"] == ("teacher",)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_own_data_from_end_to_end(name: str, tmp_path: Path) -> None:
    inputs = write_data()
    code = main(
        [
            "main",
            f"--config={CONFIGS}/{name}.py:quick",
            f"--config.data.train={DATA[name]}",
            *(["--config.data.columns=z,x"] if name == "table" else []),
            "--config.replicates=1",
            "--config.teacher.count=1",
            "--config.teacher.model.hidden=16",
            "--config.teacher.train.steps=40",
            "--config.teacher.learning_rate=0.02",
            "--config.teacher.train.batch_size=16",
            "--config.student.train.steps=20",
            "--config.student.train.batch_size=16",
            "--config.student.train.class_weights=balanced",
            *(f"--config.methods.{method}.trials=1" for method in ("labels", "kd", "lelp")),
            "--config.methods.lelp.num_subclasses=2",
            "--config.methods.soft_kmeans.trials=0",
            "--config.methods.random_split.trials=0",
            f"--workdir={tmp_path}/run",
        ]
    )
    assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "run/results.jsonl").read_text().splitlines()]
    references = ["majority", "linear", "linear_all_rows"]
    assert [line["method"] for line in lines] == ["labels", "kd", "lelp", *references]
    assert lines[2]["settings"]["membership"] == "teacher"
    assert all(0 <= line["test"]["accuracy"] <= 1 for line in lines)
    student = export.load(tmp_path / "run" / lines[2]["student"])
    assert student.class_names == (KINDS if name == "table" else ("0", "1", "2"))
    raw = inputs[:, [2, 0]] if name == "table" else inputs
    assert student.class_logits(raw).shape == (120, 3)
    if name == "table":
        assert student.card["inputs"]["columns"] == ["z", "x"]


def changed(**values: object) -> dict:
    """Returns the digits config with sections replaced."""
    return {**plain("digits"), **values}


def test_values_may_be_lists_single_values_or_whole_numbers() -> None:
    raw = plain("digits")
    raw["student"]["model"]["hidden"] = [8, 8]
    raw["teacher"]["learning_rate"] = 1
    raw["methods"]["kd"]["alpha"] = 0
    raw["student"]["train"]["class_weights"] = "balanced"
    frozen = config.from_config_dict(raw)
    assert frozen.student.model["hidden"] == (8, 8)
    assert isinstance(frozen.teacher.learning_rate, float)
    assert frozen.methods["kd"].values["alpha"] == (0.0,)
    assert frozen.student.train.class_weights == ("balanced",)


def test_defaults_stand_in_for_what_is_left_out() -> None:
    raw = changed(report={"baseline": "kd"}, checkpoint={}, methods={"kd": {}})
    raw["data"] = {"source": "digits"}
    raw["teacher"]["train"] = {"steps": 1, "batch_size": 2, "optimizer": {}}
    frozen = config.from_config_dict(raw)
    assert frozen.data.split == (0.6, 0.2, 0.2)
    assert frozen.data.transfer_size == 0
    assert frozen.report.confidence == 0.95
    assert frozen.teacher.train.optimizer.schedule == "cosine"
    assert frozen.methods["kd"].trials == 1
    assert set(frozen.methods["kd"].values) == set(methods.METHODS["kd"].search_space)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": 3}, "config.data must be a section of keys and values, got 3"),
        ({"methods": ("kd",)}, r"config.methods must be a section .* got \('kd',\)"),
        ({"methods": {"kd": 1}}, "config.methods.kd must be a section .* got 1"),
        ({"checkpoint": {"every": 1}}, "unknown key of config.checkpoint: 'every'"),
        ({"extra": 1}, "unknown key of config: 'extra'"),
        ({"report": {}}, "config.report.baseline is missing"),
        (
            {"data": {"source": ["digits"]}},
            r"config.data.source must be .*'hub', .*, got \['digits'\]",
        ),
        ({"data": {"source": "digits", "split": 0.5}}, "config.data.split must be 3 values"),
        ({"data": {"source": "digits", "split": None}}, "config.data.split must be 3 values"),
        (
            {"data": {"source": "digits", "split": (True, 0.0, 0.0)}},
            "split.0. must be a number above 0",
        ),
        ({"data": {"source": "digits", "columns": ()}}, "unknown key of config.data: 'columns'"),
        ({"seed": True}, "config.seed must be a whole number in .* got True"),
        ({"seed": 1.0}, "config.seed must be a whole number in .* got 1.0"),
        ({"replicates": "2"}, "config.replicates must be a whole number of 1 or more, got '2'"),
        ({"methods": {"kd": {"alpha": True}}}, "config.methods.kd.alpha must be a number in"),
        (
            {"methods": {"kd": {"alpha": float("nan")}}},
            "config.methods.kd.alpha must be a number in",
        ),
        ({"methods": {"kd": {"temperature": 10**400}}}, "temperature must be a number above 0"),
        ({"methods": {"lelp": {"rotate": 1}}}, "config.methods.lelp.rotate must be True or False"),
        (
            {"methods": {"lelp": {"num_subclasses": True}}},
            "must be a whole number of 1 or more, got True",
        ),
        ({"methods": {"kd": {"alpha": (0, 0.0)}}}, "config.methods.kd.alpha holds a value twice"),
    ],
)
def test_what_a_config_file_can_get_wrong(sections: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.from_config_dict(changed(**sections))


@pytest.mark.parametrize(
    ("weights", "message"),
    [(("balance",), "'balance'"), ((1.0, float("inf")), "inf"), ((1, None), "None")],
)
def test_class_weights_that_cannot_be(weights: tuple, message: str) -> None:
    raw = plain("digits")
    raw["student"]["train"]["class_weights"] = weights
    with pytest.raises(UserError, match=f"config.student.train.class_weights must be .*{message}"):
        config.from_config_dict(raw)


def test_what_the_bank_section_can_get_wrong() -> None:
    with pytest.raises(UserError, match="'float32' or 'bfloat16', got 'float16'"):
        config.from_config_dict(changed(bank={"dtype": "float16"}))
    with pytest.raises(UserError, match=r"unknown key of config\.bank: 'folder'"):
        config.from_config_dict(changed(bank={"folder": "banks"}))
    with pytest.raises(UserError, match=r"config\.bank\.root must be text, got 3"):
        config.from_config_dict(changed(bank={"root": 3}))


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({}, "config.teacher.source must be 'network', 'encoder' or 'arrays', got ''"),
        ({"source": "array"}, "'array'; did you mean 'arrays'"),
        ({"source": "arrays"}, "config.teacher.files is missing"),
        ({"source": "arrays", "files": ()}, "config.teacher.files is empty"),
        ({"source": "arrays", "files": ("",)}, r"config.teacher.files\[0\] is empty"),
        ({"source": "arrays", "files": ("a", ""), "id": ""}, r"config.teacher.files\[1\] is empty"),
        ({"source": "arrays", "files": (3,)}, r"config.teacher.files\[0\] must be text"),
        (
            {"source": "arrays", "files": ("a", "b"), "output_weights": ("w",)},
            "output_weights names 1 files, but files 2",
        ),
        ({"source": "arrays", "files": ("a",), "count": 2}, "config.teacher: 'count'"),
    ],
)
def test_what_an_own_teacher_section_can_get_wrong(teacher: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.from_config_dict(changed(teacher=teacher))


def test_training_sections_have_every_key() -> None:
    def keys(cls: Any) -> set[str]:
        return {field.name for field in dataclasses.fields(cls)}

    section = presets.build_training(steps=3, batch_size=2)
    assert isinstance(section, ConfigDict)
    # Only images are augmented.
    assert set(section) == keys(config.TrainConfig) - {"augmentation"}
    images = presets.build_image_training(epochs=1)
    assert set(images) == keys(config.TrainConfig)
    assert set(images.augmentation) == keys(Augmentation)
    assert set(section.optimizer) == set(images.optimizer) == keys(OptimizerConfig)
    for built, cls in (
        (presets.build_image_teacher({"name": "mlp"}, epochs=1, count=1), Networks),
        (presets.build_image_student({"name": "mlp"}, epochs=1), config.StudentConfig),
    ):
        assert set(built) - {"source"} == keys(cls)
