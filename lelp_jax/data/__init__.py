"""Data sources by name, and the one way from a source to a split, preprocessed data set."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import (
    Dataset,
    Parts,
    Rows,
    check_classes,
    check_rows,
    check_scaled,
    warn_of_missing_classes,
)
from lelp_jax.data.repeats import warn_of_repeats
from lelp_jax.data.sources import arrays, digits, hub, table, text_files, tfds
from lelp_jax.data.sources.images import arrays as image_arrays
from lelp_jax.data.sources.images import folder as image_folder
from lelp_jax.data.sources.images import hub as image_hub
from lelp_jax.data.sources.images import table as image_table
from lelp_jax.data.sources.images import tfds as image_tfds
from lelp_jax.data.split import Split, Strata, split_off

_LOG = logging.getLogger(__name__)


class Source(Protocol):
    """Where rows come from; its fields are the settings of that source."""

    def parts(self) -> Parts:
        """Reads the rows."""
        ...


SOURCES: Mapping[str, type] = {
    "digits": digits.Digits,
    "arrays": arrays.Arrays,
    "table": table.Table,
    "files": text_files.TextFiles,
    "tfds": tfds.Tfds,
    "hub": hub.Hub,
    "image_arrays": image_arrays.ImageArrays,
    "image_folder": image_folder.ImageFolder,
    "image_table": image_table.ImageTable,
    "image_hub": image_hub.ImageHub,
    "image_tfds": image_tfds.ImageTfds,
}


def load(source: Source, split: Split) -> Dataset:
    """Reads, checks, splits and preprocesses the rows of a source.

    Splits are stratified by fine label, or by label where there are no fine ones. The
    preprocessing is fitted on training rows alone.

    Raises:
        UserError: The rows cannot be used; the message names file and row.
    """
    parts = source.parts()
    pieces: dict[str, Rows] = {"train": parts.train}
    if parts.validation is not None:
        pieces["validation"] = parts.validation
    if parts.test is not None:
        pieces["test"] = parts.test
    for name, rows in pieces.items():
        check_rows(rows, name, len(parts.class_names), len(parts.fine_names))
        if rows.fine_labels is None and parts.fine_names:
            raise UserError(
                f"the {name} rows have no fine labels, but the training rows do; "
                "give them (-1: unknown), or leave them out of the training rows"
            )
    inputs = np.concatenate([rows.inputs for rows in pieces.values()])
    labels = np.concatenate([rows.labels for rows in pieces.values()]).astype(np.int32)
    fine_labels = None
    if parts.fine_names:
        fine = [rows.fine_labels for rows in pieces.values() if rows.fine_labels is not None]
        fine_labels = np.concatenate(fine).astype(np.int32)
    ids = _ids(pieces)
    ends = np.cumsum([len(rows.inputs) for rows in pieces.values()])
    indices = {
        name: np.arange(end - len(rows.inputs), end)
        for (name, rows), end in zip(pieces.items(), ends, strict=True)
    }
    _, validation_share, test_share = split.fractions
    rest = 1.0
    strata = Strata(labels, fine_labels, parts.class_names)
    for name, share in (("test", test_share), ("validation", validation_share)):
        if name not in indices:
            indices["train"], indices[name] = split_off(
                indices["train"], strata, share / rest, split.seed, name
            )
            rest -= share
    preprocessing = None
    if parts.preprocess is not None:
        preprocessing = parts.preprocess(inputs[indices["train"]])
        for note in preprocessing.describe():
            _LOG.info("%s", note)
        inputs = preprocessing(inputs)
        for (name, rows), end in zip(pieces.items(), ends, strict=True):
            own = inputs[end - len(rows.inputs) : end]
            check_scaled(own, rows, name, preprocessing)
    dataset = Dataset(
        inputs=inputs,
        labels=labels,
        fine_labels=fine_labels,
        train=indices["train"],
        validation=indices["validation"],
        test=indices["test"],
        class_names=parts.class_names,
        fine_names=parts.fine_names,
        preprocessing=preprocessing,
        ids=ids,
        image_shape=parts.image_shape,
        max_length=parts.max_length,
    )
    check_classes(dataset)
    warn_of_missing_classes(dataset)
    if dataset.of_images:
        warn_of_repeats(dataset, functools.partial(_place, pieces))
    return dataset


def _place(pieces: Mapping[str, Rows], row: int) -> str:
    """Names a row of all splits in one table."""
    for rows in pieces.values():
        if row < len(rows.inputs):
            return rows.place(row)
        row -= len(rows.inputs)
    raise IndexError(row)


def _ids(pieces: Mapping[str, Rows]) -> np.ndarray | None:
    """Concatenates the ids of all rows; None where rows have none.

    Ids of different files may be equal: code that joins by them has to check.
    """
    named = [rows.ids for rows in pieces.values() if rows.ids is not None]
    if len(named) < len(pieces):
        if named:
            missing = next(name for name, rows in pieces.items() if rows.ids is None)
            raise UserError(f"the {missing} rows have no ids, but others do; give them to all rows")
        return None
    return np.concatenate(named)
