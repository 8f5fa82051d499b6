"""What a row of the data looks like: a small picture, or its first features by name."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from lelp_jax.data.dataset import Dataset

_MOST_FEATURES = 12
# Of all pictures together; larger ones are thinned out.
_MOST_BYTES = 3_000_000


def describe(dataset: Dataset, index: np.ndarray) -> dict[str, Any]:
    """Returns what is shown of rows, in the units of the source.

    Rows are pictures where the data set says so, or where a row has the shape [height, width] or
    [height, width, channels] with 1 or 3 channels.

    Args:
        dataset: The data.
        index: Data-set indices, [n].

    Returns:
        JSON-like. Of pictures: `shape` [height, width, channels] and `pixels`, all rows' bytes in
        base64, from the darkest (0) to the brightest value (255) among these rows. Of others:
        `names` of the first features, their `values`, a list per row with four digits, and `more`,
        how many features are left out.
    """
    values = _raw(dataset, index)
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


def _raw(dataset: Dataset, index: np.ndarray) -> np.ndarray:
    """Returns the features as the source had them; constant ones were dropped but for the mean."""
    scale, shift = dataset.preprocessing.scale, dataset.preprocessing.shift
    return dataset.inputs[index].astype(np.float64) / np.where(scale == 0, 1, scale) + shift


def _image_shape(dataset: Dataset) -> tuple[int, int, int] | None:
    row = dataset.image_shape or dataset.inputs.shape[1:]
    if len(row) == 2:
        return (row[0], row[1], 1)
    if len(row) == 3 and row[2] in (1, 3):
        return (row[0], row[1], row[2])
    return None
