"""Descriptions of data rows for the explorer: a text, a small picture, or the first features."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lelp_jax.data.dataset import Dataset
from lelp_jax.data.preprocessing import Preprocessing

_MOST_FEATURES = 12
# Per text.
_MOST_CHARACTERS = 1000
# For all pictures or texts together, so that a browser opens the page at once. Pictures beyond it
# are thinned out, texts are shortened.
_MOST_BYTES = 3_000_000


def describe(dataset: Dataset, index: np.ndarray) -> dict[str, Any]:
    """Describes rows of the data, in the units of the source.

    Rows are pictures if they are images, if the dataset has an image shape, or if the shape of a
    row is [height, width] or [height, width, channels] with 1 or 3 channels.

    Args:
        dataset: The data.
        index: Data-set indices, [n].

    Returns:
        JSON-like. For texts, `texts`: the beginning of each; an ellipsis marks where one was cut.
        For pictures, `shape`, [height, width, channels], and `pixels`: the bytes of all rows in
        base64; those of images as they are, those of features scaled so that the darkest value
        among them is 0 and the brightest 255. For other data, `names` of the first features, their
        `values` per row, with four digits, and `more`, the number of features left out.
    """
    if dataset.of_texts:
        return {"texts": _shorten(dataset.inputs[index])}
    if dataset.of_images:
        return _encode_pictures(_thin_out(dataset.inputs[index]))
    assert dataset.preprocessing is not None
    values = _undo_preprocessing(dataset.inputs[index], dataset.preprocessing)
    shape = _find_image_shape(dataset)
    if shape is not None:
        return _encode_pictures(_stretch(_thin_out(values.reshape(len(index), *shape))))
    flat = values.reshape(len(index), -1)
    names = dataset.preprocessing.columns or [f"feature {n}" for n in range(_MOST_FEATURES)]
    return {
        "names": list(names[: min(_MOST_FEATURES, flat.shape[1])]),
        "values": round_floats(flat[:, :_MOST_FEATURES]),
        "more": max(flat.shape[1] - _MOST_FEATURES, 0),
    }


def round_floats(values: np.ndarray) -> Any:
    """Rounds finite floats to four digits and returns them as nested lists of the same shape.

    Four digits are finer than a pixel and keep the page small.
    """
    short = np.array([float(f"{value:.4g}") for value in np.asarray(values, float).ravel()])
    return short.reshape(np.shape(values)).tolist()


def _shorten(texts: Sequence[str]) -> list[str]:
    """Shortens texts to one maximum length, chosen so that all of them fit into the page."""
    length = _MOST_CHARACTERS
    while True:
        beginnings = [text if len(text) <= length else text[:length] + "…" for text in texts]
        # Measured as JSON, in which a character can take up to 12 bytes.
        if length == 1 or len(json.dumps(beginnings)) <= _MOST_BYTES:
            return beginnings
        length = max(length * 3 // 4, 1)


def _thin_out(images: np.ndarray) -> np.ndarray:
    """Leaves out rows and columns of pictures, [rows, height, width, channels], to fit the page."""
    # Every step-th pixel in both directions: enough to recognise a picture this small.
    step = 1
    while images[:, ::step, ::step].size > _MOST_BYTES:
        step += 1
    return images[:, ::step, ::step]


def _stretch(values: np.ndarray) -> np.ndarray:
    """Stretches values so that the smallest becomes 0 and the largest 255, as uint8."""
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    grey = (values - low) * (255 / (high - low) if high > low else 0)
    return np.round(grey).astype(np.uint8)


def _encode_pictures(images: np.ndarray) -> dict[str, Any]:
    """Encodes pictures, [rows, height, width, channels] uint8, for the page."""
    pixels = base64.b64encode(images.tobytes()).decode()
    return {"shape": list(images.shape[1:]), "pixels": pixels}


def _undo_preprocessing(inputs: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Computes the features in the units of the source."""
    # Preprocessing multiplies by `scale`; it is 0 for features that are constant in training, whose
    # value `shift` has.
    scale = np.where(preprocessing.scale == 0, 1, preprocessing.scale)
    return inputs.astype(np.float64) / scale + preprocessing.shift


def _find_image_shape(dataset: Dataset) -> tuple[int, int, int] | None:
    """Finds the height, width and channels of a row; None if rows are not pictures."""
    row = dataset.image_shape or dataset.inputs.shape[1:]
    if len(row) == 2:
        return (row[0], row[1], 1)
    if len(row) == 3 and row[2] in (1, 3):
        return (row[0], row[1], row[2])
    return None
