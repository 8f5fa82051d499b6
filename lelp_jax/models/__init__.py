"""Model families by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from lelp_jax.core.fields import Named, read_fields
from lelp_jax.models import bag_of_embeddings, bilstm, mlp, text_cnn
from lelp_jax.models.convolutional import mobilenet, mobilenet_v2, resnet, small_cnn, wide_resnet
from lelp_jax.models.encoder import classifier as encoder
from lelp_jax.models.encoder import transformer
from lelp_jax.models.outputs import InputKind, Model
from lelp_jax.models.outputs import output_layer as output_layer

MODELS: Mapping[str, Any] = {
    "mlp": mlp.MLP,
    "bag_of_embeddings": bag_of_embeddings.BagOfEmbeddings,
    "text_cnn": text_cnn.TextCNN,
    "bilstm": bilstm.BiLSTM,
    "transformer": transformer.Transformer,
    "encoder": encoder.Encoder,
    "small_cnn": small_cnn.SmallCNN,
    "resnet": resnet.ResNet,
    "wide_resnet": wide_resnet.WideResNet,
    "mobilenet": mobilenet.MobileNet,
    "mobilenet_v2": mobilenet_v2.MobileNetV2,
}
# Every linen module has the fields `parent` and `name`; the data say how many tokens there are.
SECTION = Named("name", MODELS, hidden=frozenset({"num_outputs", "num_tokens", "parent", "name"}))


def find_kinds(family: Any) -> tuple[InputKind, ...]:
    """Finds the kinds of inputs that a family takes: its class has `of_tokens` or `of_images`.

    Any other family takes numbers, and may flatten images.
    """
    if getattr(family, "of_tokens", False):
        return ("tokens",)
    return ("images",) if getattr(family, "of_images", False) else ("numbers", "images")


def identify(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Names a network in fingerprints: its settings, and the version of a family that has one.

    A family whose parameters change gets a new `version`, so that networks trained before are
    trained anew.

    Args:
        settings: The family under "name", and the family's own settings.
    """
    version = getattr(MODELS.get(settings.get("name", "")), "version", None)
    return {**settings, "version": version} if version else dict(settings)


def check(settings: Mapping[str, Any], kind: InputKind) -> None:
    """Checks that a model can be built for inputs of a kind.

    Args:
        settings: The family under "name", and the family's own keys.
        kind: What the model would see.

    Raises:
        UserError: The family or a key is unknown, a value is not allowed, or the family takes
            other inputs.
    """
    build(settings, 2, 2 if kind == "tokens" else 0)
    name = settings[SECTION.key]
    wanted = find_kinds(MODELS[name])
    if kind not in wanted:
        fitting = [key for key, other in MODELS.items() if kind in find_kinds(other)]
        raise UserError(
            f"model {name!r} takes {wanted[0]}, but the inputs are {kind}; use one of "
            f"{', '.join(fitting)}, or other inputs"
        )


def build(settings: Mapping[str, Any], num_outputs: int, num_tokens: int = 0) -> Model:
    """Builds a model.

    Args:
        settings: The family under "name", and the family's own keys.
        num_outputs: Width of the output layer.
        num_tokens: Inputs are tokens in 0..num_tokens-1; 0 where they are numbers.

    Raises:
        UserError: The family or a key is unknown, or a value is not allowed.
    """
    values = dict(settings)
    family = sections.find_class(SECTION, values, "model")
    del values[SECTION.key]
    fields = read_fields(family, SECTION.hidden)
    values = sections.check_keys(values, fields, "model")
    if "num_tokens" in read_fields(family):
        values["num_tokens"] = num_tokens
    return family(num_outputs=num_outputs, **values)
