"""Views: images as augmentation changes them, of which a bank holds the teacher's outputs as well.

View v of an image is a pure function of a seed, the image's index and v, so that the training step
makes the very images that the teacher has answered for, and nothing but its outputs is stored.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from lelp_jax.augmentation.config import Augmentation
from lelp_jax.augmentation.images import augment_images
from lelp_jax.core import seeds


@dataclasses.dataclass(frozen=True)
class Views:
    """The views of a data set's images.

    View 0 is the image itself, views 1 to `count` are changed. In banks, view v of the image with
    index i has the number `v * rows + i`; so an image's own number is its index.

    Attributes:
        rows: Rows of the data set.
        count: Number of changed views of each image.
        augmentation: How they are changed.
        seed: Root seed.
    """

    rows: int
    count: int
    augmentation: Augmentation
    seed: int

    def list_numbers(self, index: np.ndarray) -> np.ndarray:
        """Lists the numbers of all changed views of images, sorted, [count * n].

        Args:
            index: Data-set indices, sorted, [n].
        """
        first = self.rows * np.arange(1, self.count + 1)
        return (first[:, None] + index).ravel()

    def find_index(self, numbers: np.ndarray) -> np.ndarray:
        """Finds the data-set index of the image behind each number, [n]."""
        return numbers % self.rows

    def derive_seeds(self, numbers: np.ndarray) -> np.ndarray:
        """Derives the seed of the changes of each view, [n] uint32."""
        return seeds.hash_words(self.seed, numbers).astype(np.uint32)

    def render(self, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Makes views.

        Args:
            images: The images themselves, [n, height, width, channels] uint8.
            numbers: The numbers of the views, [n].

        Returns:
            Images of the same shape.
        """
        changed = numbers >= self.rows
        rendered = np.array(images)
        if changed.any():
            own = self.derive_seeds(numbers[changed])
            rendered[changed] = _render(self.augmentation, own, images[changed])
        return rendered


@functools.partial(jax.jit, static_argnums=0)
def _render(config: Augmentation, seed: jax.Array, images: jax.Array) -> jax.Array:
    return augment_images(config, jax.vmap(jax.random.key)(seed), images)
