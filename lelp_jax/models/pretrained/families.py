"""The families of pretrained encoders: what config.json and the tensors of each are called.

A family is one record. To add one whose network is built from the parts that `Architecture` tells
of, add its record here and its name there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from lelp_jax.core.errors import UserError

Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Pooler:
    """A dense layer that summarises a text, of the encoder or of a head for classification.

    Attributes:
        dense: Name of its tensors, without the encoder's prefix.
        activation: Its activation, or the key of config.json that holds it, with the default.
        norm: Name of the normalisation after that; "" where there is none.
        source: What it sees, "cls" or "mean", or the key of config.json that holds it, with the
            default.
        in_head: Whether it belongs to a head beside the encoder, not to the encoder.
    """

    dense: str
    activation: str | tuple[str, str] = "tanh"
    norm: str = ""
    source: str | tuple[str, str] = "cls"
    in_head: bool = False


@dataclasses.dataclass(frozen=True)
class Family:
    """What a family's config.json and tensors are called.

    Attributes:
        sizes: For fields of the architecture, the key of config.json and the value where there is
            none; None where it has to be there.
        fixed: Fields of the architecture that all encoders of the family share.
        only: For keys of config.json, the values of which the network is built, and the value where
            there is none.
        derive: Computes the fields that need more than one key.
        prefix: What transformers puts before the encoder's tensors in a model with a head.
        embeddings: Tensors of the embeddings' parameters.
        distances: The same for the table of distances.
        block: Where the tensors of a block are, with `{number}`, `{group}` and `{inner}`.
        in_block: Tensors of a block's parameters; several are concatenated.
        final_norm: The normalisation of the last hidden state; "" where there is none.
        poolers: The first whose tensors are there is taken.
    """

    sizes: Mapping[str, tuple[str, Any]]
    prefix: str
    in_block: Mapping[str, str]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    only: Mapping[str, tuple[tuple[Any, ...], Any]] = dataclasses.field(default_factory=dict)
    derive: Callable[[Values, dict[str, Any]], Mapping[str, Any]] | None = None
    embeddings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    distances: Mapping[str, str] = dataclasses.field(default_factory=dict)
    block: str = "encoder.layer.{number}"
    final_norm: str = ""
    poolers: tuple[Pooler, ...] = ()


_SIZES: Mapping[str, tuple[str, Any]] = {
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
_NO_TYPES = {name: key for name, key in _SIZES.items() if name != "token_types"}
_ONLY: Mapping[str, tuple[tuple[Any, ...], Any]] = {
    "position_embedding_type": (("absolute",), "absolute"),
    "is_decoder": ((False,), False),
    "add_cross_attention": ((False,), False),
}
_EMBEDDINGS = {
    "word": "embeddings.word_embeddings",
    "position": "embeddings.position_embeddings",
    "token_type": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}
_IN_BLOCK = {
    "query_key_value": "attention.self.query attention.self.key attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
_POOLER = Pooler("pooler.dense")


def _derive_roberta(values: Values, sizes: dict[str, Any]) -> Mapping[str, Any]:
    """Finds the first row of positions: those up to the padding token's are not for tokens."""
    del sizes
    return {"first_position": (values.get("pad_token_id", 1) or 0) + 1}


def _derive_electra(values: Values, sizes: dict[str, Any]) -> Mapping[str, Any]:
    """Finds the width of the tables; no dense layer follows where it is that of hidden states."""
    del values
    return {"embedding_dims": 0} if sizes["embedding_dims"] == sizes["dims"] else {}


def _derive_deberta(values: Values, sizes: dict[str, Any]) -> Mapping[str, Any]:
    """Finds the longest distance, which may follow from the number of places."""
    kinds = values.get("pos_att_type")
    if isinstance(kinds, str):
        kinds = [kind.strip() for kind in kinds.lower().split("|")]
    if sorted(kinds or []) != ["c2p", "p2c"]:
        raise UserError(
            f"has pos_att_type {values.get('pos_att_type')!r}, of which only 'p2c|c2p' is supported"
        )
    longest = values.get("max_relative_positions", -1)
    return {"max_distance": longest if longest > 0 else sizes["positions"]}


