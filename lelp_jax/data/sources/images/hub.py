"""Data sets of images on the Hugging Face hub, by their name."""

from __future__ import annotations

import dataclasses

from lelp_jax.data.dataset import Parts
from lelp_jax.data.sources import labelling
from lelp_jax.data.sources.hub_base import HubSource
from lelp_jax.data.sources.images import parquet
from lelp_jax.data.sources.images.collection import EncodedImageSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageHub(HubSource, EncodedImageSource):
    """A data set of images, in Parquet files, such as "uoft-cs/cifar10" or "ylecun/mnist".

    Attributes:
        image: Name of the column of images; "" takes the only one.
    """

    image: str = ""

    def __post_init__(self) -> None:
        columns = {"image": self.image, "label": self.label, "fine_label": self.fine_label}
        labelling.refuse_same_columns(columns)
        HubSource.__post_init__(self)
        EncodedImageSource.__post_init__(self)

    def parts(self) -> Parts:
        """Reads the files, and downloads those that are not in the cache.

        Raises:
            UserError: The data set is not available, or its files do not fit the settings.
        """
        opened = self.open_splits({"image": self.image})
        images = parquet.read_column(self, opened, self.image, (self.label, self.fine_label))
        splits = {
            split: self.read_split(rows, images[split], self.unlabelled)
            for split, rows in opened.items()
        }
        return self.make_parts(opened, splits, self.class_map)
