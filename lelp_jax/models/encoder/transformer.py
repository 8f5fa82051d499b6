"""A small transformer encoder that starts from random parameters."""

from __future__ import annotations

from typing import Any, ClassVar

import flax.linen as nn
import jax

from lelp_jax.core.errors import UserError
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.outputs import Outputs

_POOLINGS = ("cls", "mean")


class Transformer(nn.Module):
    """A BERT (Devlin et al., arXiv 1810.04805) of any size, with the parameters of an `Encoder`.

    The defaults are those of BERT-Tiny (Turc et al., arXiv 1908.08962, table 1).

    Attributes:
        num_outputs: Width of the output layer.
        num_tokens: Tokens are in 0..num_tokens-1.
        layers: Blocks.
        dims: Width of a hidden state.
        heads: Attention heads, each of `dims / heads`.
        hidden: Width inside the feed-forward part of a block.
        positions: How many tokens a text may have.
        dropout: Share of values dropped in training, in [0, 1).
        pooling: "mean" of the hidden states of all tokens, or "cls" for that of the first token.
        compute_dtype: Type of the matrix products, "float32" or "bfloat16".
    """

    of_tokens: ClassVar[bool] = True

    num_outputs: int
    num_tokens: int
    layers: int = 2
    dims: int = 128
    heads: int = 2
    hidden: int = 512
    positions: int = 512
    dropout: float = 0.1
    pooling: str = "mean"
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, tokens: jax.Array, *, train: bool = False) -> Outputs:
        """Returns logits [batch, num_outputs] and embedding [batch, dims], float32.

        Args:
            tokens: [batch, length] int32, `PAD` after the end.
            train: Whether dropout is on.

        Raises:
            UserError: There are more places than positions.
        """
        encoder = Encoder(
            self.num_outputs,
            self.architecture,
            self.pooling,
            self.dropout,
            compute_dtype=self.compute_dtype,
        )
        # Its parameters are this module's own, without a name around them.
        nn.share_scope(self, encoder)
        outputs: Outputs = encoder(tokens, train=train)
        return outputs

    @property
    def architecture(self) -> Architecture:
        """Its sizes, as those of a checkpoint are given."""
        return Architecture(
            family="bert",
            num_tokens=self.num_tokens,
            dims=self.dims,
            layers=self.layers,
            heads=self.heads,
            hidden=self.hidden,
            positions=self.positions,
        )

    @staticmethod
    def check(**settings: Any) -> str | None:
        """Checks the settings; the result says what is wrong, or is None."""
        network = Transformer(1, 1, **settings)
        if network.pooling not in _POOLINGS:
            return f"pooling must be {' or '.join(map(repr, _POOLINGS))}, got {network.pooling!r}"
        try:
            sizes = network.architecture
        except UserError as error:
            return str(error)
        return Encoder.check(
            sizes, network.pooling, network.dropout, compute_dtype=network.compute_dtype
        )
