"""Maps of values beside Pillow's."""

import jax
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import ImageOps

from lelp_jax.augmentation import tone
from tests.helpers.images import draw_images, to_pillow

autocontrast = jax.jit(tone.autocontrast)
equalize = jax.jit(tone.equalize)
RAMP = np.arange(17 * 19).reshape(17, 19, 1).astype(np.uint8)


@given(draw_images())
@example(RAMP)
@example(np.zeros((17, 19, 1), np.uint8))
def test_autocontrast_is_pillows_but_for_its_rounding_of_whole_numbers(image: np.ndarray) -> None:
    found = np.asarray(autocontrast(image), int)
    expected = np.asarray(ImageOps.autocontrast(to_pillow(image)), int).reshape(image.shape)
    low, high = image.min(axis=(0, 1)).astype(int), image.max(axis=(0, 1)).astype(int)
    whole = (image - low) * 255 % np.maximum(high - low, 1) == 0
    np.testing.assert_array_equal(np.where(whole, 0, found), np.where(whole, 0, expected))
    assert ((found - expected)[whole] <= 1).all()
    assert ((found - expected)[whole] >= 0).all()


def test_autocontrast_is_exact_for_all_values() -> None:
    for low in range(0, 256, 5):
        for high in range(low + 1, 256, 6):
            image = np.linspace(low, high, 17 * 19).round().astype(np.uint8).reshape(17, 19, 1)
            expected = (image.astype(int) - low) * 255 // (high - low)
            np.testing.assert_array_equal(autocontrast(image), expected)


@given(draw_images())
@example(RAMP)
@example(np.zeros((17, 19, 1), np.uint8))
def test_equalize_is_pillows(image: np.ndarray) -> None:
    expected = np.asarray(ImageOps.equalize(to_pillow(image))).reshape(image.shape)
    np.testing.assert_array_equal(equalize(image), expected)


@given(draw_images(), st.integers(1, 8), st.integers(0, 256))
def test_posterize_and_solarize_are_pillows(image: np.ndarray, bits: int, threshold: int) -> None:
    picture = to_pillow(image)
    for found, expected in (
        (tone.posterize(image, bits), ImageOps.posterize(picture, bits)),
        (tone.solarize(jax.numpy.asarray(image), threshold), ImageOps.solarize(picture, threshold)),
    ):
        np.testing.assert_array_equal(found, np.asarray(expected).reshape(image.shape))
