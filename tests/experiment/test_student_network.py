"""Networks of students that start from their teacher or from a checkpoint."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.core.errors import UserError
from lelp_jax.experiment import student_network as student_model
from lelp_jax.inputs import Inputs
from lelp_jax.methods import labels
from lelp_jax.methods.base import identity_readout
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.outputs import HEAD
from lelp_jax.models.variables import Variables
from lelp_jax.teachers.base import Network, Teacher
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import StepSpec
from lelp_jax.train.step import init_member
from tests.helpers import checkpoints
from tests.helpers.trees import assert_equal

LAYERS = 4
TOKENS = np.array([[2, 5, 6, 3, -1], [2, 7, 3, -1, -1]], np.int32)
SEEN = Inputs(TOKENS, "tokens", encoding=None, num_tokens=20)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "encoder"
    return checkpoints.write(folder, num_hidden_layers=LAYERS)


@pytest.fixture(scope="module")
def found(checkpoint: Path) -> pretrained.Pretrained:
    return pretrained.load(str(checkpoint), "here")


@pytest.fixture(scope="module")
def teacher(found: pretrained.Pretrained) -> Teacher:
    encoder: Any = Encoder(2, found.architecture)
    params = {"trunk": found.trunk("mean"), HEAD: {"kernel": np.ones((32, 2))}}
    network = Network(
        encoder, lambda: Variables(params), trained=None, inputs="tokens", answers=None
    )  # type: ignore[arg-type]
    return Teacher(
        fingerprint="a teacher",
        dims=32,
        outputs=2,
        answers=None,  # type: ignore[arg-type]
        class_logits=None,  # type: ignore[arg-type]
        output_weights=None,  # type: ignore[arg-type]
        answers_test=True,
        hint="",
        network=network,
    )


def started(made: student_model.StudentModel) -> dict[str, Any]:
    """Returns a new member's parameters."""
    assert made.initial is not None
    spec = StepSpec(made.model, labels.METHOD.loss, identity_readout, OptimizerConfig(), 1)
    state = jax.jit(lambda initial: init_member(spec, TOKENS[:1], 0, initial))(made.initial())
    return jax.device_get(state.params.network)


def test_a_student_starts_from_every_second_layer_of_its_teacher(
    teacher: Teacher, found: pretrained.Pretrained
) -> None:
    settings = {"name": "teacher_layers", "layers": 2, "dropout": 0.0}
    made = student_model.build(settings, 6, SEEN, teacher)
    assert made.origin == "a teacher"
    params = started(made)
    whole = found.trunk("mean")
    assert sorted(params["trunk"]) == ["embeddings", "layer_0", "layer_1"]
    for new, old in (("embeddings", "embeddings"), ("layer_0", "layer_1"), ("layer_1", "layer_3")):
        assert_equal(params["trunk"][new], whole[old])
    assert params[HEAD]["kernel"].shape == (32, 6)
    # What a student's folder keeps makes the same network.
    assert models.build(made.settings, 6, 20) == made.model


def test_a_student_starts_from_a_checkpoint(
    teacher: Teacher, checkpoint: Path, found: pretrained.Pretrained
) -> None:
    settings = {"name": "pretrained", "checkpoint": str(checkpoint), "pooling": "cls"}
    made = student_model.build(settings, 2, SEEN, teacher)
    assert made.origin == found.fingerprint
    trunk = started(made)["trunk"]
    assert_equal(trunk, found.trunk("cls"))
    assert models.build(made.settings, 2, 20) == made.model


def test_others_start_anew(teacher: Teacher) -> None:
    made = student_model.build({"name": "bag_of_embeddings"}, 2, SEEN, teacher)
    assert made.initial is None
    assert made.origin == ""


def test_what_cannot_be_started_from_is_refused(teacher: Teacher, checkpoint: Path) -> None:
    layers = {"name": "teacher_layers", "layers": 2}
    others = dataclasses.replace(SEEN, fingerprint="words")
    many = dataclasses.replace(SEEN, num_tokens=10_000)
    unknown = dataclasses.replace(teacher, network=None)
    own = {"name": "pretrained", "checkpoint": str(checkpoint)}
    for settings, inputs, taught, message in (
        (layers, SEEN, unknown, "needs a teacher with config.teacher.source 'encoder'"),
        (layers, others, teacher, "set config.student.inputs.name to 'tokens'"),
        (layers | {"layers": 5}, SEEN, teacher, "'teacher_layers': layers must be in 1..4, got 5"),
        (own, many, teacher, "but the students see 10000"),
        (own | {"pooling": "max"}, SEEN, teacher, "config.student.model.pooling .*'max'"),
    ):
        with pytest.raises(UserError, match=message if ".*" in message else re.escape(message)):
            student_model.build(settings, 2, inputs, taught)


def test_settings_are_checked_before_there_are_data() -> None:
    for settings, kind, message in (
        (
            {"name": "teacher_layers", "layers": 0},
            "tokens",
            "must be a whole number of 1 or more, got 0",
        ),
        (
            {"name": "teacher_layers", "layers": 1},
            "numbers",
            "takes tokens, but the inputs are numb",
        ),
        ({"name": "teacher_layers", "layers": 1, "depth": 2}, "tokens", "'depth'; known: dropout"),
        ({"name": "pretrained", "checkpoint": ""}, "tokens", "checkpoint is empty"),
        ({"name": "teacher_layer", "layers": 1}, "tokens", "did you mean 'teacher_layers'?"),
        (
            {"name": "mlp", "hidden": (3,)},
            "tokens",
            "'mlp' takes numbers, but the inputs are tokens",
        ),
        ({"name": "bilstm"}, "numbers", "'bilstm' takes tokens, but the inputs are numbers"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            student_model.check(settings, kind)
