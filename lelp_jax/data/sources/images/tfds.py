"""Data sets of images by their name in TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import dataclasses

from lelp_jax.data.dataset import Parts
from lelp_jax.data.sources import labelling
from lelp_jax.data.sources.images import cache
from lelp_jax.data.sources.images.collection import EncodedImageSource, EncodedSplit
from lelp_jax.data.sources.tfds_base import TfdsSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageTfds(TfdsSource, EncodedImageSource):
    """A data set of images ("cifar10", "svhn_cropped", "eurosat").

    Attributes:
        image: Name of the column of images; "" takes the only one.
    """

    image: str = ""

    def __post_init__(self) -> None:
        columns = {"image": self.image, "label": self.label, "fine_label": self.fine_label}
        labelling.refuse_same_columns(columns)
        TfdsSource.__post_init__(self)
        EncodedImageSource.__post_init__(self)

    def parts(self) -> Parts:
        """Reads the data set.

        Raises:
            UserError: It cannot be read, or its columns or splits are not as the settings say.
        """
        reader = self.open({"image": self.image}, {}, self.unlabelled)
        columns = self.read_splits(reader)
        origin = {
            "files": cache.describe_files(reader.files),
            "column": reader.columns["image"],
            "splits": {split: rows.place(0) for split, rows in columns.items()},
        }
        encoded = {
            split: EncodedSplit(rows.inputs.tolist, rows.place) for split, rows in columns.items()
        }
        images = self.read_images(encoded, origin)
        return labelling.make_parts(
            {
                split: dataclasses.replace(rows, inputs=images[split])
                for split, rows in columns.items()
            },
            label_names=reader.class_names("label"),
            fine_names=reader.class_names("fine_label"),
            class_map=self.class_map,
        )
