"""Brightness, contrast, saturation and sharpness beside Pillow's, and random jitter of them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from lelp_jax.augmentation import color
from lelp_jax.augmentation.draws import draw_below
from tests.helpers.images import draw_images, to_pillow

DEGENERATES = {
    ImageEnhance.Brightness: color.make_black,
    ImageEnhance.Contrast: color.make_even_grey,
    ImageEnhance.Color: color.make_colorless,
    ImageEnhance.Sharpness: color.make_smooth,
}


@functools.partial(jax.jit, static_argnums=0)
def enhance(degenerate, image, factor):
    return color.blend(image, degenerate(image), factor)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def jitter(keys, image, brightness, contrast, saturation):
    return jax.vmap(lambda key: color.jitter(key, image, brightness, contrast, saturation))(keys)


@given(draw_images(), st.floats(0, 4), st.sampled_from(list(DEGENERATES)))
def test_blends_are_pillows_to_a_level(image: np.ndarray, factor: float, kind) -> None:
    found = enhance(DEGENERATES[kind], image, round(factor * color.ONE))
    expected = kind(to_pillow(image)).enhance(factor)
    np.testing.assert_allclose(
        np.asarray(found, int), np.asarray(expected, int).reshape(image.shape), atol=1
    )


@given(draw_images(), st.sampled_from(list(DEGENERATES)))
def test_a_factor_of_one_changes_nothing_and_zero_is_pillows_image(image: np.ndarray, kind) -> None:
    degenerate = DEGENERATES[kind]
    np.testing.assert_array_equal(enhance(degenerate, image, color.ONE), image)
    expected = np.asarray(kind(to_pillow(image)).degenerate.convert(to_pillow(image).mode))
    np.testing.assert_array_equal(enhance(degenerate, image, 0), expected.reshape(image.shape))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_stays_grey(channels: int) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (9, 7, 1), np.uint8).repeat(channels, axis=2)
    keys = jax.random.split(jax.random.key(0), 20)
    images = np.asarray(jitter(keys, grey, 0.4, 0.4, 0.4))
    assert (images == images[..., :1]).all()
    assert (images != grey).any(axis=(1, 2, 3)).all()


def test_jitter_of_brightness_alone_has_uniform_factors() -> None:
    image = np.full((1, 1, 1), 128, np.uint8)
    keys = jax.random.split(jax.random.key(0), 4000)
    values = np.asarray(jitter(keys, image, 0.5, 0.0, 0.0)).ravel().astype(int)
    assert (values.min(), values.max()) in [(64, 191), (64, 192)]
    assert abs(values.mean() + 0.5 - 128) < 4 * 37 / len(keys) ** 0.5
    counts = np.bincount((values - 64) // 16)[:8]
    assert np.abs(counts - 500).max() < 4 * 500**0.5


def test_jitter_is_pillows_in_every_order() -> None:
    image = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
    keys = jax.random.split(jax.random.key(0), 30)
    results = np.asarray(jitter(keys, image, 0.5, 0.4, 0.9)).astype(int)
    spreads = np.array([round(spread * color.ONE) for spread in (0.5, 0.4, 0.9)])
    draws = jax.vmap(lambda key: jnp.stack(draw_below(key, 6, *(2 * spreads + 1))))(keys)
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    orders = list(itertools.permutations(range(3)))
    assert len(np.unique(draws[:, 0])) == 6
    for (order, *factors), result in zip(np.asarray(draws), results, strict=True):
        picture = Image.fromarray(image)
        for step in orders[order]:
            factor = 1 + (factors[step] - spreads[step]) / color.ONE
            picture = kinds[step](picture).enhance(factor)
        # Differences of a level each are enlarged by what follows.
        assert np.abs(np.asarray(picture, int) - result).max() <= 4
