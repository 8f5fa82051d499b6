"""Model families by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lelp_jax.errors import UserError, unknown_name
from lelp_jax.models import mlp
from lelp_jax.models.outputs import Model
from lelp_jax.models.outputs import output_layer as output_layer

MODELS: Mapping[str, Any] = {"mlp": mlp.MLP}


def build(settings: Mapping[str, Any], num_outputs: int) -> Model:
    """Returns a model.

    Args:
        settings: The family under "name", and the family's own settings.
        num_outputs: Width of the output layer.

    Raises:
        UserError: The family or a setting is unknown, or a value is out of range.
    """
    values = dict(settings)
    name = values.pop("name", "")
    if name not in MODELS:
        raise unknown_name("model name", name, MODELS)
    family = MODELS[name]
    known = {field.name for field in dataclasses.fields(family)} - {"num_outputs", "parent", "name"}
    for key in values:
        if key not in known:
            raise unknown_name(f"setting of model {name!r}", key, known)
    try:
        problem = family.check(**values)
    except TypeError as error:
        raise UserError(f"model {name!r}: {error}") from error
    if problem:
        raise UserError(f"model {name!r}: {problem}")
    return family(num_outputs=num_outputs, **values)
