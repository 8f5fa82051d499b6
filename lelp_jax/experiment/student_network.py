"""The network of a student: of a given family, cut out of the teacher, or pretrained."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from lelp_jax import models
from lelp_jax.core import sections
from lelp_jax.core.constraints import AT_LEAST_ONE, SHARE, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.core.fields import Named
from lelp_jax.inputs import Inputs
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.encoder.trunk import ComputeDtype, Pooling
from lelp_jax.teachers.base import Teacher

_PLACE = "config.student.model"


class StudentModel(NamedTuple):
    """A network and its initial parameters.

    Attributes:
        model: The network.
        settings: The settings from which `models.build` builds it again.
        initial: Returns the pretrained parameters, on the host; None if all are new.
        origin: Identifies these parameters; "" if all are new.
    """

    model: models.Model
    settings: Mapping[str, Any]
    initial: Callable[[], Mapping[str, Any]] | None = None
    origin: str = ""


@dataclasses.dataclass(frozen=True)
class TeacherLayers:
    """An encoder made of every k-th layer of the teacher, with the parameters of these layers.

    Attributes:
        layers: Number of layers.
        dropout: Share of values dropped in training.
    """

    layers: Annotated[int, AT_LEAST_ONE]
    dropout: Annotated[float, SHARE] = 0.1

    def build(self, num_outputs: int, inputs: Inputs, teacher: Teacher) -> StudentModel:
        """Builds the network of a student.

        Args:
            num_outputs: Width of the output layer.
            inputs: The students' inputs.
            teacher: The teacher that they learn from.

        Raises:
            UserError: The teacher is no encoder, has fewer layers, or sees other tokens.
        """
        place, network = "config.student.model 'teacher_layers'", teacher.network
        if network is None or not isinstance(network.model, Encoder):
            raise UserError(
                f"{place} needs a teacher with config.teacher.source 'encoder'; take "
                "'transformer' for a network of its own"
            )
        if network.inputs != inputs.fingerprint:
            raise UserError(
                f"{place} needs the teacher's tokens; set config.student.inputs.name to 'tokens' "
                "and leave its checkpoint empty"
            )
        whole = network.model
        architecture = sections.with_place(
            place, pretrained.cut_architecture, whole.architecture, self.layers
        )
        model = dataclasses.replace(
            whole, num_outputs=num_outputs, architecture=architecture, dropout=self.dropout
        )

        def initial() -> Mapping[str, Any]:
            trunk = network.load()["trunk"]
            return {"trunk": pretrained.cut_parameters(whole.architecture, trunk, self.layers)}

        return _from_encoder(model, initial, teacher.fingerprint)


@dataclasses.dataclass(frozen=True)
class FromCheckpoint:
    """A smaller pretrained encoder.

    Attributes:
        checkpoint: Its folder, or its name on the Hugging Face hub.
        pooling: "mean" over the tokens, "cls" for the first token, or the checkpoint's "pooler".
        dropout: Share of values dropped in training.
        checkpointing: Whether the backward pass recomputes each layer instead of storing it.
        compute_dtype: Type of the matrix products.
    """

    checkpoint: Annotated[str, NonEmpty("a Hugging Face checkpoint")]
    pooling: Pooling = "mean"
    dropout: Annotated[float, SHARE] = 0.1
    checkpointing: bool = False
    compute_dtype: ComputeDtype = "float32"

    def build(self, num_outputs: int, inputs: Inputs, teacher: Teacher) -> StudentModel:
        """Builds the network of a student.

        Args:
            num_outputs: Width of the output layer.
            inputs: The students' inputs.
            teacher: Not used.

        Raises:
            UserError: The checkpoint cannot be used, or does not know the tokens.
        """
        del teacher
        found = pretrained.load(self.checkpoint, f"{_PLACE}.checkpoint")
        options = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "checkpoint"
        }
        model = sections.with_place(_PLACE, Encoder, num_outputs, found.architecture, **options)
        if inputs.num_tokens > found.architecture.num_tokens:
            raise UserError(
                f"config.student.model.checkpoint embeds {found.architecture.num_tokens} tokens, "
                f"but the students see {inputs.num_tokens}; leave config.student.inputs.checkpoint "
                "empty, so that they are the checkpoint's own"
            )
        initial = functools.partial(_trunk, found, self.pooling)
        return _from_encoder(model, initial, found.fingerprint)


ORIGINS: Mapping[str, type[TeacherLayers] | type[FromCheckpoint]] = {
    "teacher_layers": TeacherLayers,
    "pretrained": FromCheckpoint,
}
SECTION = Named("name", models.MODELS, ORIGINS, hidden=models.SECTION.hidden)


def check(settings: Mapping[str, Any], *, of_tokens: bool) -> None:
    """Checks that a network can be built.

    Args:
        settings: The family under "name", and its own keys.
        of_tokens: Whether its inputs are tokens.

    Raises:
        UserError: The family or a key is unknown, a value is not allowed, or the family takes other
            inputs.
    """
    if sections.find_class(SECTION, settings, _PLACE) not in ORIGINS.values():
        sections.with_place(_PLACE, models.build, settings, 2, 2 if of_tokens else 0)
        return
    _of(settings)
    if not of_tokens:
        raise UserError(
            f"{_PLACE}.name {settings['name']!r} takes tokens, but the inputs are numbers; set "
            "config.student.inputs.name to 'tokens'"
        )


def build(
    settings: Mapping[str, Any], num_outputs: int, inputs: Inputs, teacher: Teacher
) -> StudentModel:
    """Builds the network of a student.

    Args:
        settings: The family under "name", and its settings.
        num_outputs: Width of the output layer.
        inputs: The students' inputs.
        teacher: The teacher that they learn from.

    Raises:
        UserError: It cannot start from the parameters that it should.
    """
    if settings["name"] in ORIGINS:
        return _of(settings).build(num_outputs, inputs, teacher)
    return StudentModel(models.build(settings, num_outputs, inputs.num_tokens), settings)


def _of(settings: Mapping[str, Any]) -> TeacherLayers | FromCheckpoint:
    values = {key: value for key, value in settings.items() if key != "name"}
    found: TeacherLayers | FromCheckpoint = sections.build(
        ORIGINS[settings["name"]], values, _PLACE
    )
    return found


def _trunk(found: pretrained.Pretrained, pooling: str) -> Mapping[str, Any]:
    return {"trunk": found.trunk(pooling)}


def _from_encoder(
    model: Encoder, initial: Callable[[], Mapping[str, Any]], origin: str
) -> StudentModel:
    """Returns an encoder with its settings, as stored in a student's folder."""
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
