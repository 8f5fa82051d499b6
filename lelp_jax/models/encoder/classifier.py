"""A pretrained transformer encoder with an output layer."""

from __future__ import annotations

from typing import Annotated, ClassVar

import flax.linen as nn
import jax

from lelp_jax.core.constraints import SHARE
from lelp_jax.models.dropout import Dropout
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.layers import initializer
from lelp_jax.models.encoder.trunk import Pooling, Trunk, check_pooling
from lelp_jax.models.outputs import HEAD, ComputeDtype, Outputs

TRUNK = "trunk"


class Encoder(nn.Module):
    """A trunk and a linear output layer: parameters `{"trunk": {...}, "head": {...}}`.

    Attributes:
        num_outputs: Width of the output layer.
        architecture: Sizes, those of the checkpoint.
        pooling: "mean" of the hidden states of all tokens, "cls" for that of the first token, or
            "pooler" for what the checkpoint's own dense layer makes of one of these.
        dropout: Share of values dropped in training, in every block and before the
            output layer; attention probabilities are not dropped.
        checkpointing: Whether the gradient computes the inside of each block again in place of
            keeping it: less memory, about a third more time.
        compute_dtype: Type of the matrix products.
    """

    of_tokens: ClassVar[bool] = True

    num_outputs: int
    architecture: Architecture
    pooling: Pooling = "mean"
    dropout: Annotated[float, SHARE] = 0.1
    checkpointing: bool = False
    compute_dtype: ComputeDtype = "float32"

    def __post_init__(self) -> None:
        check_pooling(self.architecture, self.pooling)
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
        common = (self.pooling, self.dropout, self.checkpointing, self.compute_dtype)
        states = Trunk(self.architecture, *common, name=TRUNK)(tokens, train=train)
        x = Dropout(self.dropout)(states.pooled, train=train)
        return Outputs(nn.Dense(self.num_outputs, kernel_init=initializer, name=HEAD)(x), x)

    def depth_from_top(self, path: tuple[str, ...]) -> int:
        """Counts the layers between a parameter and the output, as `Architecture` does."""
        return self.architecture.depth_from_top(path)
