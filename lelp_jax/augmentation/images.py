"""The random changes of single images, in their order."""

from __future__ import annotations

import jax

from lelp_jax.augmentation import color, randaugment, spatial
from lelp_jax.augmentation.config import Augmentation

# What the key of an image is used for; numbers once given stay, or images would change.
_CROP, _FLIP, _RANDAUGMENT, _JITTER, _CUTOUT = range(5)


def augment_images(config: Augmentation, keys: jax.Array, images: jax.Array) -> jax.Array:
    """Changes each image at random.

    Image i of the result depends on `keys[i]` and `images[i]` alone. All results are exact whole
    numbers, so they are the same in any batch and on any number and kind of devices.

    Args:
        config: The changes.
        keys: One per image, [batch].
        images: [batch, height, width, channels] uint8, channels 1 or 3.

    Returns:
        Images of the same shape; the argument itself where nothing changes them.
    """
    if not config.changes_images:
        return images
    return jax.vmap(lambda key, image: _augment_image(config, key, image))(keys, images)


def _augment_image(config: Augmentation, key: jax.Array, image: jax.Array) -> jax.Array:
    if config.crop:
        image = spatial.crop(jax.random.fold_in(key, _CROP), image, config.crop)
    if config.flip:
        image = spatial.flip(jax.random.fold_in(key, _FLIP), image, config.flip)
    if config.randaugment_layers:
        image = randaugment.randaugment(
            jax.random.fold_in(key, _RANDAUGMENT),
            image,
            config.randaugment_layers,
            config.randaugment_magnitude,
        )
    if config.jitters_color:
        image = color.jitter(
            jax.random.fold_in(key, _JITTER),
            image,
            config.brightness,
            config.contrast,
            config.saturation,
        )
    if config.cutout:
        image = spatial.cut_out(jax.random.fold_in(key, _CUTOUT), image, config.cutout)
    return image
