"""The architecture that a checkpoint's config.json tells of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lelp_jax.core import sections
from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.pretrained.families import BY_NAME, MODEL_TYPES, Family, Pooler
from lelp_jax.models.pretrained.folder import CONFIG, read_json

_ACTIVATIONS: Mapping[str, str] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
}


def read_family(folder: Path, name: str, place: str) -> str:
    """Reads which family a checkpoint is of.

    Args:
        folder: A folder with its config.json.
        name: What the user called it, for messages.
        place: Where it was named, for messages.

    Raises:
        UserError: config.json is missing or damaged, or no family here is this one.
    """
    path = folder / CONFIG
    model_type = read_json(path, place).get("model_type")
    known = ", ".join(MODEL_TYPES)
    if model_type is None:
        raise UserError(
            f"{place}: {path} has no model_type; write the one of its network into it, such as "
            f'"model_type": "bert"; known: {known}'
        )
    # What is not a text is no name.
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise UserError(
            f"{place}: {path} has model_type {model_type!r}, of which there is no network here "
            f"(known: {known}); {_suggest_answers(name)}"
        )
    return MODEL_TYPES[model_type]


def read(folder: Path, name: str, family: str, place: str) -> Architecture:
    """Reads the architecture of a checkpoint, without the pooler that it may have.

    Args:
        folder: The checkpoint.
        name: What the user called it, for messages.
        family: Its family.
        place: Where it was named, for messages.

    Raises:
        UserError: config.json is damaged, or tells of another network.
    """
    path = folder / CONFIG
    values, record = read_json(path, place), BY_NAME[family]
    for key, (allowed, default) in record.only.items():
        if values.get(key, default) not in allowed:
            raise UserError(
                f"{place}: {path} has {key} {values.get(key, default)!r}, of which only "
                f"{allowed[0]!r} is supported; {_suggest_answers(name)}"
            )
    sizes = {"family": family, **record.fixed, **_read_sizes(values, record, path, place)}
    if record.derive:
        try:
            sizes.update(record.derive(values, sizes))
        except UserError as error:
            raise UserError(f"{place}: {path} {error}; {_suggest_answers(name)}") from error
        except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise UserError(
                f"{place}: {path} holds a value of another type than it should ({error}); take an "
                "undamaged copy of it"
            ) from error
    return sections.build(Architecture, sizes, f"{place}: {path}")


def add_pooler(
    architecture: Architecture, pooler: Pooler, folder: Path, place: str
) -> Architecture:
    """Adds the pooler of a checkpoint to its architecture.

    Args:
        architecture: Its sizes.
        pooler: The pooler that its tensors have.
        folder: The checkpoint.
        place: Where it was named, for messages.

    Raises:
        UserError: config.json is damaged, or tells of another pooler.
    """
    path = folder / CONFIG
    values = read_json(path, place)
    source, activation = (_look_up(values, at) for at in (pooler.source, pooler.activation))
    sizes = {
        **dataclasses.asdict(architecture),
        "pooler": True,
        "pooler_input": source,
        "pooler_activation": _ACTIVATIONS.get(str(activation), activation),
        "pooler_norm": bool(pooler.norm),
    }
    return sections.build(Architecture, sizes, f"{place}: {path}")


def _read_sizes(
    values: Mapping[str, Any], record: Family, path: Path, place: str
) -> dict[str, Any]:
    sizes = {}
    for field, (key, default) in record.sizes.items():
        value = values.get(key, default)
        if value is None:
            raise UserError(f"{place}: {path} has no {key}; take an undamaged copy of it")
        sizes[field] = value
    activation = str(sizes["activation"])
    if activation not in _ACTIVATIONS:
        raise make_unknown_name_error(f"activation in {place}: {path}", activation, _ACTIVATIONS)
    sizes["activation"] = _ACTIVATIONS[activation]
    return sizes


def _suggest_answers(name: str) -> str:
    """Says what can be done with a network that is not built here."""
    return (
        f"let PyTorch answer as a teacher with `python -m lelp_jax.answer --model={name} "
        "--data=DATA --out=teacher.npz`, and take config.teacher.source 'arrays'"
    )


def _look_up(values: Mapping[str, Any], at: str | tuple[str, str]) -> Any:
    return at if isinstance(at, str) else values.get(*at)
