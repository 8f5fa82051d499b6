"""Normalisation of the channels of images, over the batch or within each image."""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.models.outputs import ComputeDtype

Normalization = Literal["batch", "group"]
_EPSILON = 1e-5
# Share of a running average that a step keeps.
_KEPT = 0.9
# The axes of a batch of images that its statistics are taken over.
_PLACES = (0, 1, 2)
_MOST_GROUPS = 32


def normalize(
    x: jax.Array,
    kind: Normalization,
    *,
    train: bool,
    compute_dtype: ComputeDtype = "float32",
    initial_scale: float = 1.0,
) -> jax.Array:
    """Normalises each channel, then scales and shifts it; adds a layer to the calling module.

    "batch" (Ioffe and Szegedy, arXiv 1502.03167) takes mean and variance of a channel over all
    images and places of the batch in training, on however many devices it lies, and running
    averages of them, kept in the collection "batch_stats", in prediction. The averages move by a
    tenth in each step. The variance is the batch's own, divided by the number of values, also in
    the running average, for which PyTorch divides by one less.

    "group" (Wu and He, arXiv 1803.08494) takes them over the places of one image and a group of
    neighbouring channels, in training and prediction alike, so that no image depends on others.

    Args:
        x: [batch, height, width, channels].
        kind: What the statistics are taken over.
        train: Whether "batch" takes those of the batch, and updates the averages.
        compute_dtype: Type of the result. Statistics, scale and shift are float32.
        initial_scale: What the scales are before training.
    """
    dtype = jnp.dtype(compute_dtype)
    initial = nn.initializers.constant(initial_scale)
    if kind == "group":
        # As in `normalize_by_batch`, squares are taken of what differs from the mean.
        return nn.GroupNorm(
            num_groups=count_groups(x.shape[-1]),
            epsilon=_EPSILON,
            dtype=dtype,
            scale_init=initial,
            use_fast_variance=False,
        )(x)
    return BatchNorm(dtype, initial)(x, train=train)


class BatchNorm(nn.Module):
    """Normalises over the batch, with the parameters and running averages of flax's layer.

    Attributes:
        dtype: Type of the result.
        scale_init: Initialises the scales.
    """

    dtype: jnp.dtype
    scale_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Computes [batch, height, width, channels].

        Args:
            x: [batch, height, width, channels].
            train: Whether statistics of the batch are used, and the averages updated.
        """
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", self.scale_init, shape)
        shift = self.param("bias", nn.initializers.zeros, shape)
        if train:
            result, *found = normalize_by_batch(x, scale, shift)
            if not self.is_initializing():
                for average, new in zip((mean, variance), found, strict=True):
                    average.value = _KEPT * average.value + (1 - _KEPT) * new
        else:
            factor = scale * jax.lax.rsqrt(variance.value + _EPSILON)
            result = (x - mean.value) * factor + shift
        return result.astype(self.dtype)


@jax.custom_vjp
def normalize_by_batch(
    x: jax.Array, scale: jax.Array, shift: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises each channel by its mean and variance over all images and places.

    The gradient is written out (Ioffe and Szegedy, section 3) since the one that JAX derives makes
    a training step of ResNet-8 take a tenth longer on a CPU.

    Args:
        x: [batch, height, width, channels].
        scale: [channels].
        shift: [channels].

    Returns:
        The result, of the shape of x, and mean and variance, [channels], all float32.
    """
    return _normalize(x, scale, shift)[0]


def _normalize(x: jax.Array, scale: jax.Array, shift: jax.Array) -> tuple[Any, Any]:
    mean = x.mean(_PLACES, jnp.float32)
    # E[x^2] - E[x]^2 would save a pass over the images, but is wrong by a quarter where the mean is
    # 1,000 deviations.
    variance = ((x - mean) ** 2).mean(_PLACES)
    inverse = jax.lax.rsqrt(variance + _EPSILON)
    result = (x - mean) * (scale * inverse) + shift
    return (result, mean, variance), (x, scale, mean, inverse)


def _differentiate(
    kept: tuple[jax.Array, ...], gradients: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, scale, mean, inverse = kept
    by_result, by_mean, by_variance = gradients
    centred, count = x - mean, x.size // x.shape[-1]
    by_shift = by_result.sum(_PLACES)
    by_scale = (by_result * centred).sum(_PLACES) * inverse
    by_mean -= scale * inverse * by_shift
    by_variance -= scale * inverse**2 * by_scale / 2
    by_x = scale * inverse * by_result + (by_mean + 2 * by_variance * centred) / count
    return by_x.astype(x.dtype), by_scale, by_shift


normalize_by_batch.defvjp(_normalize, _differentiate)


def count_groups(channels: int) -> int:
    """Computes how many groups of equally many channels group normalisation makes.

    As many as divide the channels, at most 32 as in the paper, and of two channels or more, which
    is what 32 groups make of the paper's narrowest layer, of 64. So 16 channels make 8 groups. A
    group of a single channel would be instance normalisation, which takes from every image how
    strongly the channel answers to it.
    """
    fitting = range(1, min(_MOST_GROUPS, channels // 2) + 1)
    return max((count for count in fitting if channels % count == 0), default=1)
