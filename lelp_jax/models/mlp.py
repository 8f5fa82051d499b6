"""Multi-layer perceptron of any depth, with dropout."""

from __future__ import annotations

from typing import Annotated

import flax.linen as nn
import jax

from lelp_jax.core.constraints import AT_LEAST_ONE, SHARE
from lelp_jax.models.outputs import HEAD, Outputs


class MLP(nn.Module):
    """Dense layers with ReLU and dropout, then a linear output layer.

    Attributes:
        num_outputs: Width of the output layer.
        hidden: Widths of the hidden layers; empty makes a linear classifier.
        dropout: Share of hidden units dropped in training.
    """

    num_outputs: int
    hidden: tuple[Annotated[int, AT_LEAST_ONE], ...]
    dropout: Annotated[float, SHARE] = 0.0

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> Outputs:
        """Computes logits [batch, num_outputs] and the last hidden layer [batch, hidden[-1]]."""
        x = inputs.reshape(len(inputs), -1)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Outputs(nn.Dense(self.num_outputs, name=HEAD)(x), x)
