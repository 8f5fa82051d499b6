"""The mean of a text's token vectors, then dense layers (Joulin et al., arXiv 1607.01759)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.core.constraints import AT_LEAST_ONE, SHARE
from lelp_jax.models import tokens as text
from lelp_jax.models.outputs import HEAD, Outputs
from lelp_jax.models.token_embedding import TokenEmbedding


class BagOfEmbeddings(nn.Module):
    """Takes the mean of the vectors of a text's tokens, whatever their order.

    Without hidden layers it is the classifier of the paper's section 2, without its pairs of words.

    Attributes:
        num_outputs: Width of the output layer.
        num_tokens: Tokens are in 0..num_tokens-1.
        dims: Length of a token's vector.
        hidden: Widths of the dense layers after the mean; may be empty.
        dropout: Share of the mean and of hidden units dropped in training.
    """

    of_tokens: ClassVar[bool] = True

    num_outputs: int
    num_tokens: int
    dims: Annotated[int, AT_LEAST_ONE] = 64
    hidden: tuple[Annotated[int, AT_LEAST_ONE], ...] = (64,)
    dropout: Annotated[float, SHARE] = 0.5

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and what the output layer sees.

        That is the last hidden layer, [batch, hidden[-1]], or the mean, [batch, dims], where there
        is none.

        Args:
            inputs: Tokens, [batch, length] int32, `PAD` after the end.
            train: Whether dropout is on.
        """
        vectors = TokenEmbedding(self.num_tokens, self.dims)(inputs)
        count = text.mask(inputs).sum(axis=1, keepdims=True)
        # A text without tokens has a mean of zeros.
        x = vectors.sum(axis=1) / jnp.maximum(count, 1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Outputs(nn.Dense(self.num_outputs, name=HEAD)(x), x)
