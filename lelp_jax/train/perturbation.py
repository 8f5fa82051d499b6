"""How the inputs of a training step are changed at random: pure functions of a key and inputs.

Images are augmented first, then pixels are scaled, noise is added, and images are mixed. A teacher
that answers in every step sees the result.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

from lelp_jax.augmentation.images import augment_images
from lelp_jax.augmentation.mixing import mix_images
from lelp_jax.models.pixels import scale_pixels
from lelp_jax.train.state import StepSpec


class Mixture(NamedTuple):
    """How the images of a batch were mixed.

    Attributes:
        partner: Position in the batch of the other image, [batch] int32.
        share: Share of its own label in a row's target, [batch] float32.
    """

    partner: jax.Array
    share: jax.Array


def augment(spec: StepSpec, inputs: jax.Array, key: jax.Array, seed: jax.Array | None) -> jax.Array:
    """Changes images, where the program does so, and scales their pixels.

    Args:
        spec: The program.
        inputs: Images [batch, height, width, channels] uint8, or inputs of another kind.
        key: Random key of the changes.
        seed: Seed of the changes of each image, [batch] uint32, in place of the key: an image then
            changes in the same way in every step that sees this row.
    """
    if spec.augmentation.changes_images:
        if seed is None:
            keys = jax.random.split(key, len(inputs))
        else:
            keys = jax.vmap(jax.random.key)(seed)
        inputs = augment_images(spec.augmentation, keys, inputs)
    return scale_pixels(inputs)


def add_noise(spec: StepSpec, inputs: jax.Array, key: jax.Array) -> jax.Array:
    """Adds Gaussian noise, where the program has some.

    Args:
        spec: The program.
        inputs: [batch, features...] float32.
        key: Random key of the noise.
    """
    if not spec.input_noise:
        return inputs
    return inputs + spec.input_noise * jax.random.normal(key, inputs.shape, inputs.dtype)


def mix(spec: StepSpec, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, Mixture | None]:
    """Mixes images with one another, where the program does so.

    Args:
        spec: The program.
        inputs: Images with scaled pixels, or inputs of another kind.
        key: Random key of the mixtures.
    """
    if not spec.augmentation.mixes_images:
        return inputs, None
    mixed, partner, share = mix_images(spec.augmentation, key, inputs)
    return mixed, Mixture(partner, share)
