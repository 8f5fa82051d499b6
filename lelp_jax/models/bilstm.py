"""A recurrent network that reads a text both ways (Conneau et al., arXiv 1705.02364)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.core.constraints import AT_LEAST_ONE, SHARE
from lelp_jax.models import tokens as text
from lelp_jax.models.outputs import HEAD, Outputs
from lelp_jax.models.token_embedding import TokenEmbedding


class BiLSTM(nn.Module):
    """Two LSTMs, one from each end of the text, and the largest value of each unit over the tokens.

    The maximum over tokens is the summary that the paper recommends (section 3.2.2).

    Attributes:
        num_outputs: Width of the output layer.
        num_tokens: Tokens are in 0..num_tokens-1.
        dims: Length of a token's vector.
        units: Units of each direction.
        dropout: Share of the tokens' vectors and of the summary dropped in training.
    """

    of_tokens: ClassVar[bool] = True
    version: ClassVar[int] = 2

    num_outputs: int
    num_tokens: int
    dims: Annotated[int, AT_LEAST_ONE] = 64
    units: Annotated[int, AT_LEAST_ONE] = 64
    dropout: Annotated[float, SHARE] = 0.5

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and largest values [batch, 2 * units].

        Args:
            inputs: Tokens, [batch, length] int32, `PAD` after the end.
            train: Whether dropout is on.
        """
        vectors = TokenEmbedding(self.num_tokens, self.dims)(inputs)
        vectors = nn.Dropout(self.dropout, deterministic=not train)(vectors)
        held = text.mask(inputs)
        forth, back = (
            nn.RNN(nn.OptimizedLSTMCell(self.units, name=f"{name}_cell"), name=name)
            for name in ("forward", "backward")
        )
        # The lengths let the way back begin at the last token. States at places without a token
        # are computed, too, but never chosen below.
        values = nn.Bidirectional(forth, back)(vectors, seq_lengths=held.sum(axis=1))
        assert isinstance(values, jax.Array)
        x = jnp.where(held[..., None], values, -jnp.inf).max(axis=1)
        # The largest of no values is -inf: a text without tokens has a summary of zeros.
        x = jnp.where(held.any(axis=1, keepdims=True), x, 0.0)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Outputs(nn.Dense(self.num_outputs, name=HEAD)(x), x)
