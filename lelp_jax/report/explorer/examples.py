"""What a row of the data looks like: its text, a small picture, or its first features by name."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lelp_jax.data.dataset import Dataset
from lelp_jax.data.preprocessing import Preprocessing

_MOST_FEATURES = 12
# Of a text.
_MOST_CHARACTERS = 1000
# Of all pictures or texts together; larger ones are thinned out or cut.
_MOST_BYTES = 3_000_000


def describe(dataset: Dataset, index: np.ndarray) -> dict[str, Any]:
    """Returns what is shown of rows, in the units of the source.

    Rows are pictures where the data set says so, or where a row has the shape [height, width] or
    [height, width, channels] with 1 or 3 channels.

    Args:
        dataset: The data.
        index: Data-set indices, [n].

    Returns:
        JSON-like. Of texts: `texts`, a list with the beginning of each; an ellipsis ends those that
        are cut. Of pictures: `shape` [height, width, channels] and `pixels`, all rows' bytes in
        base64, from the darkest (0) to the brightest value (255) among these rows. Of others:
        `names` of the first features, their `values`, a list per row with four digits, and `more`,
        how many features are left out.
    """
    if dataset.preprocessing is None:
        return {"texts": _cut(dataset.inputs[index])}
    values = _raw(dataset.inputs[index], dataset.preprocessing)
    shape = _image_shape(dataset)
    if shape is not None:
        images = values.reshape(len(index), *shape)
        step = 1
        while images[:, ::step, ::step].size > _MOST_BYTES:
            step += 1
        images = images[:, ::step, ::step]
        low, high = images.min(initial=np.inf), images.max(initial=-np.inf)
        grey = (images - low) * (255 / (high - low) if high > low else 0)
        pixels = base64.b64encode(np.round(grey).astype(np.uint8).tobytes()).decode()
        return {"shape": list(images.shape[1:]), "pixels": pixels}
    flat = values.reshape(len(index), -1)
    names = dataset.preprocessing.columns or [f"feature {n}" for n in range(_MOST_FEATURES)]
    return {
        "names": list(names[: min(_MOST_FEATURES, flat.shape[1])]),
        "values": rounded(flat[:, :_MOST_FEATURES]),
        "more": max(flat.shape[1] - _MOST_FEATURES, 0),
    }


def rounded(values: np.ndarray) -> Any:
    """Returns finite floats of any shape as nested lists, with four digits each."""
    short = np.array([float(f"{value:.4g}") for value in np.asarray(values, float).ravel()])
    return short.reshape(np.shape(values)).tolist()


def _cut(texts: Sequence[str]) -> list[str]:
    """Returns the beginnings of texts, shorter ones where all together would be too much."""
    most = _MOST_CHARACTERS
    while True:
        shown = [text if len(text) <= most else text[:most] + "…" for text in texts]
        # As the page holds them, where a character may take up to 12 bytes.
        if most == 1 or len(json.dumps(shown)) <= _MOST_BYTES:
            return shown
        most = max(most * 3 // 4, 1)


def _raw(inputs: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Returns the features as the source had them; constant ones were dropped but for the mean."""
    scale = np.where(preprocessing.scale == 0, 1, preprocessing.scale)
    return inputs.astype(np.float64) / scale + preprocessing.shift


def _image_shape(dataset: Dataset) -> tuple[int, int, int] | None:
    row = dataset.image_shape or dataset.inputs.shape[1:]
    if len(row) == 2:
        return (row[0], row[1], 1)
    if len(row) == 3 and row[2] in (1, 3):
        return (row[0], row[1], row[2])
    return None
