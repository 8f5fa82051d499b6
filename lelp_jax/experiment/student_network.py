"""Builds a student's network: a model family, layers of its teacher, or a pretrained encoder."""

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
from lelp_jax.models.encoder.trunk import check_pooling
from lelp_jax.models.outputs import ComputeDtype, InputKind
from lelp_jax.models.pretrained import PoolingChoice
from lelp_jax.teachers.base import Teacher

_PLACE = "config.student.model"


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
        architecture = sections.call_with_place(
            place, pretrained.cut_architecture, encoder.architecture, self.layers
        )
        model = dataclasses.replace(
            encoder, num_outputs=num_outputs, architecture=architecture, dropout=self.dropout
        )

        def initial() -> Mapping[str, Any]:
            trunk = network.load().parameters["trunk"]
            return {"trunk": pretrained.cut_parameters(encoder.architecture, trunk, self.layers)}

        return _make_student_model(model, initial, teacher.fingerprint)


@dataclasses.dataclass(frozen=True)
class FromCheckpoint:
    """A pretrained encoder, usually smaller than the teacher.

    Attributes:
        checkpoint: A folder, or a name on the hub.
        pooling: "mean" over the tokens, "cls" for the first, "pooler" for what the checkpoint's own
            dense layer makes of them; "auto" is what a sentence-transformers checkpoint says, and
            "mean" for others.
        dropout: Share of values dropped in training.
        checkpointing: Whether to recompute activations in the backward pass instead of storing
            them.
        compute_dtype: Type of the matrix products.
    """

    checkpoint: Annotated[str, NonEmpty("a Hugging Face checkpoint")]
    pooling: PoolingChoice = "auto"
    dropout: Annotated[float, SHARE] = 0.1
    checkpointing: bool = False
    compute_dtype: ComputeDtype = "float32"

    def check(self) -> None:
        """Opens the checkpoint and checks that it has what the pooling needs.

        Raises:
            UserError: It cannot be used.
        """
        loaded = pretrained.load(self.checkpoint, f"{_PLACE}.checkpoint")
        pooling = loaded.choose_pooling(self.pooling)
        sections.call_with_place(_PLACE, check_pooling, loaded.architecture, pooling)

    def build(self, num_outputs: int, inputs: Inputs, teacher: Teacher) -> StudentModel:
        """Builds the network of a student.

        Args:
            num_outputs: Width of the output layer.
            inputs: The students' inputs.
            teacher: Not used.

        Raises:
            UserError: The checkpoint cannot be used, or has another vocabulary than the inputs.
        """
        del teacher
        loaded = pretrained.load(self.checkpoint, f"{_PLACE}.checkpoint")
        options = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "checkpoint"
        } | {"pooling": loaded.choose_pooling(self.pooling)}
        model = sections.call_with_place(
            _PLACE, Encoder, num_outputs, loaded.architecture, **options
        )
        if inputs.num_tokens > loaded.architecture.num_tokens:
            raise UserError(
                f"config.student.model.checkpoint embeds {loaded.architecture.num_tokens} tokens, "
                f"but the students see {inputs.num_tokens}; leave config.student.inputs.checkpoint "
                "empty, so that the checkpoint's tokenizer is used"
            )
        initial = functools.partial(_load_trunk, loaded, options["pooling"])
        return _make_student_model(model, initial, loaded.fingerprint)


ORIGINS: Mapping[str, type[TeacherLayers] | type[FromCheckpoint]] = {
    "teacher_layers": TeacherLayers,
    "pretrained": FromCheckpoint,
}
SECTION = Named("name", models.MODELS, ORIGINS, hidden=models.SECTION.hidden)


def check(settings: Mapping[str, Any], kind: InputKind) -> None:
    """Checks that a network can be built.

    Args:
        settings: The family under "name", and its own keys.
        kind: What it sees.

    Raises:
        UserError: The family or a key is unknown, a value is not allowed, or the family takes other
            inputs.
    """
    if sections.find_class(SECTION, settings, _PLACE) not in ORIGINS.values():
        sections.call_with_place(_PLACE, models.check, settings, kind)
        return
    _build_origin(settings)
    if kind != "tokens":
        raise UserError(
            f"{_PLACE}.name {settings['name']!r} takes tokens, but the inputs are {kind}; set "
            "config.student.inputs.name to 'tokens'"
        )


def check_checkpoint(settings: Mapping[str, Any]) -> None:
    """Checks the checkpoint that students start from, which takes reading it.

    Args:
        settings: The family under "name", and its own keys.

    Raises:
        UserError: It cannot be used.
    """
    if settings["name"] in ORIGINS:
        origin = _build_origin(settings)
        if isinstance(origin, FromCheckpoint):
            origin.check()


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
        UserError: The initial parameters do not exist or do not fit the inputs.
    """
    if settings["name"] in ORIGINS:
        return _build_origin(settings).build(num_outputs, inputs, teacher)
    return StudentModel(models.build(settings, num_outputs, inputs.num_tokens), settings)


def _build_origin(settings: Mapping[str, Any]) -> TeacherLayers | FromCheckpoint:
    values = {key: value for key, value in settings.items() if key != "name"}
    origin: TeacherLayers | FromCheckpoint = sections.build(
        ORIGINS[settings["name"]], values, _PLACE
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
        "architecture": model.architecture.describe(),
        "pooling": model.pooling,
        "dropout": model.dropout,
        "checkpointing": model.checkpointing,
        "compute_dtype": model.compute_dtype,
    }
    network: Any = model
    return StudentModel(network, settings, initial, origin)
