"""Which tensors of a checkpoint are which parameter of a trunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lelp_jax.models.encoder.architecture import Architecture

POOLER: Mapping[str, str] = {
    "albert": "pooler",
    "bert": "pooler.dense",
    "roberta": "pooler.dense",
}
_BERT = {
    "query_key_value": "attention.self.query attention.self.key attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
# Several tensors are concatenated in one parameter.
_IN_BLOCK: Mapping[str, Mapping[str, str]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": {
        "query_key_value": "attention.q_lin attention.k_lin attention.v_lin",
        "output": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "up": "ffn.lin1",
        "down": "ffn.lin2",
        "norm": "output_layer_norm",
    },
    "albert": {
        "query_key_value": "attention.query attention.key attention.value",
        "output": "attention.dense",
        "attention_norm": "attention.LayerNorm",
        "up": "ffn",
        "down": "ffn_output",
        "norm": "full_layer_layer_norm",
    },
}


class Parameter(NamedTuple):
    """One parameter of a trunk.

    Attributes:
        path: Its names in the trunk.
        tensors: The names of its parts in the checkpoint, without the prefix of the encoder; they
            are concatenated along the last axis, each of them as wide as the others.
        shape: Its shape in the trunk.
    """

    path: tuple[str, ...]
    tensors: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def transposed(self) -> bool:
        """Whether the checkpoint holds it as [outputs, inputs]."""
        return self.path[-1] == "kernel"


def parameters(architecture: Architecture) -> Iterator[Parameter]:
    """Yields all parameters of a trunk, with the pooler where the architecture has it.

    Args:
        architecture: Sizes; the family says how the checkpoint names them.
    """
    sizes = architecture
    width = sizes.embedding_dims or sizes.dims
    rows = {
        "word": ("word_embeddings", sizes.num_tokens),
        "position": ("position_embeddings", sizes.positions),
        "token_type": ("token_type_embeddings", sizes.token_types),
    }
    for name, (tensor, count) in rows.items():
        if count:
            yield Parameter(("embeddings", name), (f"embeddings.{tensor}.weight",), (count, width))
    yield from _norm(("embeddings", "norm"), "embeddings.LayerNorm", width)
    if sizes.embedding_dims:
        mapping = "encoder.embedding_hidden_mapping_in"
        yield from _dense(("embeddings", "projection"), [mapping], (width, sizes.dims))
    shapes = {
        "query_key_value": (sizes.dims, 3 * sizes.dims),
        "output": (sizes.dims, sizes.dims),
        "up": (sizes.dims, sizes.hidden),
        "down": (sizes.hidden, sizes.dims),
    }
    for number in range(sizes.blocks):
        for name, tensors in _IN_BLOCK[sizes.family].items():
            path = (f"layer_{number}", name)
            full = [f"{_block(sizes, number)}.{tensor}" for tensor in tensors.split()]
            if name in shapes:
                yield from _dense(path, full, shapes[name])
            else:
                yield from _norm(path, full[0], sizes.dims)
    if sizes.pooler:
        yield from _dense(("pooler",), [POOLER[sizes.family]], (sizes.dims, sizes.dims))


def _block(sizes: Architecture, number: int) -> str:
    if sizes.family == "albert":
        group, inner = divmod(number, sizes.inner)
        return f"encoder.albert_layer_groups.{group}.albert_layers.{inner}"
    return f"{'transformer' if sizes.family == 'distilbert' else 'encoder'}.layer.{number}"


def _dense(
    path: tuple[str, ...], tensors: Sequence[str], shape: tuple[int, int]
) -> Iterator[Parameter]:
    yield Parameter((*path, "kernel"), tuple(f"{tensor}.weight" for tensor in tensors), shape)
    yield Parameter((*path, "bias"), tuple(f"{tensor}.bias" for tensor in tensors), shape[1:])


def _norm(path: tuple[str, ...], tensor: str, width: int) -> Iterator[Parameter]:
    yield Parameter((*path, "scale"), (f"{tensor}.weight",), (width,))
    yield Parameter((*path, "bias"), (f"{tensor}.bias",), (width,))
