"""Model families by name."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Mapping
from typing import Any

from lelp_jax.core import sections
from lelp_jax.core.errors import UserError, unknown_name
from lelp_jax.models import bag_of_embeddings, bilstm, mlp, text_cnn
from lelp_jax.models.encoder import classifier as encoder
from lelp_jax.models.encoder import transformer
from lelp_jax.models.outputs import Model
from lelp_jax.models.outputs import output_layer as output_layer

# Fields of every linen module that a config does not set; the data say how many tokens there are.
_NOT_SETTINGS = frozenset({"num_outputs", "num_tokens", "parent", "name"})
MODELS: Mapping[str, Any] = {
    "mlp": mlp.MLP,
    "bag_of_embeddings": bag_of_embeddings.BagOfEmbeddings,
    "text_cnn": text_cnn.TextCNN,
    "bilstm": bilstm.BiLSTM,
    "transformer": transformer.Transformer,
    "encoder": encoder.Encoder,
}


def takes_tokens(family: Any) -> bool:
    """Returns whether a family takes tokens, which its class says by `of_tokens`, not numbers."""
    return bool(getattr(family, "of_tokens", False))


def identify(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Names a network in fingerprints: its settings, and the version of a family that has one.

    A family whose parameters change gets a new `version`, so that networks trained before are
    trained anew.

    Args:
        settings: The family under "name", and the family's own settings.
    """
    version = getattr(MODELS.get(settings.get("name", "")), "version", None)
    return {**settings, "version": version} if version else dict(settings)


def build(
    settings: Mapping[str, Any],
    num_outputs: int,
    num_tokens: int = 0,
    others: Collection[str] = (),
) -> Model:
    """Returns a model.

    Args:
        settings: The family under "name", and the family's own settings.
        num_outputs: Width of the output layer.
        num_tokens: Inputs are tokens in 0..num_tokens-1; 0 where they are numbers.
        others: What else the name might have been, for the message.

    Raises:
        UserError: The family or a setting is unknown, a value is out of range, or the family takes
            other inputs.
    """
    values = dict(settings)
    name = values.pop("name", "")
    if name not in MODELS:
        raise unknown_name("model name", name, [*MODELS, *others])
    fitting = [key for key, family in MODELS.items() if takes_tokens(family) == bool(num_tokens)]
    if name not in fitting:
        seen, wanted = ("tokens", "numbers") if num_tokens else ("numbers", "tokens")
        raise UserError(
            f"model {name!r} takes {wanted}, but the inputs are {seen}; take one of "
            f"{', '.join(fitting)}, or other inputs"
        )
    family = MODELS[name]
    kinds = typing.get_type_hints(family)
    fields = {field.name: field for field in dataclasses.fields(family)}
    known = {key: field for key, field in fields.items() if key not in _NOT_SETTINGS}
    for key, value in values.items():
        if key not in known:
            raise unknown_name(f"setting of model {name!r}", key, known)
        values[key] = (
            sections.build(kinds[key], value, key)
            if dataclasses.is_dataclass(kinds[key])
            else sections.typed(value, kinds[key], key)
        )
    for key, field in known.items():
        if key not in values and field.default is dataclasses.MISSING:
            raise UserError(f"{key} of model {name!r} is missing")
    problem = family.check(**values)
    if problem:
        raise UserError(problem)
    if "num_tokens" in fields:
        values["num_tokens"] = num_tokens
    return family(num_outputs=num_outputs, **values)