def _derive_modernbert(values: Values, sizes: dict[str, Any]) -> Mapping[str, Any]:
    """Finds each layer's window and the bases of rotations, in the words of old and new configs."""
    every = values.get("global_attn_every_n_layers", 3)
    kinds = values.get("layer_types") or [
        "sliding_attention" if number % every else "full_attention"
        for number in range(sizes["layers"])
    ]
    window = {"sliding_attention": values.get("local_attention", 128) // 2, "full_attention": 0}
    rotations = values.get("rope_parameters") or {}
    full, local = (rotations.get(kind) or {} for kind in ("full_attention", "sliding_attention"))
    kind = {full.get("rope_type", "default"), local.get("rope_type", "default")}
    if kind != {"default"} or values.get("rope_scaling"):
        raise UserError("scales its rotary positions, which is not supported")
    base = full.get("rope_theta") or values.get("global_rope_theta", 160_000.0)
    return {
        "windows": [window.get(kind, -1) for kind in kinds],
        "rotary_base": base,
        "local_rotary_base": local.get("rope_theta")
        or values.get("local_rope_theta", 10_000.0)
        # "null" gives all layers one base.
        or base,
    }


BY_NAME: Mapping[str, Family] = {
    "albert": Family(
        sizes={
            **_SIZES,
            "embedding_dims": ("embedding_size", None),
            "groups": ("num_hidden_groups", 1),
            "inner": ("inner_group_num", 1),
            "activation": ("hidden_act", "gelu_new"),
        },
        only=_ONLY,
        prefix="albert.",
        embeddings={**_EMBEDDINGS, "projection": "encoder.embedding_hidden_mapping_in"},
        block="encoder.albert_layer_groups.{group}.albert_layers.{inner}",
        in_block={
            "query_key_value": "attention.query attention.key attention.value",
            "output": "attention.dense",
            "attention_norm": "attention.LayerNorm",
            "up": "ffn",
            "down": "ffn_output",
            "norm": "full_layer_layer_norm",
        },
        poolers=(Pooler("pooler"),),
    ),
    "bert": Family(
        sizes=_SIZES,
        only=_ONLY,
        prefix="bert.",
        embeddings=_EMBEDDINGS,
        in_block=_IN_BLOCK,
        poolers=(_POOLER,),
    ),
    "deberta": Family(
        sizes={
            **_SIZES,
            "token_types": ("type_vocab_size", 0),
            "norm_epsilon": ("layer_norm_eps", 1e-7),
            "buckets": ("position_buckets", -1),
        },
        fixed={"position": "disentangled"},
        only={
            "relative_attention": ((True,), False),
            "share_att_key": ((True,), False),
            "norm_rel_ebd": (("layer_norm",), "none"),
            "position_biased_input": ((False,), True),
            "conv_kernel_size": ((0,), 0),
        },
        derive=_derive_deberta,
        prefix="deberta.",
        embeddings=_EMBEDDINGS,
        distances={"table": "encoder.rel_embeddings", "norm": "encoder.LayerNorm"},
        in_block={
            **_IN_BLOCK,
            "query_key_value": "attention.self.query_proj attention.self.key_proj "
            "attention.self.value_proj",
        },
        poolers=(Pooler("pooler.dense", ("pooler_hidden_act", "gelu"), in_head=True),),
    ),
    "distilbert": Family(
        sizes={
            "num_tokens": ("vocab_size", None),
            "dims": ("dim", None),
            "layers": ("n_layers", None),
            "heads": ("n_heads", None),
            "hidden": ("hidden_dim", None),
            "positions": ("max_position_embeddings", 512),
            "activation": ("activation", "gelu"),
        },
        only=_ONLY,
        prefix="distilbert.",
        embeddings=_EMBEDDINGS,
        block="transformer.layer.{number}",
        in_block={
            "query_key_value": "attention.q_lin attention.k_lin attention.v_lin",
            "output": "attention.out_lin",
            "attention_norm": "sa_layer_norm",
            "up": "ffn.lin1",
            "down": "ffn.lin2",
            "norm": "output_layer_norm",
        },
        poolers=(Pooler("pre_classifier", "relu", in_head=True),),
    ),
    "electra": Family(
        sizes={**_SIZES, "embedding_dims": ("embedding_size", 128)},
        only=_ONLY,
        derive=_derive_electra,
        prefix="electra.",
        embeddings={**_EMBEDDINGS, "projection": "embeddings_project"},
        in_block=_IN_BLOCK,
        poolers=(Pooler("classifier.dense", "gelu", in_head=True),),
    ),
    "modernbert": Family(
        sizes={
            **_NO_TYPES,
            "positions": ("max_position_embeddings", 8192),
            "activation": ("hidden_activation", "gelu"),
            "norm_epsilon": ("norm_eps", 1e-5),
        },
        fixed={
            "position": "rotary",
            "norm": "pre",
            "first_norm": False,
            "gated": True,
            "biased": False,
        },
        only={
            "attention_bias": ((False,), False),
            "mlp_bias": ((False,), False),
            "norm_bias": ((False,), False),
            "classifier_bias": ((False,), False),
        },
        derive=_derive_modernbert,
        prefix="model.",
        embeddings={"word": "embeddings.tok_embeddings", "norm": "embeddings.norm"},
        block="layers.{number}",
        in_block={
            "attention_norm": "attn_norm",
            "query_key_value": "attn.Wqkv",
            "output": "attn.Wo",
            "norm": "mlp_norm",
            "up": "mlp.Wi",
            "down": "mlp.Wo",
        },
        final_norm="final_norm",
        poolers=(
            Pooler(
                "head.dense",
                ("classifier_activation", "gelu"),
                "head.norm",
                ("classifier_pooling", "cls"),
                in_head=True,
            ),
        ),
    ),
    "mpnet": Family(
        sizes=_NO_TYPES,
        # The network, unlike its config, does not let them be chosen.
        fixed={"position": "bias", "buckets": 32, "max_distance": 128, "first_position": 2},
        only={"relative_attention_num_buckets": ((32,), 32)},
        prefix="mpnet.",
        embeddings=_EMBEDDINGS,
        distances={"table": "encoder.relative_attention_bias"},
        in_block={
            **_IN_BLOCK,
            "query_key_value": "attention.attn.q attention.attn.k attention.attn.v",
            "output": "attention.attn.o",
            "attention_norm": "attention.LayerNorm",
        },
        poolers=(Pooler("classifier.dense", in_head=True), _POOLER),
    ),
    "roberta": Family(
        sizes=_SIZES,
        only=_ONLY,
        derive=_derive_roberta,
        prefix="roberta.",
        embeddings=_EMBEDDINGS,
        in_block=_IN_BLOCK,
        poolers=(Pooler("classifier.dense", in_head=True), _POOLER),
    ),
}
# Each model_type that is one of the families, under this name or another.
MODEL_TYPES: Mapping[str, str] = {
    "albert": "albert",
    "bert": "bert",
    "camembert": "roberta",
    "deberta-v2": "deberta",
    "distilbert": "distilbert",
    "electra": "electra",
    "modernbert": "modernbert",
    "mpnet": "mpnet",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
}
