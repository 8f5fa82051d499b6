"""Mixtures of pairs of images: mixup and CutMix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from lelp_jax.augmentation.config import Augmentation

# What the key of a batch is used for; numbers once given stay, or images would change.
_CHOICE, _MIXUP, _CUTMIX, _ROW, _COLUMN = range(5)
# Shares are interpolated between this many quantiles of their distribution.
_QUANTILES = 4096


def mix_images(
    config: Augmentation, key: jax.Array, inputs: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mixes each image of a batch with the one before it, and the first with the last.

    As batches are in random order, that is a random partner (torchvision pairs images so, too). A
    loss that is linear in the target, weighted by the shares of both labels, is that of the mixed
    target. Each row has a share of its own, drawn from Beta(alpha, alpha). With both kinds on, each
    row takes either with probability 1/2.

    Args:
        config: Its `mixup` and `cutmix` are the alphas, 0 where that kind is off.
        key: One for the batch.
        inputs: [batch, height, width, channels] float32.

    Returns:
        The images; the position of each row's partner, [batch] int32; the share of its own label in
        the target, [batch] float32 in [0, 1]. The argument itself where nothing is mixed.
    """
    batch = len(inputs)
    if not config.mixes_images:
        return inputs, jnp.arange(batch), jnp.ones(batch)
    others = jnp.roll(inputs, 1, axis=0)
    mixtures = []
    if config.mixup:
        mixtures.append(_mix_up(jax.random.fold_in(key, _MIXUP), inputs, others, config.mixup))
    if config.cutmix:
        mixtures.append(_cut_mix(jax.random.fold_in(key, _CUTMIX), inputs, others, config.cutmix))
    mixed, share = mixtures[0]
    if len(mixtures) == 2:
        second = jax.random.bernoulli(jax.random.fold_in(key, _CHOICE), shape=(batch,))
        mixed = jnp.where(second[:, None, None, None], mixtures[1][0], mixed)
        share = jnp.where(second, mixtures[1][1], share)
    return mixed, jnp.roll(jnp.arange(batch), 1), share


def _mix_up(
    key: jax.Array, inputs: jax.Array, others: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Averages pairs of images (Zhang et al., arXiv 1710.09412, section 2)."""
    share = _draw_shares(key, alpha, len(inputs))
    own = share[:, None, None, None]
    return own * inputs + (1 - own) * others, share


def _cut_mix(
    key: jax.Array, inputs: jax.Array, others: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Pastes a rectangle of each partner (Yun et al., arXiv 1905.04899, section 3.1).

    The rectangle has the proportions of the image and the area 1 - share of it, around a random
    pixel. As in the authors' code, what reaches beyond the border is cut off, and the share follows
    from the pixels that are left.
    """
    batch, height, width, _ = inputs.shape
    ratio = jnp.sqrt(1 - _draw_shares(key, alpha, batch))
    rows = _draw_span(jax.random.fold_in(key, _ROW), ratio, height)
    columns = _draw_span(jax.random.fold_in(key, _COLUMN), ratio, width)
    pasted = rows[:, :, None] & columns[:, None, :]
    share = 1 - pasted.mean(axis=(1, 2), dtype=jnp.float32)
    return jnp.where(pasted[..., None], others, inputs), share


def _draw_span(key: jax.Array, ratio: jax.Array, size: int) -> jax.Array:
    """Draws a span around a random pixel for each row, clipped at both ends, [batch, size] bool.

    Args:
        key: A key.
        ratio: Length of the span in units of the side, [batch].
        size: Pixels of the side.
    """
    middle = jax.random.randint(key, ratio.shape, 0, size)
    length = (ratio * size).astype(jnp.int32)
    start = (middle - length // 2)[:, None]
    pixels = jnp.arange(size)
    return (pixels >= start) & (pixels < start + length[:, None])


def _draw_shares(key: jax.Array, alpha: float, count: int) -> jax.Array:
    """Draws from Beta(alpha, alpha), [count] float32.

    By the quantile function, which is known before anything is compiled. `jax.random.beta` draws
    until it accepts, in loops that take six seconds to compile.
    """
    quantiles = special.betaincinv(alpha, alpha, np.linspace(0, 1, _QUANTILES + 1))
    place = jax.random.uniform(key, (count,)) * _QUANTILES
    left = place.astype(jnp.int32)
    low, high = (jnp.asarray(quantiles, jnp.float32)[left + step] for step in range(2))
    return low + (place - left) * (high - low)
