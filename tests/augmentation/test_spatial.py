"""Crops, flips and squares cut out: which pixels are kept, where they go and how often."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.augmentation import spatial

# Every pixel of an image differs from its neighbours, and no pixel is 0, as the padding is.
IMAGE = (np.arange(9 * 7 * 3) % 255 + 1).astype(np.uint8).reshape(9, 7, 3)
KEYS = jax.random.split(jax.random.key(0), 4000)


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply_to_all(function, keys, image, setting):
    return jax.vmap(lambda key: function(key, image, setting))(keys)


def test_crops_are_windows_of_the_padded_image_at_all_offsets_alike() -> None:
    crops = np.asarray(apply_to_all(spatial.crop, KEYS, IMAGE, 2))
    padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)))
    windows = {
        padded[row : row + 9, column : column + 7].tobytes(): (row, column)
        for row in range(5)
        for column in range(5)
    }
    assert len(windows) == 25
    found = [windows[crop.tobytes()] for crop in crops]
    counts = np.array([found.count(offset) for offset in windows.values()])
    # 160 of each are expected, with a deviation of 12.4.
    assert np.abs(counts - 160).max() < 4 * 12.4


@pytest.mark.parametrize("probability", [0, 0.25, 1])
def test_images_are_flipped_as_often_as_asked(probability: float) -> None:
    images = np.asarray(apply_to_all(spatial.flip, KEYS, IMAGE, probability))
    flipped = (images == IMAGE[:, ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (images == IMAGE).all(axis=(1, 2, 3))).all()
    deviation = (probability * (1 - probability) / len(KEYS)) ** 0.5
    assert abs(flipped.mean() - probability) <= 4 * deviation


def test_two_flips_are_none() -> None:
    twice = spatial.flip(KEYS[0], spatial.flip(KEYS[1], jnp.asarray(IMAGE), 1.0), 1.0)
    np.testing.assert_array_equal(twice, IMAGE)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_squares_are_grey_clipped_and_everywhere_alike(side: int) -> None:
    # No pixel of the image is grey.
    image = np.where(IMAGE == spatial.GREY, 1, IMAGE)
    images = np.asarray(apply_to_all(spatial.cut_out, KEYS, image, side))
    changed = (images != image).any(axis=-1)
    assert (images[changed] == spatial.GREY).all()
    squares = {}
    for row in range(9):
        for column in range(7):
            mask = np.zeros((9 + 2 * side, 7 + 2 * side), bool)
            top, left = (side + middle - side // 2 for middle in (row, column))
            mask[top : top + side, left : left + side] = True
            squares[mask[side : side + 9, side : side + 7].tobytes()] = (row, column)
    assert len(squares) == 63
    found = [squares[mask.tobytes()] for mask in changed]
    counts = np.array([found.count(middle) for middle in squares.values()])
    assert np.abs(counts - 4000 / 63).max() < 4 * (4000 / 63) ** 0.5
