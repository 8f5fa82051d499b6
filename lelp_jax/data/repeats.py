"""Finds images that are in a data set twice: in two splits, or under two labels."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable, Mapping

import numpy as np

from lelp_jax.data.dataset import UNLABELLED, Dataset

_LOG = logging.getLogger(__name__)


def warn_of_repeats(dataset: Dataset, place: Callable[[int], str]) -> None:
    """Warns of images that are the same to the last pixel where they should differ.

    Metrics on rows that are among the training rows too are better than on new ones, and an image
    with two labels is wrong in one of them.

    Args:
        dataset: Images.
        place: Names a row of it for the message.
    """
    first = _find_first(dataset.inputs)
    splits: Mapping[str, np.ndarray] = {
        "training": dataset.train,
        "validation": dataset.validation,
        "test": dataset.test,
    }
    for (name, rows), (other, later) in itertools.combinations(splits.items(), 2):
        again = later[np.isin(first[later], first[rows])]
        if len(again):
            _LOG.warning(
                "%d of %d %s images are also among the %s images, such as %s, which is %s; "
                "remove one of each, or the %s metrics are too good",
                len(again),
                len(later),
                other,
                name,
                place(int(again[0])),
                place(int(rows[np.argmax(first[rows] == first[again[0]])])),
                other,
            )
    _warn_of_two_labels(dataset, first, place)


def _warn_of_two_labels(dataset: Dataset, first: np.ndarray, place: Callable[[int], str]) -> None:
    labelled = np.flatnonzero(dataset.labels != UNLABELLED)
    # Of the labelled rows alone: the first of equal images may have no label.
    order = labelled[np.argsort(first[labelled], kind="stable")]
    same = first[order][1:] == first[order][:-1]
    differ = np.flatnonzero(same & (dataset.labels[order][1:] != dataset.labels[order][:-1]))
    if len(differ):
        one, two = order[differ[0]], order[differ[0] + 1]
        _LOG.warning(
            "%d images are there under two labels, such as %s (%s), which is %s (%s); remove the "
            "wrong ones",
            len(np.unique(first[order[differ]])),
            place(int(one)),
            dataset.class_names[dataset.labels[one]],
            place(int(two)),
            dataset.class_names[dataset.labels[two]],
        )


def _find_first(images: np.ndarray) -> np.ndarray:
    """Finds the first row with the same pixels as each row, [rows] int64."""
    # 64 bits: among a million images, two that differ have the same with odds of 1 to 30 million.
    digests = np.empty(len(images), np.uint64)
    for row, image in enumerate(images):
        digests[row] = int.from_bytes(hashlib.blake2b(image.data, digest_size=8).digest(), "little")
    _, index, number = np.unique(digests, return_index=True, return_inverse=True)
    return index[number]
