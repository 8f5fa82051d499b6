"""Your own Parquet files with a column of encoded images."""

from __future__ import annotations

import dataclasses
import glob
import os
from pathlib import Path
from typing import Annotated

from lelp_jax.core.constraints import DISTINCT, NUM_CLASSES, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import Parts
from lelp_jax.data.reading.paths import find_file
from lelp_jax.data.sources import labelling
from lelp_jax.data.sources.images import parquet
from lelp_jax.data.sources.images.collection import EncodedImageSource


@dataclasses.dataclass(frozen=True)
class ImageTable(EncodedImageSource):
    """Parquet files with a column of images (PNG, JPEG, ...), as Hugging Face's `datasets` writes.

    A path may hold * for a split in several files: "data/train-*.parquet".

    Attributes:
        train: Path of the training rows.
        validation: Path of the validation rows; "" splits them off the training rows.
        test: Path of the test rows; "" splits them off the training rows.
        image: Name of the column of images, bytes or {bytes, path}; "" takes the only one.
        label: Name of the label column.
        fine_label: Name of the fine-label column; "" when there is none.
        id: Name of the column that names the rows; "" when there is none.
        num_classes: Number of whole-number labels, before they are merged; 0 takes the largest
            + 1, or as many as there are names.
        label_names: One name per label, before they are merged. Empty takes names as labels, or
            the names of numbers in the metadata of the training file.
    """

    train: Annotated[str, NonEmpty("a .parquet file")]
    validation: str = ""
    test: str = ""
    image: str = ""
    label: Annotated[str, NonEmpty("the name of the label column")] = "label"
    fine_label: str = ""
    id: str = ""
    num_classes: Annotated[int, NUM_CLASSES] = 0
    label_names: Annotated[tuple[str, ...], DISTINCT] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        labelling.refuse_same_columns({"image": self.image, **self._columns})

    @property
    def _columns(self) -> dict[str, str]:
        return {"label": self.label, "fine_label": self.fine_label, "id": self.id}

    def parts(self) -> Parts:
        """Reads the files.

        Raises:
            UserError: A file, column or value is missing or cannot be used.
        """
        # Imported here, so that Arrow is loaded only for the sources that read with it.
        from lelp_jax.data.reading.parquet_rows import ParquetRows

        paths = {"train": self.train, "validation": self.validation, "test": self.test}
        columns = {"image": self.image, **self._columns}
        opened = {
            split: ParquetRows(_find_files(path, split), columns)
            for split, path in paths.items()
            if path
        }
        images = parquet.read_column(self, opened, self.image, self._columns.values())
        splits = {
            split: labelling.read_columns(rows, images[split], self._columns, self.unlabelled)
            for split, rows in opened.items()
        }
        schemas = {
            name: schema for rows in opened.values() for name, schema in rows.schemas.items()
        }
        label_names, fine_names = labelling.read_label_names(schemas, splits["train"])
        return labelling.make_parts(
            splits,
            num_classes=self.num_classes,
            label_names=self.label_names or label_names,
            fine_names=fine_names,
            class_map=self.class_map,
        )


def _find_files(pattern: str, split: str) -> list[Path]:
    """Finds the files that a path means, in the order of their names."""
    if "*" not in pattern:
        return [find_file(pattern, split)]
    found = sorted(glob.glob(os.path.expanduser(pattern)))
    if not found:
        raise UserError(f"{pattern}: no file has such a name; check config.data.{split}")
    return [find_file(path, split) for path in found]
