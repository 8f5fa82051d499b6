"""Model families by name."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from lelp_jax import sections
from lelp_jax.errors import UserError, unknown_name
from lelp_jax.models import mlp
from lelp_jax.models.outputs import Model
from lelp_jax.models.outputs import output_layer as output_layer

# Fields of every linen module that a config does not set.
_NOT_SETTINGS = frozenset({"num_outputs", "parent", "name"})
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
    kinds = typing.get_type_hints(family)
    fields = {field.name: field for field in dataclasses.fields(family)}
    known = {key: field for key, field in fields.items() if key not in _NOT_SETTINGS}
    for key, value in values.items():
        if key not in known:
            raise unknown_name(f"setting of model {name!r}", key, known)
        values[key] = sections.typed(value, kinds[key], key)
    for key, field in known.items():
        if key not in values and field.default is dataclasses.MISSING:
            raise UserError(f"{key} of model {name!r} is missing")
    problem = family.check(**values)
    if problem:
        raise UserError(problem)
    return family(num_outputs=num_outputs, **values)
