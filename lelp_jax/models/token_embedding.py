"""A table with one learned vector per token."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.models import tokens as text


class TokenEmbedding(nn.Module):
    """Looks up the vector of every token; a place without a token has zeros.

    Attributes:
        num_tokens: Tokens are in 0..num_tokens-1.
        dims: Length of a vector.
    """

    num_tokens: int
    dims: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Looks the tokens up, [batch, length, dims]; NaN where one is not in the table.

        Args:
            tokens: [batch, length] int32, `PAD` after the end.
        """
        table = self.param("table", nn.initializers.normal(0.1), (self.num_tokens, self.dims))
        held = text.mask(tokens)
        # Beyond the table, so that the gradient's scatter passes over the padding. That scatter is
        # cheap on a CPU: with 8 members and 14,000 tokens a step is hardly longer than with a
        # made-up gradient, since AdamW goes over the whole table. Sums over sorted tokens make the
        # step 4 times as long, a one-hot product 13 times.
        rows = table.at[jnp.where(held, tokens, self.num_tokens)].get(mode="fill")
        return jnp.where(held[..., None], rows, 0.0)
