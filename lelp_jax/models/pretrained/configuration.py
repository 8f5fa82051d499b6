"""The architecture that a checkpoint's config.json tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lelp_jax.core import sections
from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.pretrained.fetching import CONFIG

# Each model_type that is one of the families, under this name or another.
FAMILIES: Mapping[str, str] = {
    "albert": "albert",
    "bert": "bert",
    "camembert": "roberta",
    "distilbert": "distilbert",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
}
_ACTIVATIONS: Mapping[str, str] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
}
# How config.json names each size, and what it means where it says nothing.
_COMMON: Mapping[str, tuple[str, Any]] = {
    "num_tokens": ("vocab_size", None),
    "dims": ("hidden_size", None),
    "layers": ("num_hidden_layers", None),
    "heads": ("num_attention_heads", None),
    "hidden": ("intermediate_size", None),
    "positions": ("max_position_embeddings", 512),
    "token_types": ("type_vocab_size", 2),
    "activation": ("hidden_act", "gelu"),
    "norm_epsilon": ("layer_norm_eps", 1e-12),
}
_OWN: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "bert": {},
    "roberta": {},
    "distilbert": {
        "dims": ("dim", None),
        "layers": ("n_layers", None),
        "heads": ("n_heads", None),
        "hidden": ("hidden_dim", None),
        "activation": ("activation", "gelu"),
    },
    "albert": {
        "embedding_dims": ("embedding_size", None),
        "groups": ("num_hidden_groups", 1),
        "inner": ("inner_group_num", 1),
        "activation": ("hidden_act", "gelu_new"),
    },
}
# What would make it another network than the one that is built here.
_REFUSED: Mapping[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


def read(folder: Path, *, pooler: bool, place: str) -> Architecture:
    """Reads the architecture of a checkpoint.

    Args:
        folder: The checkpoint.
        pooler: Whether it holds the dense layer of the first token.
        place: Where it was named, for messages.

    Raises:
        UserError: config.json is missing or damaged, or tells of another network.
    """
    path = folder / CONFIG
    values = content(path, place)
    family = _family(values, path, place)
    for key, only in _REFUSED.items():
        if values.get(key, only) != only:
            raise UserError(
                f"{place}: {path} has {key} {values[key]!r}, of which only {only!r} is supported; "
                "take another checkpoint"
            )
    names = {**_COMMON, **_OWN[family]}
    if family == "distilbert":
        del names["token_types"], names["norm_epsilon"]
    sizes: dict[str, Any] = {"family": family, "pooler": pooler}
    for field, (key, default) in names.items():
        value = values.get(key, default)
        if value is None:
            raise UserError(f"{place}: {path} has no {key}; take an undamaged copy of it")
        sizes[field] = value
    if sizes["activation"] not in _ACTIVATIONS:
        raise make_unknown_name_error(
            f"activation in {place}: {path}", sizes["activation"], _ACTIVATIONS
        )
    sizes["activation"] = _ACTIVATIONS[sizes["activation"]]
    if family == "roberta":
        # Rows up to that of the padding token are not for tokens.
        sizes["first_position"] = (values.get("pad_token_id", 1) or 0) + 1
    return sections.build(Architecture, sizes, f"{place}: {path}")


def content(path: Path, place: str) -> dict[str, Any]:
    """Reads a JSON file of a checkpoint.

    Args:
        path: The file.
        place: Where the checkpoint was named, for messages.

    Raises:
        UserError: It is missing, or not a JSON object.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{place}: {path} is missing; give the folder of a Hugging Face checkpoint"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{place}: {path} cannot be read ({error}); take an undamaged copy of it"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{place}: {path} holds no object; take an undamaged copy of it")
    return values


def _family(values: Mapping[str, Any], path: Path, place: str) -> str:
    name = values.get("model_type")
    if name not in FAMILIES:
        raise make_unknown_name_error(f"model_type in {place}: {path}", str(name), FAMILIES)
    return FAMILIES[str(name)]
