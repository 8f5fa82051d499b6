"""Filters over neighbouring tokens, each filter's largest answer kept (Kim, arXiv 1408.5882)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.core.constraints import AT_LEAST_ONE, DISTINCT, SHARE, NonEmpty
from lelp_jax.models import tokens as text
from lelp_jax.models.outputs import HEAD, Outputs
from lelp_jax.models.token_embedding import TokenEmbedding


class TextCNN(nn.Module):
    """Looks for patterns of a few tokens anywhere in a text (Kim, section 2).

    Every token has a window of each width around it, as close to its middle as possible, with
    zeros beyond the ends of the text; so a text may be shorter than a window. The paper's windows
    end with the text.

    Attributes:
        num_outputs: Width of the output layer.
        num_tokens: Tokens are in 0..num_tokens-1.
        dims: Length of a token's vector.
        widths: How many tokens the filters see, each width once.
        filters: Filters of every width; the paper has 100.
        dropout: Share of the filters' answers dropped in training.
    """

    of_tokens: ClassVar[bool] = True

    num_outputs: int
    num_tokens: int
    dims: Annotated[int, AT_LEAST_ONE] = 64
    widths: Annotated[tuple[Annotated[int, AT_LEAST_ONE], ...], NonEmpty(), DISTINCT] = (3, 4, 5)
    filters: Annotated[int, AT_LEAST_ONE] = 32
    dropout: Annotated[float, SHARE] = 0.5

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and answers [batch, len(widths) * filters].

        Args:
            inputs: Tokens, [batch, length] int32, `PAD` after the end.
            train: Whether dropout is on.
        """
        vectors = TokenEmbedding(self.num_tokens, self.dims)(inputs)
        held, length = text.mask(inputs)[..., None], inputs.shape[1]
        found = []
        for width in self.widths:
            before = (width - 1) // 2
            padded = jnp.pad(vectors, ((0, 0), (before, width - 1 - before), (0, 0)))
            # One matrix product over windows. Vectorised over members, a convolution becomes a
            # grouped one, which on a CPU takes about 100 times as long; a product per place in the
            # window, added up, takes 1.4 times as long.
            shifted = [padded[:, start : start + length] for start in range(width)]
            windows = jnp.concatenate(shifted, axis=-1)
            answers = nn.Dense(self.filters, name=f"width_{width}")(windows)
            # The largest of no answers is -inf, of which ReLU makes 0.
            found.append(nn.relu(jnp.where(held, answers, -jnp.inf).max(axis=1)))
        x = jnp.concatenate(found, axis=-1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Outputs(nn.Dense(self.num_outputs, name=HEAD)(x), x)
