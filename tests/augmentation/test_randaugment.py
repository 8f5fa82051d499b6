"""Operations of RandAugment beside Pillow's, and how often each is drawn."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from lelp_jax.augmentation import randaugment
from lelp_jax.augmentation.config import Augmentation
from lelp_jax.augmentation.images import augment_images
from lelp_jax.core.errors import UserError
from tests.helpers.images import to_pillow

apply_operation = jax.jit(randaugment.apply_operation, static_argnums=3)


def transform(image: Image.Image, coefficients: tuple[float, ...]) -> Image.Image:
    fill = (128,) * len(image.getbands())
    fill = fill if len(fill) > 1 else fill[0]
    return image.transform(
        image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST, fillcolor=fill
    )


def reference(name: str, image: Image.Image, level: float) -> Image.Image:
    """Applies an operation with Pillow; `level` is its strength with a sign, 1 at magnitude 10."""
    fill = (128,) * len(image.getbands())
    move = 150 / 331 * max(-1, min(1, level))
    operations = {
        "identity": lambda: image,
        "rotate": lambda: image.rotate(-30 * level, fillcolor=fill if len(fill) > 1 else fill[0]),
        "shear_x": lambda: transform(image, (1, 0.3 * level, 0, 0, 1, 0)),
        "shear_y": lambda: transform(image, (1, 0, 0, 0.3 * level, 1, 0)),
        "translate_x": lambda: transform(image, (1, 0, round(move * image.width), 0, 1, 0)),
        "translate_y": lambda: transform(image, (1, 0, 0, 0, 1, round(move * image.height))),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "posterize": lambda: ImageOps.posterize(image, max(1, 8 - round(4 * abs(level)))),
        "solarize": lambda: ImageOps.solarize(image, max(0, 256 - round(256 * abs(level)))),
    }
    if name in operations:
        return operations[name]()
    return getattr(ImageEnhance, name.capitalize())(image).enhance(max(0.1, 1 + 0.9 * level))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [4, 9, 30])
def test_operations_are_pillows(channels: int, magnitude: int) -> None:
    random = np.random.default_rng(magnitude)
    image = random.integers(20, 220, (17, 19, channels), np.uint8)
    for number, name in enumerate(randaugment.OPERATIONS):
        for side in range(2):
            found = np.asarray(apply_operation(image, number, side, magnitude), int)
            expected = reference(name, to_pillow(image), magnitude / 10 * (1 - 2 * side))
            expected = np.asarray(expected, int).reshape(image.shape)
            # Where Pillow computes in floating point, a level is lost now and then.
            floating = name in ("autocontrast", "brightness", "contrast", "color", "sharpness")
            np.testing.assert_allclose(found, expected, atol=1 if floating else 0, err_msg=name)
            assert (found != image).any() == (
                name != "identity" and not (name == "color" and channels == 1)
            )


def test_all_operations_are_drawn_alike() -> None:
    # Each operation and side makes another image of this one.
    image = np.random.default_rng(0).integers(20, 220, (17, 19, 3), np.uint8)
    single = {
        np.asarray(apply_operation(image, number, side, 9)).tobytes(): name
        for number, name in enumerate(randaugment.OPERATIONS)
        for side in range(2)
    }
    assert len(single) == 2 * 9 + 5
    keys = jax.random.split(jax.random.key(0), 1400)
    function = functools.partial(randaugment.randaugment, layers=1, magnitude=9)
    images = np.asarray(jax.jit(jax.vmap(function, (0, None)))(keys, image))
    found = [single[image.tobytes()] for image in images]
    counts = np.array([found.count(name) for name in randaugment.OPERATIONS])
    assert np.abs(counts - 100).max() < 4 * 10


def test_layers_follow_one_another() -> None:
    image = np.random.default_rng(0).integers(20, 220, (17, 19, 3), np.uint8)
    key = jax.random.key(5)
    found = jax.jit(randaugment.randaugment, static_argnums=(2, 3))(key, image, 3, 9)
    bits = np.asarray(jax.random.bits(key, (6,), np.uint32)).reshape(3, 2)
    expected = image
    for operation, side in zip(bits[:, 0] % 14, bits[:, 1] % 2, strict=True):
        expected = apply_operation(expected, np.int32(operation), np.int32(side), 9)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("values", [{"randaugment_layers": 2}, {"randaugment_magnitude": 9}])
def test_layers_and_magnitude_belong_together(values: dict[str, int]) -> None:
    with pytest.raises(UserError, match="belong together"):
        Augmentation(**values)


@pytest.mark.parametrize("size", [1, 2])
def test_tiny_images_work(size: int) -> None:
    config = Augmentation(randaugment_layers=1, randaugment_magnitude=9, contrast=0.5, cutout=1)
    images = np.ones((2, size, size, 1), np.uint8)
    result = jax.jit(augment_images, static_argnums=0)(
        config, jax.random.split(jax.random.key(0), 2), images
    )
    assert result.shape == images.shape
