"""Teachers fine-tuned from every kind of network, and the pooling that a checkpoint asks for."""

import json
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import inputs
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.models import pretrained
from lelp_jax.teachers.encoder import Encoders
from tests.helpers import checkpoints
from tests.inputs.test_text_encoding import dataset, session

WORDS = checkpoints.WORDS
# The word at the end says the class.
TEXTS = [f"the film was {WORDS[14 + 10 * (row % 2) + row // 2 % 10]}" for row in range(48)]
TRAIN = {"steps": 30, "batch_size": 16, "optimizer": {"schedule": "constant"}}
PLACE = "config.teacher"


def teachers(checkpoint: Path, **settings) -> Encoders:
    values = {
        "checkpoint": str(checkpoint),
        "count": 1,
        "learning_rate": 3e-3,
        "weight_decay": 0.0,
        "train": TRAIN,
        "dropout": 0.0,
        **settings,
    }
    return sections.build(Encoders, values, PLACE)


@pytest.mark.parametrize("family", ["deberta", "electra", "modernbert", "mpnet"])
def test_every_network_learns(family, tmp_path):
    checkpoint = checkpoints.write(tmp_path / "encoder", family)
    data = dataset(TEXTS, train=np.arange(32))
    source = teachers(checkpoint, pooling="pooler" if family == "mpnet" else "mean")
    source.check(data)
    [teacher] = source.ensure(tmp_path, data, [data], 0, session())
    logits, embedding = teacher.answers(data.train)
    assert (logits.argmax(axis=1) == data.labels[data.train]).mean() > 0.9
    assert np.isfinite(embedding).all()
    weights = teacher.network.load().parameters["trunk"]
    start = pretrained.load(str(checkpoint), "here").parameters
    for name, part in weights["layer_1"].items():
        for kind, value in part.items():
            # The bias of keys alone is not trained: softmax does not see it.
            assert np.abs(value - start["layer_1"][name][kind]).max() > 0, (name, kind)


def write(folder: Path, modules: list, **modes) -> Path:
    """Writes a checkpoint as sentence-transformers keeps it."""
    checkpoints.write(folder)
    listed = [
        {"idx": number, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    for _, path in modules[1:]:
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(modes))
    return folder


MODULES = [("Transformer", ""), ("Pooling", "1_Pooling")]
POOLINGS = [
    ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
    ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
    ({"pooling_mode": "cls"}, "cls"),
    ({"pooling_mode": ["mean"]}, "mean"),
]


@pytest.mark.parametrize(("modes", "pooling"), POOLINGS)
def test_the_checkpoint_chooses_its_pooling(modes, pooling, tmp_path, caplog):
    caplog.set_level("INFO")
    checkpoint = write(tmp_path / "encoder", MODULES, **modes)
    trunk = teachers(checkpoint).prepare_trunk(tmp_path, dataset(), session())
    assert trunk.build(2).pooling == trunk.content["pooling"] == pooling
    assert f"pooling is {pooling!r}, as {checkpoint}/1_Pooling/config.json says" in caplog.text
    # What the config says goes first.
    caplog.clear()
    trunk = teachers(checkpoint, pooling="pooler").prepare_trunk(tmp_path, dataset(), session())
    assert trunk.build(2).pooling == "pooler"
    assert "pooling" not in caplog.text
    settings = {"name": "embeddings", "checkpoint": str(checkpoint)}
    made = inputs.build(settings, "here").ensure(tmp_path, dataset(), session())
    assert made.encoding.network.pooling == pooling


def test_other_checkpoints_have_the_mean(tmp_path, caplog):
    caplog.set_level("INFO")
    plain = pretrained.load(str(checkpoints.write(tmp_path / "plain")), "here")
    assert plain.choose_pooling("auto") == "mean"
    bare = pretrained.load(str(write(tmp_path / "bare", MODULES[:1])), "here")
    assert bare.choose_pooling("auto") == "mean"
    assert not caplog.text


def test_modules_that_are_not_applied_are_logged(tmp_path, caplog):
    folder = write(tmp_path / "encoder", [*MODULES, ("Dense", "2_Dense")], pooling_mode="mean")
    assert pretrained.load(str(folder), "here").choose_pooling("auto") == "mean"
    assert "modules.json lists Dense, which is not applied" in caplog.text


@pytest.mark.parametrize(
    ("modes", "named"),
    [
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "cls_token and mean_"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({}, r"\(none\)"),
    ],
)
def test_other_poolings_are_refused(modes, named, tmp_path):
    source = teachers(write(tmp_path / "encoder", MODULES, **modes))
    message = rf"config.teacher.checkpoint: .*1_Pooling/config.json asks for the pooling {named}"
    with pytest.raises(UserError, match=f"{message}.* set pooling to one of them"):
        source.check(dataset(TEXTS, train=np.arange(32)))


def test_damaged_modules_are_refused(tmp_path):
    folder = write(tmp_path / "encoder", MODULES, pooling_mode="mean")
    loaded = pretrained.load(str(folder), "here")
    (folder / "1_Pooling/config.json").unlink()
    with pytest.raises(UserError, match=r"1_Pooling/config.json is missing, which modules.json"):
        loaded.choose_pooling("auto")
    (folder / "modules.json").write_text("[1]")
    with pytest.raises(UserError, match=r"modules.json holds no modules"):
        loaded.choose_pooling("auto")
    (folder / "modules.json").write_text("{}")
    with pytest.raises(UserError, match=r"modules.json holds no array"):
        loaded.choose_pooling("auto")
