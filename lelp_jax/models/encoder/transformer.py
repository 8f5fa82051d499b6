"""A small transformer encoder that starts from random parameters."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import flax.linen as nn
import jax

from lelp_jax.core.constraints import SHARE
from lelp_jax.models.encoder.architecture import Architecture, Size
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.outputs import ComputeDtype, Outputs


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
        dropout: Share of values dropped in training.
        pooling: "mean" of the hidden states of all tokens, or "cls" for that of the first token.
        compute_dtype: Type of the matrix products.
    """

    of_tokens: ClassVar[bool] = True

    num_outputs: int
    num_tokens: int
    layers: Size = 2
    dims: Size = 128
    heads: Size = 2
    hidden: Size = 512
    positions: Size = 512
    dropout: Annotated[float, SHARE] = 0.1
    pooling: Literal["mean", "cls"] = "mean"
    compute_dtype: ComputeDtype = "float32"

    def __post_init__(self) -> None:
        # Refuses sizes that contradict each other.
        _ = self.architecture
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and embedding [batch, dims], float32.

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
