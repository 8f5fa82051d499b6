"""A transformer encoder without an output layer: from tokens to one vector a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.core.errors import UserError
from lelp_jax.models.dropout import Dropout
from lelp_jax.models.encoder import positions
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.attention import Block, Places
from lelp_jax.models.encoder.layers import ACTIVATIONS, LayerNorm, initializer
from lelp_jax.models.outputs import ComputeDtype
from lelp_jax.models.tokens import mask as find_tokens

Pooling = Literal["mean", "cls", "pooler"]


class Embeddings(nn.Module):
    """The first hidden states: rows of tokens, positions and token types, summed and normalised.

    Attributes:
        architecture: Sizes.
        dropout: Share of values dropped, in [0, 1).
        compute_dtype: Type of the matrix product, where a dense layer follows the tables.
        train: Whether dropout is on.
    """

    architecture: Architecture
    dropout: float
    compute_dtype: str
    train: bool

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Computes hidden states, [batch, length, dims] float32, of tokens [batch, length]."""
        sizes = self.architecture
        width = sizes.embedding_dims or sizes.dims
        length = tokens.shape[-1]
        word = self.param("word", initializer, (sizes.num_tokens, width))
        x = word[jnp.where(find_tokens(tokens), tokens, 0)]
        if sizes.position_rows:
            position = self.param("position", initializer, (sizes.position_rows, width))
            x = x + position[sizes.first_position : sizes.first_position + length]
        if sizes.token_types:
            x = x + self.param("token_type", initializer, (sizes.token_types, width))[0]
        x = LayerNorm(sizes.norm_epsilon, sizes.biased, name="norm")(x)
        x = Dropout(self.dropout)(x, train=self.train)
        if sizes.embedding_dims:
            dense = nn.Dense(
                sizes.dims,
                dtype=jnp.dtype(self.compute_dtype),
                kernel_init=initializer,
                name="projection",
            )
            x = dense(x).astype(jnp.float32)
        return x


class States(NamedTuple):
    """What a trunk makes of texts.

    Attributes:
        hidden: The last hidden state of each place, [batch, length, dims] float32.
        pooled: One vector a text, [batch, dims] float32.
    """

    hidden: jax.Array
    pooled: jax.Array


class Trunk(nn.Module):
    """Embeddings, then the blocks, then one vector a text.

    Parameters are float32; statistics of the normalisations, softmax and pooling are computed in
    float32, whatever the type of the matrix products.

    Attributes:
        architecture: Sizes.
        pooling: "mean" of the hidden states of all tokens, "cls" for that of the first token, or
            "pooler" for what the checkpoint's own dense layer makes of one of these.
        dropout: Share of values dropped, in [0, 1).
        checkpointing: Whether the gradient computes the inside of each block again in place of
            keeping it.
        compute_dtype: Type of the matrix products.
    """

    architecture: Architecture
    pooling: Pooling = "mean"
    dropout: float = 0.0
    checkpointing: bool = False
    compute_dtype: ComputeDtype = "float32"

    @nn.compact
    def __call__(self, tokens: jax.Array, *, train: bool = False) -> States:
        """Computes hidden states and their summary.

        Args:
            tokens: [batch, length] int32, `PAD` after the end.
            train: Whether dropout is on.

        Raises:
            UserError: There are more places than positions.
        """
        sizes = self.architecture
        if tokens.shape[-1] > sizes.longest:
            raise UserError(
                f"texts of {tokens.shape[-1]} tokens do not fit into this encoder, which takes "
                f"{sizes.longest} at most; cut them to that length"
            )
        mask = find_tokens(tokens)
        common = (sizes, self.dropout, self.compute_dtype, train)
        x = Embeddings(*common, name="embeddings")(tokens)
        places = self._places(mask)
        block = nn.remat(Block) if self.checkpointing else Block
        blocks = [
            block(*common, number == 0, name=f"layer_{number}") for number in range(sizes.blocks)
        ]
        windows = sizes.windows or (0,) * len(sizes.sequence)
        for number, window in zip(sizes.sequence, windows, strict=True):
            x = blocks[number](x, places[window])
        if sizes.norm == "pre":
            x = LayerNorm(sizes.norm_epsilon, sizes.biased, name="final_norm")(x)
        if self.pooling == "pooler":
            return States(x, self._pool(_summarise(x, mask, sizes.pooler_input)))
        return States(x, _summarise(x, mask, self.pooling))

    def _places(self, mask: jax.Array) -> dict[int, Places]:
        """Prepares what blocks need to tell places apart, for each window that one of them has.

        Args:
            mask: Which places hold a token, [batch, length] bool.
        """
        sizes, length = self.architecture, mask.shape[-1]
        bias = distances = None
        if sizes.position in ("bias", "disentangled"):
            rows = positions.Distances(sizes, name="distances")(length)
            if sizes.position == "disentangled":
                distances = rows
            else:
                bias = positions.shear(
                    jnp.broadcast_to(rows.T[:, None], (sizes.heads, length, len(rows)))
                )[None]
        result = {}
        for window in set(sizes.windows or (0,)):
            seen = mask[:, None, None, :]
            if window:
                place = jnp.arange(length)
                seen = seen & (jnp.abs(place[:, None] - place) <= window)
            angles = None
            if sizes.position == "rotary":
                angles = positions.compute_angles(sizes, length, window)
            result[window] = Places(seen, bias, distances, angles)
        return result

    def _pool(self, x: jax.Array) -> jax.Array:
        """Applies the pooler to a summary of each text, [batch, dims]."""
        sizes = self.architecture
        dense = nn.Dense(sizes.dims, use_bias=sizes.biased, kernel_init=initializer, name="pooler")
        x = ACTIVATIONS[sizes.pooler_activation](dense(x))
        if sizes.pooler_norm:
            x = LayerNorm(sizes.norm_epsilon, sizes.biased, name="pooler_norm")(x)
        return x


def _summarise(x: jax.Array, mask: jax.Array, how: Literal["mean", "cls"]) -> jax.Array:
    """Computes one vector per text: the first hidden state, or the mean of those of its tokens."""
    if how == "cls":
        return x[:, 0]
    weight = mask[..., None].astype(jnp.float32)
    # A text without any token has the zero vector.
    return (x * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1)


def check_pooling(architecture: Architecture, pooling: Pooling) -> None:
    """Checks that an encoder has what a pooling needs.

    Raises:
        UserError: It has no pooler.
    """
    if pooling == "pooler" and not architecture.pooler:
        raise UserError(
            "pooling is 'pooler', which this encoder does not have; use 'mean' or 'cls'"
        )


def embed(
    architecture: Architecture,
    pooling: Pooling,
    compute_dtype: ComputeDtype,
    trunk_params: Mapping[str, Any],
    tokens: jax.Array,
) -> jax.Array:
    """Computes one vector per text with an encoder that is not trained; a pure function.

    Args:
        architecture: Sizes.
        pooling: As in `Trunk`.
        compute_dtype: Type of the matrix products.
        trunk_params: Parameters of a `Trunk`.
        tokens: [batch, length] int32, `PAD` after the end.

    Returns:
        [batch, dims] float32.
    """
    trunk = Trunk(architecture, pooling, compute_dtype=compute_dtype)
    states = cast(States, trunk.apply({"params": trunk_params}, tokens))
    return states.pooled
