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

# What is added to the forget gate, so that a new network remembers (Jozefowicz et al., An
# Empirical Exploration of Recurrent Network Architectures, 2015).
_REMEMBER = 1.0


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

    num_outputs: int
    num_tokens: int
    dims: Annotated[int, AT_LEAST_ONE] = 64
    units: Annotated[int, AT_LEAST_ONE] = 64
    dropout: Annotated[float, SHARE] = 0.5

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> Outputs:
        """Returns logits [batch, num_outputs] and largest values [batch, 2 * units].

        Args:
            inputs: Tokens, [batch, length] int32, `PAD` after the end.
            train: Whether dropout is on.
        """
        vectors = TokenEmbedding(self.num_tokens, self.dims)(inputs)
        vectors = nn.Dropout(self.dropout, deterministic=not train)(vectors)
        held = text.mask(inputs)
        # What the gates get from the tokens, for all tokens at once; only the rest is sequential.
        gates = nn.Dense(2 * 4 * self.units, name="input")(vectors)
        gates = gates.reshape(*inputs.shape, 2, 4 * self.units)
        states = self._read(both_ways(gates[..., 0, :], gates[..., 1, :]), both_ways(held, held))
        values = jnp.concatenate([states[:, 0], states[::-1, 1]], axis=-1)
        x = jnp.where(held.T[..., None], values, -jnp.inf).max(axis=0)
        x = jnp.where(held.any(axis=1, keepdims=True), x, 0.0)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Outputs(nn.Dense(self.num_outputs, name=HEAD)(x), x)

    def _read(self, gates: jax.Array, held: jax.Array) -> jax.Array:
        """Returns the state after each place, [length, 2, batch, units].

        Args:
            gates: Share of the tokens in the gates (input, forget, value, output),
                [length, 2, batch, 4 * units].
            held: Which places hold a token, [length, 2, batch]; the others leave the state as it
                is, so the way back starts at the last token.
        """
        recurrent = self.param(
            "recurrent",
            nn.initializers.lecun_normal(batch_axis=0),
            (2, self.units, 4 * self.units),
        )

        def step(
            carry: tuple[jax.Array, jax.Array], place: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            (state, cell), (gate, holds) = carry, place
            take, keep, value, show = jnp.split(gate + state @ recurrent, 4, axis=-1)
            new_cell = nn.sigmoid(keep + _REMEMBER) * cell + nn.sigmoid(take) * jnp.tanh(value)
            new_state = nn.sigmoid(show) * jnp.tanh(new_cell)
            state = jnp.where(holds[..., None], new_state, state)
            return (state, jnp.where(holds[..., None], new_cell, cell)), state

        start = jnp.zeros((*held.shape[1:], self.units), gates.dtype)
        return jax.lax.scan(step, (start, start), (gates, held))[1]


def both_ways(forth: jax.Array, back: jax.Array) -> jax.Array:
    """Returns [length, 2, batch, ...]: one array from the first place on, one from the last.

    Args:
        forth: [batch, length, ...].
        back: [batch, length, ...].
    """
    return jnp.moveaxis(jnp.stack([forth, back[:, ::-1]]), 2, 0)
