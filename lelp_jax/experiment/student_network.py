"""Builds a student's network: a model family, layers of its teacher, or a pretrained encoder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lelp_jax import models
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.inputs import Inputs
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.teachers.base import Teacher


class StudentModel(NamedTuple):
    """A network and its initial parameters.

    Attributes:
        model: The network.
        settings: The section from which `models.build` builds the same network again.
        initial: Loads the parameters that training starts from, on the host; None if all are
            initialised randomly.
        origin: Fingerprint of these parameters; "" if all are initialised randomly.
    """

    model: models.Model
    settings: Mapping[str, Any]
    initial: Callable[[], Mapping[str, Any]] | None = None
    origin: str = ""


@dataclasses.dataclass(frozen=True)
class TeacherLayers:
    """An encoder of evenly spaced layers of the teacher, initialised with their parameters.

    Attributes:
        layers: Number of layers.
        dropout: Share of values dropped in training, in [0, 1).
    """

    layers: int
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise UserError(f"layers must be 1 or more, got {self.layers}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout must be in [0, 1), got {self.dropout}")

    def build(self, num_outputs: int, inputs: Inputs, teacher: Teacher) -> StudentModel:
        """Builds the network of a student.

        Args:
            num_outputs: Width of the output layer.
            inputs: What the students see.
            teacher: The teacher that they learn from.

        Raises:
            UserError: The teacher is not an encoder, has fewer layers, or sees other tokens.
        """
        place, network = "config.student.model 'teacher_layers'", teacher.network
        if network is None or not isinstance(network.model, Encoder):
            raise UserError(
                f"{place} needs a teacher with config.teacher.source 'encoder'; use 'transformer' "
                "for a network that is trained from scratch"
            )
        # The embedding table is taken over, so token numbers must mean the same.
        if network.inputs != inputs.fingerprint:
            raise UserError(
                f"{place} needs the teacher's tokens; set config.student.inputs.name to 'tokens' "
                "and leave its checkpoint empty"
            )
        encoder = network.model
        architecture = sections.with_place(
            place, pretrained.cut_architecture, encoder.architecture, self.layers
        )
        model = dataclasses.replace(
            encoder, num_outputs=num_outputs, architecture=architecture, dropout=self.dropout
        )

        def initial() -> Mapping[str, Any]:
            trunk = network.load()["trunk"]
            return {"trunk": pretrained.cut_parameters(encoder.architecture, trunk, self.layers)}

        return _make_student_model(model, initial, teacher.fingerprint)


@dataclasses.dataclass(frozen=True)
class FromCheckpoint:
    """A pretrained encoder, usually smaller than the teacher.

    Attributes:
        checkpoint: A folder, or a name on the hub.
        pooling: "mean" over the tokens, "cls" or the checkpoint's "pooler".
        dropout: Share of values dropped in training, in [0, 1).
        checkpointing: Whether to recompute activations in the backward pass instead of storing
            them.
        compute_dtype: Type of the matrix products, "float32" or "bfloat16".
    """

    checkpoint: str
    pooling: str = "mean"
    dropout: float = 0.1
    checkpointing: bool = False
    compute_dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise UserError("checkpoint is empty; name a Hugging Face checkpoint")

    def build(self, num_outputs: int, inputs: Inputs, teacher: Teacher) -> StudentModel:
        """Builds the network of a student.

        Args:
            num_outputs: Width of the output layer.
            inputs: What the students see.
            teacher: Not used.

        Raises:
            UserError: The checkpoint cannot be used, or has another vocabulary than the inputs.
        """
        del teacher
        loaded = pretrained.load(self.checkpoint, "config.student.model.checkpoint")
        options = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "checkpoint"
        }
        problem = Encoder.check(loaded.architecture, **options)
        if problem:
            raise UserError(f"config.student.model: {problem}")
        if inputs.num_tokens > loaded.architecture.num_tokens:
            raise UserError(
                f"config.student.model.checkpoint embeds {loaded.architecture.num_tokens} tokens, "
                f"but the students see {inputs.num_tokens}; leave config.student.inputs.checkpoint "
                "empty, so that the checkpoint's tokenizer is used"
            )
        model = Encoder(num_outputs, loaded.architecture, **options)
        initial = functools.partial(_load_trunk, loaded, self.pooling)
        return _make_student_model(model, initial, loaded.fingerprint)


ORIGINS: Mapping[str, type[TeacherLayers] | type[FromCheckpoint]] = {
    "teacher_layers": TeacherLayers,
    "pretrained": FromCheckpoint,
}


def check(settings: Mapping[str, Any], *, of_tokens: bool) -> None:
    """Refuses settings of which no network can be made.

    Args:
        settings: The family under "name", and its settings.
        of_tokens: Whether its inputs are tokens.

    Raises:
        UserError: The family or a setting is unknown, or a value is out of range.
    """
    name = settings.get("name", "")
    if name not in ORIGINS:
        models.build(settings, 2, 2 if of_tokens else 0, others=ORIGINS)
        return
    _build_origin(settings)
    if not of_tokens:
        raise UserError(f"{name!r} takes tokens, but the inputs are numbers; take inputs 'tokens'")


def build(
    settings: Mapping[str, Any], num_outputs: int, inputs: Inputs, teacher: Teacher
) -> StudentModel:
    """Builds the network of a student.

    Args:
        settings: The family under "name", and its settings.
        num_outputs: Width of the output layer.
        inputs: What the students see.
        teacher: The teacher that they learn from.

    Raises:
        UserError: The initial parameters do not exist or do not fit the inputs.
    """
    if settings["name"] in ORIGINS:
        return _build_origin(settings).build(num_outputs, inputs, teacher)
    return StudentModel(models.build(settings, num_outputs, inputs.num_tokens), settings)


def _build_origin(settings: Mapping[str, Any]) -> TeacherLayers | FromCheckpoint:
    values = {key: value for key, value in settings.items() if key != "name"}
    origin: TeacherLayers | FromCheckpoint = sections.build(
        ORIGINS[settings["name"]], values, "config.student.model"
    )
    return origin


def _load_trunk(loaded: pretrained.Pretrained, pooling: str) -> Mapping[str, Any]:
    return {"trunk": loaded.trunk(pooling)}


def _make_student_model(
    model: Encoder, initial: Callable[[], Mapping[str, Any]], origin: str
) -> StudentModel:
    """Describes an encoder by settings from which an exported student is rebuilt."""
    # The architecture in full rather than the checkpoint's name: an exported student must not
    # depend on files elsewhere.
    settings = {
        "name": "encoder",
        "architecture": dataclasses.asdict(model.architecture),
        "pooling": model.pooling,
        "dropout": model.dropout,
        "checkpointing": model.checkpointing,
        "compute_dtype": model.compute_dtype,
    }
    network: Any = model
    return StudentModel(network, settings, initial, origin)
