"""What models of all families have in common: outputs, output layer, type of the products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

HEAD = "head"
# What networks see of a row: numbers, tokens of a text, or pixels [height, width, channels].
InputKind = Literal["numbers", "tokens", "images"]
# Types of matrix products and convolutions; parameters, statistics and outputs stay float32.
ComputeDtype = Literal["float32", "bfloat16"]


class Outputs(NamedTuple):
    """A model's answer for a batch.

    Attributes:
        logits: Output-layer values, [batch, outputs].
        embedding: What the output layer sees, [batch, dims].
    """

    logits: jax.Array
    embedding: jax.Array


class Model(Protocol):
    """A linen module: hashable, its settings are its fields, its output layer is named "head".

    The rest of the package sees only `init` and `apply`, so a family written with another library
    needs just these two.
    """

    @property
    def num_outputs(self) -> int:
        """Width of the output layer."""
        ...

    def init(self, rngs: Any, inputs: jax.Array) -> Mapping[str, Any]:
        """Initialises {"params": parameters} and, with running averages, "batch_stats"."""
        ...

    def apply(
        self,
        variables: Any,
        inputs: jax.Array,
        *,
        train: bool,
        rngs: Any = None,
        mutable: Any = False,
    ) -> Any:
        """Runs the model; dropout is on when `train` is.

        Returns:
            `Outputs`; with `mutable` names of collections, these as changed besides.
        """
        ...


def output_layer(parameters: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Picks weights, [dims, outputs], and bias, [outputs], of the output layer."""
    head = parameters[HEAD]
    return np.asarray(head["kernel"]), np.asarray(head["bias"])
