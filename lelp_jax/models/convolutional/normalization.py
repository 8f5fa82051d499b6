"""Normalisation of the channels of images, over the batch or within each image."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lelp_jax.models.outputs import ComputeDtype

Normalization = Literal["batch", "group"]
_EPSILON = 1e-5
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
    # Squares are taken of what differs from the mean. E[x^2] - E[x]^2 saves a pass over the images,
    # but is wrong by a quarter where the mean is 1,000 deviations.
    if kind == "group":
        return nn.GroupNorm(
            num_groups=count_groups(x.shape[-1]),
            epsilon=_EPSILON,
            dtype=dtype,
            scale_init=initial,
            use_fast_variance=False,
        )(x)
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=_EPSILON,
        dtype=dtype,
        scale_init=initial,
        use_fast_variance=False,
    )(x)


def count_groups(channels: int) -> int:
    """Computes how many groups of equally many channels group normalisation makes.

    As many as divide the channels, at most 32 as in the paper, and of two channels or more, which
    is what 32 groups make of the paper's narrowest layer, of 64. So 16 channels make 8 groups. A
    group of a single channel would be instance normalisation, which takes from every image how
    strongly the channel answers to it.
    """
    fitting = range(1, min(_MOST_GROUPS, channels // 2) + 1)
    return max((count for count in fitting if channels % count == 0), default=1)
