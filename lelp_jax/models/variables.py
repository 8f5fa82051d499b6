"""Networks as pure functions of their parameters and running averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from lelp_jax.models.outputs import Model, Outputs
from lelp_jax.models.pixels import scale_pixels

# Flax's names of the collections.
_PARAMETERS, _STATISTICS = "params", "batch_stats"


class Variables(NamedTuple):
    """What a network computes with.

    Attributes:
        parameters: What the optimizer moves.
        statistics: Running averages of batch normalization, which training updates and prediction
            uses; None for networks without.
    """

    parameters: Mapping[str, Any]
    statistics: Mapping[str, Any] | None = None

    def to_collections(self) -> dict[str, Any]:
        """Builds the mapping that linen modules take."""
        if self.statistics is None:
            return {_PARAMETERS: self.parameters}
        return {_PARAMETERS: self.parameters, _STATISTICS: self.statistics}


def initialize(model: Model, key: jax.Array, example: jax.Array) -> Variables:
    """Initialises a network.

    Args:
        model: The network.
        key: Random key.
        example: Inputs of one row, [1, features...].
    """
    collections = model.init(key, scale_pixels(example))
    return Variables(collections[_PARAMETERS], collections.get(_STATISTICS))


def predict(model: Model, variables: Variables, inputs: jax.Array) -> Outputs:
    """Runs a network without dropout, on running averages.

    Args:
        model: The network.
        variables: Its parameters and running averages.
        inputs: [batch, features...].
    """
    return model.apply(variables.to_collections(), scale_pixels(inputs), train=False)


def predict_in_training(
    model: Model, variables: Variables, inputs: jax.Array, key: jax.Array
) -> tuple[Outputs, Mapping[str, Any] | None]:
    """Runs a network with dropout, on the statistics of the batch.

    Args:
        model: The network.
        variables: Its parameters and running averages.
        inputs: [batch, features...].
        key: Random key of dropout.

    Returns:
        The outputs, and the running averages after the batch.
    """
    collections, rngs = variables.to_collections(), {"dropout": key}
    inputs = scale_pixels(inputs)
    if variables.statistics is None:
        return model.apply(collections, inputs, train=True, rngs=rngs), None
    outputs, changed = model.apply(
        collections, inputs, train=True, rngs=rngs, mutable=[_STATISTICS]
    )
    return outputs, changed[_STATISTICS]
