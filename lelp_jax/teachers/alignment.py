"""Checks that a teacher's file and the data mean the same rows and classes.

`lelp_jax.answer` writes what can be compared: a hash of each text and the names of the classes.
"""

from __future__ import annotations

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data import identity
from lelp_jax.data.dataset import Dataset
from lelp_jax.storage.bundle import Bundle

_HASHES, _NAMES = "text_hashes", "label_names"


def refuse_other_texts(bundle: Bundle, positions: np.ndarray, dataset: Dataset) -> None:
    """Compares the texts that a teacher answered with those of the data.

    Args:
        bundle: The teacher's arrays.
        positions: Position in them of each row of the data, [data rows]; -1 without one.
        dataset: The data.

    Raises:
        UserError: A row of the data is another text.
    """
    if _HASHES not in bundle or not dataset.of_texts:
        return
    hashes = np.asarray(bundle.array(_HASHES)[:])
    rows = np.flatnonzero(positions >= 0)
    other = hashes[positions[rows]] != identity.hash_texts(dataset.inputs[rows])
    if other.any():
        row = int(rows[int(np.argmax(other))])
        text = str(dataset.inputs[row])
        raise UserError(
            f"{bundle.location} answers other texts in {int(other.sum()):,} of {len(rows):,} rows, "
            f"such as data row {row} ({text[:40]!r}); give lelp_jax.answer the same files in the "
            "order training, validation, test, or match rows by id (--config.data.id)"
        )


def refuse_other_classes(bundle: Bundle, dataset: Dataset) -> None:
    """Compares the names of a teacher's classes with those of the data.

    Names that have nothing in common, such as numbers and words, tell nothing.

    Args:
        bundle: The teacher's arrays.
        dataset: The data.

    Raises:
        UserError: Both have the same names, in another order.
    """
    if _NAMES not in bundle:
        return
    names = tuple(str(name) for name in np.asarray(bundle.array(_NAMES)[:]))
    if names != dataset.class_names and set(names) == set(dataset.class_names):
        raise UserError(
            f"{bundle.location} has the classes {', '.join(names)}, the data "
            f"{', '.join(dataset.class_names)}; bring the columns of its logits and output weights "
            f"and {_NAMES} into the order of the data"
        )
