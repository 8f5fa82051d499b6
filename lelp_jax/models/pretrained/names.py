"""Which tensors of a checkpoint are which parameter of a trunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.pretrained.families import BY_NAME, Pooler


class Parameter(NamedTuple):
    """One parameter of a trunk.

    Attributes:
        path: Its names in the trunk.
        tensors: The names of its parts in the checkpoint, without the prefix of the encoder; they
            are concatenated along the last axis, each of them as wide as the others.
        shape: Its shape in the trunk.
        in_head: Whether the tensors belong to a head beside the encoder.
    """

    path: tuple[str, ...]
    tensors: tuple[str, ...]
    shape: tuple[int, ...]
    in_head: bool = False

    @property
    def transposed(self) -> bool:
        """Whether the checkpoint holds it as [outputs, inputs]."""
        return self.path[-1] == "kernel"


def parameters(architecture: Architecture, pooler: Pooler | None) -> Iterator[Parameter]:
    """Yields all parameters of a trunk.

    Args:
        architecture: Sizes; the family says how the checkpoint names them.
        pooler: The pooler of the checkpoint; None where it has none.
    """
    sizes, family = architecture, BY_NAME[architecture.family]
    width, biased = sizes.embedding_dims or sizes.dims, sizes.biased
    rows = {
        "word": sizes.num_tokens,
        "position": sizes.position_rows,
        "token_type": sizes.token_types,
    }
    for name, count in rows.items():
        if count:
            tensor = f"{family.embeddings[name]}.weight"
            yield Parameter(("embeddings", name), (tensor,), (count, width))
    yield from _norm(("embeddings", "norm"), family.embeddings["norm"], width, biased)
    if sizes.embedding_dims:
        mapping = family.embeddings["projection"]
        yield from _dense(("embeddings", "projection"), [mapping], (width, sizes.dims), True)
    yield from _distances(sizes)
    shapes = {
        "query_key_value": (sizes.dims, 3 * sizes.dims),
        "output": (sizes.dims, sizes.dims),
        "up": (sizes.dims, (1 + sizes.gated) * sizes.hidden),
        "down": (sizes.hidden, sizes.dims),
    }
    for number in range(sizes.blocks):
        group, inner = divmod(number, sizes.inner)
        block = family.block.format(number=number, group=group, inner=inner)
        for name, tensors in family.in_block.items():
            path = (f"layer_{number}", name)
            full = [f"{block}.{tensor}" for tensor in tensors.split()]
            if name in shapes:
                yield from _dense(path, full, shapes[name], biased)
            elif number or name != "attention_norm" or sizes.first_norm:
                yield from _norm(path, full[0], sizes.dims, biased)
    if family.final_norm:
        yield from _norm(("final_norm",), family.final_norm, sizes.dims, biased)
    if pooler:
        found = [*_dense(("pooler",), [pooler.dense], (sizes.dims, sizes.dims), biased)]
        if pooler.norm:
            found += _norm(("pooler_norm",), pooler.norm, sizes.dims, biased)
        yield from (parameter._replace(in_head=pooler.in_head) for parameter in found)


def _distances(sizes: Architecture) -> Iterator[Parameter]:
    tensors = BY_NAME[sizes.family].distances
    shape = {
        "bias": (sizes.buckets, sizes.heads),
        "disentangled": (2 * sizes.buckets, sizes.dims),
    }.get(sizes.position)
    if shape:
        yield Parameter(("distances", "table"), (f"{tensors['table']}.weight",), shape)
    if "norm" in tensors:
        yield from _norm(("distances", "norm"), tensors["norm"], sizes.dims, sizes.biased)


def _dense(
    path: tuple[str, ...], tensors: Sequence[str], shape: tuple[int, int], biased: bool
) -> Iterator[Parameter]:
    yield Parameter((*path, "kernel"), tuple(f"{tensor}.weight" for tensor in tensors), shape)
    if biased:
        yield Parameter((*path, "bias"), tuple(f"{tensor}.bias" for tensor in tensors), shape[1:])


def _norm(path: tuple[str, ...], tensor: str, width: int, biased: bool) -> Iterator[Parameter]:
    yield Parameter((*path, "scale"), (f"{tensor}.weight",), (width,))
    if biased:
        yield Parameter((*path, "bias"), (f"{tensor}.bias",), (width,))
