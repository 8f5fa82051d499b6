"""Convolution and pooling of images."""

from __future__ import annotations

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.core import parallel
from lelp_jax.models.convolutional import products

Formulation = Literal["plain", "pixels", "channels", "products"]

# He initialisation of the outputs' side (He et al., arXiv 1502.01852, section 2.2).
_INITIAL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Convolution(nn.Module):
    """A convolution without bias, of images in the layout [batch, height, width, channels].

    The image is padded by `size // 2` zeros on each side, so that an image of odd size keeps its
    middle at any stride.

    Attributes:
        features: Channels of the result.
        size: Height and width of the kernel.
        stride: Pixels between two places of the kernel.
        groups: In how many groups the channels are convolved; as many as channels, each of its own.
        compute_dtype: Type of the products.
    """

    features: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    compute_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Computes [batch, height / stride, width / stride, features]."""
        shape = (self.size, self.size, inputs.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", _INITIAL, shape)
        inputs, kernel = inputs.astype(self.compute_dtype), kernel.astype(self.compute_dtype)
        formulation = choose_formulation(
            self.size, self.groups, inputs.shape[-1], self.features, on_cpu=parallel.is_cpu()
        )
        if formulation == "pixels":
            return products.convolve_pixels(inputs, kernel, self.stride)
        if formulation == "channels":
            return products.convolve_channels(inputs, kernel, self.stride)
        if formulation == "products":
            return products.convolve_by_products(inputs, kernel, self.stride)
        return products.convolve_plain(inputs, kernel, self.stride, self.groups)


def choose_formulation(
    size: int, groups: int, channels: int, features: int, *, on_cpu: bool
) -> Formulation:
    """Chooses the way a convolution is computed; all give the same numbers up to rounding.

    Accelerators have kernels of their own for every convolution and its gradients.

    Args:
        size: Height and width of the kernel.
        groups: In how many groups the channels are convolved.
        channels: Channels of the images.
        features: Channels of the result.
        on_cpu: Whether it runs on a CPU.
    """
    if not on_cpu:
        return "plain"
    if groups == channels == features and groups > 1:
        return "channels"
    if groups > 1:
        return "plain"
    return "pixels" if size == 1 else "products"


def pool_maximum(inputs: jax.Array, size: int = 2) -> jax.Array:
    """Computes the maximum of each square, [batch, height / size, width / size, channels].

    Rows and columns that do not fill a square are left out.

    Args:
        inputs: [batch, height, width, channels].
        size: Height and width of a square.
    """
    rows, columns = inputs.shape[1] // size, inputs.shape[2] // size
    cut = inputs[:, : rows * size, : columns * size]
    places = [cut[:, row::size, column::size] for row in range(size) for column in range(size)]
    return functools.reduce(_keep_larger, places)


def _keep_larger(left: jax.Array, right: jax.Array) -> jax.Array:
    """Computes the maximum, NaN where either is.

    The gradient of `jnp.maximum`, as that of `max`, compares the result with what it was computed
    of. XLA may compute that again, rounded in another way, and the gradient then goes nowhere.
    """
    return jnp.where((left >= right) | jnp.isnan(left), left, right)
