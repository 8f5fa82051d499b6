"""Images as they are: networks scale the pixels themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs.base import Inputs
from lelp_jax.models.outputs import InputKind


@dataclasses.dataclass(frozen=True)
class ImageEncoding:
    """Checks that images are like those of training.

    Attributes:
        shape: Height, width and channels.
    """

    kind: ClassVar[str] = "images"

    shape: tuple[int, int, int]

    def __call__(self, raw: Any) -> np.ndarray:
        """Checks images and returns them, [rows, height, width, channels] uint8.

        Args:
            raw: Images, uint8 with levels 0 to 255; grey ones may lack the last axis.

        Raises:
            UserError: They have another shape or type.
        """
        try:
            images = np.asarray(raw)
        except ValueError as error:
            raise UserError(f"the images are no array, as they differ in size: {error}") from error
        if images.ndim == len(self.shape) and self.shape[-1] == 1:
            images = images[..., None]
        if images.shape[1:] != self.shape:
            raise UserError(
                f"the images have the shape {images.shape[1:]}, but those of training "
                f"{self.shape}; give an array [rows, {', '.join(map(str, self.shape))}]"
            )
        if images.dtype != np.uint8:
            raise UserError(
                f"the images are of the type {images.dtype}; give uint8, levels 0 to 255 (of "
                "values in [0, 1]: (255 * values).round().astype('uint8'))"
            )
        return images

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Returns the shape; there is nothing to write."""
        del folder
        return {"shape": self.shape}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> ImageEncoding:
        """Reads what `save` returned."""
        del folder
        height, width, channels = facts["shape"]
        return cls((height, width, channels))


@dataclasses.dataclass(frozen=True)
class Images:
    """The pixels of each image, grey or in colour."""

    kind: ClassVar[InputKind] = "images"

    def check(self, dataset: Dataset) -> None:
        """Checks that the rows are images.

        Raises:
            UserError: They are texts or numbers.
        """
        if not dataset.of_images:
            kind, hint = ("numbers", "'features'")
            if dataset.of_texts:
                kind, hint = "texts", "'tokens', 'words' or 'embeddings'"
            raise UserError(f"inputs 'images' are pixels, but the data are {kind}; use {hint}")

    def ensure(self, root: Path, dataset: Dataset, session: Session) -> Inputs:
        """Takes the images that the data set holds.

        Args:
            root: Not used: they are decoded when the data are read.
            dataset: The data.
            session: Not used.
        """
        del root, session
        height, width, channels = dataset.inputs.shape[1:]
        encoding = ImageEncoding((height, width, channels))
        return Inputs(dataset.inputs, dataset.digest, encoding)
