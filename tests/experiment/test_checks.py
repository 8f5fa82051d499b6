"""What does not fit together in a config of texts is found before anything is trained."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ml_collections import ConfigDict
from pyarrow import parquet

from lelp_jax import data
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.errors import UserError
from lelp_jax.experiment import checks
from lelp_jax.experiment.config import from_config_dict, resolve_steps
from tests.helpers import checkpoints, tiny

ROWS, CLASSES = 90, 3
STARTED = {"name": "pretrained", "checkpoint": "/nowhere"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    folder = tmp_path_factory.mktemp("texts")
    checkpoints.write(folder / "teacher")
    texts = [f"the film was {checkpoints.WORDS[14 + row % 20]}" for row in range(ROWS)]
    table = pa.table({"text": texts, "label": [row % CLASSES for row in range(ROWS)]})
    parquet.write_table(table, folder / "train.parquet")
    found = load_config(tiny.ROOT / "configs/sst2.py", ["files"])
    found.data.train = str(folder / "train.parquet")
    found.data.max_length = 20
    found.teacher.checkpoint = str(folder / "teacher")
    return found


def checked(config: ConfigDict, changes: dict[str, Any]) -> Any:
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        for key, value in changes.items():
            *path, last = key.split(".")
            section = changed
            for name in path:
                section = section[name]
            section[last] = value
    frozen = from_config_dict(changed.to_dict())
    dataset = data.load(frozen.data.source, frozen.data.splitting)
    frozen = resolve_steps(frozen, dataset)
    checks.check(frozen, dataset, hidden=False)
    return frozen


def test_lengths_in_epochs_become_steps(config: ConfigDict) -> None:
    frozen = checked(config, {"student.train.epochs": 8.0, "teacher.train.epochs": 4.0})
    # 72 training rows; 32 and 64 in a batch.
    assert frozen.teacher.train.steps == round(4 * 72 / 32)
    assert frozen.student.train.steps == round(8 * 72 / 64)
    assert frozen.teacher.train.epochs == frozen.student.train.epochs == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher.pooling": "poler"}, "config.teacher.pooling .*'poler'; did you mean 'pooler'"),
        ({"teacher.compute_dtype": "float16"}, "config.teacher.compute_dtype .*'float16'"),
        ({"teacher.layer_decay": 1.5}, r"layer_decay must be a number in \(0, 1\], got 1.5"),
        ({"teacher.checkpoint": ""}, "config.teacher.checkpoint is empty"),
        ({"data.max_length": 41}, "config.data.max_length 41 exceeds the 40 tokens"),
        (
            {"teacher.train.epochs": 0.5},
            "config.teacher.train: early_stopping.evaluations 6 exceeds the 1 steps",
        ),
        (
            {"teacher.train.early_stopping.metric": "pr_auc"},
            "config.teacher.train.early_stopping.metric 'pr_auc' is defined for 2 classes",
        ),
        (
            {"student.input_noise": 0.1},
            "input_noise is 0.1, but the students see tokens",
        ),
        ({"student.inputs": {"name": "features"}}, "config.student.model.* takes tokens"),
        (
            {"student.inputs": {"name": "features"}, "student.model": {"name": "mlp", "hidden": 3}},
            "config.student: inputs 'features' are numbers, but the data are texts",
        ),
        ({"student.inputs": {"name": "word"}}, "did you mean 'words'"),
        ({"student.model": {"name": "bilstm", "unit": 3}}, "'unit'; did you mean 'units'"),
        (
            {"student.model": STARTED, "student.inputs": {"name": "tokens", "checkpoint": ""}},
            "config.student.model.checkpoint: the folder '/nowhere' is missing",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    config: ConfigDict, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as told:
        checked(config, changes)
    assert "\n" not in str(told.value)


def test_tokens_without_a_checkpoint_are_the_teachers_or_the_students_own(
    config: ConfigDict, tmp_path: Path
) -> None:
    own = str(checkpoints.write(tmp_path / "own"))
    tokens = {"name": "tokens", "checkpoint": ""}
    transformer = {"name": "transformer", "layers": 1}
    found = checked(config, {"student.inputs": tokens, "student.model": transformer})
    assert found.view.checkpoint == config.teacher.checkpoint
    pretrained = {"name": "pretrained", "checkpoint": own}
    found = checked(config, {"student.inputs": tokens, "student.model": pretrained})
    assert found.view.checkpoint == own
    arrays = {"source": "arrays", "files": ("teacher.npz",)}
    with pytest.raises(UserError, match=re.escape("config.student.inputs.checkpoint is empty")):
        checked(config, {"student.inputs": tokens, "teacher": arrays})
