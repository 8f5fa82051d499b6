"""What the networks for images are built of: layers with common settings, and the output layer."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.core.errors import UserError
from lelp_jax.models.convolutional.convolution import Convolution
from lelp_jax.models.convolutional.normalization import Normalization, normalize
from lelp_jax.models.outputs import HEAD, ComputeDtype, Outputs


@dataclasses.dataclass(frozen=True)
class Layers:
    """Adds layers to the calling module, all with the settings of one network.

    Attributes:
        normalization: Over what the layers normalise.
        compute_dtype: Type of the convolutions and of what is handed from layer to layer.
        train: Whether the network is being trained.
    """

    normalization: Normalization
    compute_dtype: ComputeDtype
    train: bool

    def convolve(
        self, x: jax.Array, features: int, size: int = 3, stride: int = 1, *, groups: int = 1
    ) -> jax.Array:
        """Computes a convolution without bias, [batch, height / stride, width / stride, features].

        Args:
            x: [batch, height, width, channels].
            features: Channels of the result.
            size: Height and width of the kernel.
            stride: Pixels between two places of the kernel.
            groups: As in `Convolution`.
        """
        dtype = jnp.dtype(self.compute_dtype)
        return Convolution(features, size, stride, groups, compute_dtype=dtype)(x)

    def normalize(self, x: jax.Array, *, initial_scale: float = 1.0) -> jax.Array:
        """Normalises each channel of x, [batch, height, width, channels]; see `normalize`."""
        return normalize(
            x,
            self.normalization,
            train=self.train,
            compute_dtype=self.compute_dtype,
            initial_scale=initial_scale,
        )


class ImageNetwork(nn.Module):
    """What all families for images are given.

    Attributes:
        num_outputs: Width of the output layer.
        normalization: Over what it normalises: "batch", or "group" for a few channels of one image.
        compute_dtype: Type of the convolutions; "bfloat16" on accelerators.
    """

    of_images: ClassVar[bool] = True

    num_outputs: int
    normalization: Normalization = "batch"
    compute_dtype: ComputeDtype = "float32"

    def choose_layers(self, *, train: bool) -> Layers:
        """Makes the settings into what adds layers."""
        return Layers(self.normalization, self.compute_dtype, train)


def classify(x: jax.Array, num_outputs: int) -> Outputs:
    """Averages each channel over the image and adds the output layer to the calling module.

    Args:
        x: [batch, height, width, channels].
        num_outputs: Width of the output layer.

    Returns:
        Logits [batch, num_outputs] and embedding [batch, channels], float32.
    """
    embedding = x.astype(jnp.float32).mean(axis=(1, 2))
    return Outputs(nn.Dense(num_outputs, name=HEAD)(embedding), embedding)


def count_blocks(depth: int, block_layers: int, other_layers: int) -> int:
    """Computes the blocks in each of three stages of a network of a given depth.

    Args:
        depth: Layers of the network.
        block_layers: Layers of a block.
        other_layers: Layers that belong to no block.

    Raises:
        UserError: There is no such network.
    """
    step = 3 * block_layers
    blocks, rest = divmod(depth - other_layers, step)
    if blocks >= 1 and not rest:
        return blocks
    near = [max(blocks, 1) * step + other_layers]
    if depth > near[0]:
        near.append(near[0] + step)
    raise UserError(
        f"depth must be {step} n + {other_layers} for a whole n, {step + other_layers} or more, "
        f"got {depth}; use {' or '.join(map(str, near))}"
    )
