"""mixup and CutMix: images, partners and shares agree with one another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lelp_jax.augmentation.config import Augmentation
from lelp_jax.augmentation.mixing import mix_images

BATCH, HEIGHT, WIDTH = 64, 12, 10


@functools.partial(jax.jit, static_argnums=0)
def mix_often(config, keys, inputs):
    return jax.vmap(lambda key: mix_images(config, key, inputs))(keys)


@functools.cache
def mix(config: Augmentation, channels: int = 1):
    """Mixes a batch of random images with 40 keys; each array has them as its first axis."""
    shape = (BATCH, HEIGHT, WIDTH, channels)
    inputs = np.random.default_rng(0).standard_normal(shape, np.float32)
    keys = jax.random.split(jax.random.key(1), 40)
    mixed, partner, share = map(np.asarray, mix_often(config, keys, inputs))
    assert (partner.dtype, share.dtype, mixed.dtype) == (np.int32, np.float32, np.float32)
    assert ((share >= 0) & (share <= 1)).all()
    # Every row once, and none its own.
    assert (np.sort(partner) == np.arange(BATCH)).all()
    assert (partner != np.arange(BATCH)).all()
    return inputs, mixed, inputs[partner], share


def is_average(inputs, mixed, others, share):
    own = share[..., None, None, None]
    return np.isclose(mixed, own * inputs + (1 - own) * others, atol=1e-5).all(axis=(2, 3, 4))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_averages_with_shares_from_the_beta_distribution(alpha: float) -> None:
    inputs, mixed, others, share = mix(Augmentation(mixup=alpha))
    assert is_average(inputs, mixed, others, share).all()
    assert stats.kstest(share.ravel(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_cutmix_pastes_a_rectangle_as_large_as_the_partners_share(channels: int) -> None:
    inputs, mixed, others, share = mix(Augmentation(cutmix=1.0), channels)
    own = (mixed == inputs).all(axis=-1)
    assert (own | (mixed == others).all(axis=-1)).all()
    np.testing.assert_allclose(own.mean(axis=(2, 3)), share, rtol=0, atol=1e-6)
    pasted = ~own
    rows, columns = pasted.any(axis=3), pasted.any(axis=2)
    np.testing.assert_array_equal(pasted, rows[..., None] & columns[..., None, :])
    for line in (rows, columns):
        # One piece: a line enters the rectangle once at most.
        padded = np.pad(line.astype(int), ((0, 0), (0, 0), (1, 0)))
        assert ((np.diff(padded, axis=-1) == 1).sum(axis=-1) <= 1).all()
    # All pixels are pasted somewhere, those in the middle more often than those in a corner.
    often = pasted.mean(axis=(0, 1))
    assert often.min() > 0.05
    assert often[HEIGHT // 2, WIDTH // 2] > often[[0, 0, -1, -1], [0, -1, 0, -1]].max()


def test_cutmix_rectangles_have_the_area_drawn_before_they_are_clipped() -> None:
    inputs, mixed, *_ = mix(Augmentation(cutmix=1.0))
    heights = (mixed != inputs).any(axis=(3, 4)).sum(axis=2)
    # Beta(1, 1) is uniform. Spans around every middle, clipped:
    length = (np.sqrt((np.arange(2000) + 0.5) / 2000) * HEIGHT).astype(int)[:, None]
    start = np.arange(HEIGHT) - length // 2
    expected = np.minimum(start + length, HEIGHT) - np.maximum(start, 0)
    # Rectangles of no width hide their height.
    expected = np.where(length * WIDTH < HEIGHT, 0, expected)
    assert abs(heights.mean() - expected.mean()) < 4 * expected.std() / heights.size**0.5


def test_with_both_each_row_takes_one() -> None:
    inputs, mixed, others, share = mix(Augmentation(mixup=1.0, cutmix=1.0))
    pasted = ((mixed == inputs) | (mixed == others)).all(axis=(2, 3, 4))
    averaged = is_average(inputs, mixed, others, share)
    assert (pasted | averaged).all()
    own = (mixed == inputs).all(axis=-1).mean(axis=(2, 3))
    np.testing.assert_allclose(share[pasted], own[pasted], atol=1e-6)
    assert abs(pasted.mean() - 0.5) < 4 * 0.5 / pasted.size**0.5


def test_a_batch_of_one_stays() -> None:
    inputs = jnp.ones((1, 4, 4, 1))
    keys = jax.random.split(jax.random.key(0), 2)
    mixed, partner, share = mix_often(Augmentation(mixup=1.0), keys, inputs)
    np.testing.assert_allclose(mixed, [inputs, inputs], rtol=1e-6)
    assert partner.tolist() == [[0], [0]]
    assert share.shape == (2, 1)


def test_without_mixing_the_images_are_passed_on() -> None:
    inputs = jnp.ones((3, 4, 4, 1))
    mixed, partner, share = mix_images(Augmentation(crop=2), jax.random.key(0), inputs)
    assert mixed is inputs
    assert partner.tolist() == [0, 1, 2]
    assert share.tolist() == [1, 1, 1]
