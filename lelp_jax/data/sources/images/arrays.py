"""Images and labels of all splits in one .npz file, as Keras and MedMNIST ship data sets."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from lelp_jax.core.constraints import DISTINCT, NUM_CLASSES, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data import identity, labels
from lelp_jax.data.dataset import Parts
from lelp_jax.data.reading import npz_file
from lelp_jax.data.reading.paths import find_file
from lelp_jax.data.sources import labelling
from lelp_jax.data.sources.images.base import ImageSource
from lelp_jax.data.sources.images.channels import unify_channels
from lelp_jax.data.sources.images.pixel_arrays import read_pixels

_LOG = logging.getLogger(__name__)
_SPLITS = ("train", "validation", "test")
# How the keys of a file are built: Keras has x_train and y_train, MedMNIST train_images, ...
_KERAS = {
    split: {
        "inputs": f"x_{split}",
        "labels": f"y_{split}",
        "fine_labels": f"fine_{split}",
        "ids": f"ids_{split}",
    }
    for split in _SPLITS
}
_MEDMNIST = {
    split: {
        "inputs": f"{prefix}_images",
        "labels": f"{prefix}_labels",
        "fine_labels": f"{prefix}_fine_labels",
        "ids": f"{prefix}_ids",
    }
    for split, prefix in zip(_SPLITS, ("train", "val", "test"), strict=True)
}


@dataclasses.dataclass(frozen=True)
class ImageArrays(ImageSource):
    """One .npz file of images and labels; rows of splits that it lacks are split off.

    Its keys are `x_train`, `y_train` and, optionally, `x_test`, `y_test`, `x_validation` and
    `y_validation`; or `train_images`, `train_labels`, `test_...` and `val_...`. Images are
    [rows, height, width] or [rows, height, width, channels] in 0..255, with 1 or 3 channels; labels
    are [rows] or [rows, 1], whole numbers or texts. Optional are fine labels, `fine_train`
    (`train_fine_labels`), and names of rows, `ids_train` (`train_ids`), each for every split.

    Attributes:
        file: Path of the file.
        num_classes: Number of whole-number labels, before they are merged; 0 takes the largest
            + 1, or as many as there are names.
        label_names: One name per label, before they are merged; empty takes the labels themselves.
    """

    file: Annotated[str, NonEmpty("an .npz file")]
    num_classes: Annotated[int, NUM_CLASSES] = 0
    label_names: Annotated[tuple[str, ...], DISTINCT] = ()

    def parts(self) -> Parts:
        """Reads the file.

        Raises:
            UserError: The file or a key is missing, or its shape or type cannot be used.
        """
        path = find_file(self.file, "file")
        arrays = npz_file.read_arrays(path, functools.partial(_choose, path))
        keys = _find_pattern(arrays)
        splits = [split for split in _SPLITS if keys[split]["inputs"] in arrays]
        images = {}
        for split in splits:
            key = keys[split]["inputs"]
            # What it is converted from is not needed any longer.
            images[key] = read_pixels(arrays.pop(key), f"{path} {key}")
        _check_sizes(images, path)
        images = unify_channels(images, self.channels)
        columns = {}
        for split in splits:
            pixels = images[keys[split]["inputs"]]
            columns[split] = self._label(pixels, _SplitArrays(path, keys[split], arrays))
        _check_fine(columns, path, keys)
        return labelling.make_parts(
            columns,
            num_classes=self.num_classes,
            label_names=self.label_names,
            class_map=self.class_map,
        )

    def _label(self, images: np.ndarray, split: _SplitArrays) -> labelling.LabelledInputs:
        """Puts labels, fine labels and ids beside the images of a split."""
        values = {kind: split.read(kind, len(images)) for kind in split.keys if kind != "inputs"}

        def read_labels(kind: str) -> labels.LabelColumn | None:
            column = values[kind]
            if column is None:
                return None
            return labels.read(column, split.keys[kind], split.place, self.unlabelled)

        found = read_labels("labels")
        assert found is not None
        ids = values["ids"]
        return labelling.LabelledInputs(
            inputs=images,
            labels=found,
            fine_labels=read_labels("fine_labels"),
            place=split.place,
            ids=None if ids is None else identity.read(ids, split.keys["ids"], split.place),
        )


@dataclasses.dataclass(frozen=True)
class _SplitArrays:
    """What a file holds of one split beside the images.

    Attributes:
        path: The file.
        keys: The key of the images, labels, fine labels and ids.
        arrays: The file's arrays by key.
    """

    path: Path
    keys: Mapping[str, str]
    arrays: Mapping[str, np.ndarray]

    def place(self, row: int) -> str:
        """Names a row, counted from 0 as NumPy does."""
        return f"{self.path} {self.keys['inputs']} row {row}"

    def read(self, kind: str, rows: int) -> np.ndarray | None:
        """Reads one value per row, [rows]; None where an optional key is missing.

        Raises:
            UserError: There are more or fewer values than rows, or they are of another type.
        """
        key = self.keys[kind]
        if key not in self.arrays:
            if kind == "labels":
                raise UserError(f"{self.path}: key {key!r} is missing beside {self.keys['inputs']}")
            return None
        values = self.arrays[key]
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.shape != (rows,):
            one_hot = values.ndim == 2 and len(values) == rows
            hint = f"; if they are one-hot, save {key}.argmax(axis=1)" if one_hot else ""
            raise UserError(
                f"{self.path}: {key} has shape {values.shape}, but {self.keys['inputs']} has "
                f"{rows} rows; one value per row is needed{hint}"
            )
        if values.dtype.kind not in "fiubUS":
            raise UserError(
                f"{self.path}: {key} is of type {values.dtype}; whole numbers or texts are needed"
            )
        return values


def _find_pattern(held: Mapping[str, object] | Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """Finds how the keys of a file are built: the key of each kind of array of each split."""
    return _MEDMNIST if _MEDMNIST["train"]["inputs"] in held else _KERAS


def _choose(path: Path, held: Sequence[str]) -> list[str]:
    """Chooses the keys that are read; logs the others."""
    pattern = _find_pattern(held)
    shown = ", ".join(map(repr, held))
    for kind in ("inputs", "labels"):
        if pattern["train"][kind] not in held:
            raise UserError(f"{path}: key {pattern['train'][kind]!r} is missing; it holds {shown}")
    known = [key for split in _SPLITS for key in pattern[split].values()]
    others = [key for key in held if key not in known]
    for split in _SPLITS[1:]:
        present = [key for key in pattern[split].values() if key in held]
        if present and pattern[split]["inputs"] not in held:
            raise UserError(f"{path}: {present[0]} has no images: {pattern[split]['inputs']!r}")
    # Rows of a split whose key is written in another way would be lost without a word.
    for key in others:
        if key.startswith(("x_", "y_")) or key.endswith(("_images", "_labels")):
            raise UserError(
                f"{path}: key {key!r} is none of those that are read; rename or remove it: "
                f"{', '.join(known)}"
            )
    if others:
        _LOG.info("%s: keys that are not read: %s", path, ", ".join(others))
    return [key for key in held if key in known]


def _check_sizes(images: Mapping[str, np.ndarray], path: Path) -> None:
    (first, train), *others = images.items()
    for key, other in others:
        if other.shape[1:3] != train.shape[1:3]:
            raise UserError(
                f"{path}: images of {key} are {other.shape[1]}x{other.shape[2]}, those of {first} "
                f"{train.shape[1]}x{train.shape[2]}; bring all to one height and width"
            )


def _check_fine(
    columns: Mapping[str, labelling.LabelledInputs],
    path: Path,
    keys: Mapping[str, Mapping[str, str]],
) -> None:
    having = [split for split, column in columns.items() if column.fine_labels is not None]
    for split in columns:
        if having and split not in having:
            raise UserError(
                f"{path}: key {keys[split]['fine_labels']!r} is missing, but there is "
                f"{keys[having[0]]['fine_labels']!r}; give both or neither"
            )
