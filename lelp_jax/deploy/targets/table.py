"""A teacher's arrays and what is known of their rows."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data import identity
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.storage.bundle import Bundle
from lelp_jax.storage.open import open_bundle
from lelp_jax.teachers import imported
from lelp_jax.teachers.imported import Imported

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Table:
    """A teacher's arrays and what is known of their rows.

    Attributes:
        teacher: Embeddings, logits and, where given, output weights.
        rows: The rows; their label is -1 where it is not known.
        ids: Name of each row, [rows]: as given, or their number.
        labelled: Whether there are labels at all.
    """

    teacher: Imported
    rows: EmbeddedRows
    ids: np.ndarray
    labelled: bool

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.teacher.logits.shape[1]


def read(location: str) -> Table:
    """Opens the arrays that `--input` names.

    Args:
        location: Holds `embeddings`, `logits` or `probabilities` and, optionally, `labels`,
            `fine_labels`, `output_weights` and `ids`.

    Raises:
        UserError: An array is missing or cannot be used.
    """
    bundle = open_bundle(location, "--input")
    teacher = imported.read(bundle)
    count, num_classes = teacher.logits.shape
    labels = _labels(bundle, "labels", count, num_classes)
    fine = _labels(bundle, "fine_labels", count, None)
    if "ids" in bundle:
        ids = _column(bundle, "ids", count)
        identity.read(ids, "ids", lambda row: bundle.place("ids", row))
    else:
        ids = np.arange(count)
    if labels is not None:
        _check_mark(labels, num_classes, bundle.location)
    label = np.full(count, UNLABELLED, np.int32) if labels is None else labels
    rows = EmbeddedRows(teacher.embeddings, np.arange(count), label, fine)
    return Table(teacher, rows, ids, labels is not None)


def _check_mark(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Logs how many rows have no label.

    Raises:
        UserError: -1, which means that, seems to be a class.
    """
    unlabelled = int((labels == UNLABELLED).sum())
    if not unlabelled:
        return
    counts = np.bincount(labels[labels != UNLABELLED], minlength=num_classes)
    if not counts.all():
        raise UserError(
            f"{where}: {UNLABELLED}, in {unlabelled} of {len(labels)} labels, means that a row has "
            f"no label, but no row is of class {int(np.argmin(counts))}; number the classes 0, 1, "
            "... if it is one of them"
        )
    _LOG.info(
        "%s: %d of %d rows have no label (%d); unless --membership says otherwise, each row is "
        "fitted in the class that the teacher predicts",
        where,
        unlabelled,
        len(labels),
        UNLABELLED,
    )


def _column(bundle: Bundle, name: str, count: int) -> np.ndarray:
    values = np.asarray(bundle.array(name)[:])
    if values.shape != (count,):
        raise UserError(
            f"{bundle.location}: {name} have shape {values.shape}, but there are {count} rows of "
            "embeddings; one per row is needed"
        )
    return values


def _labels(bundle: Bundle, name: str, count: int, bound: int | None) -> np.ndarray | None:
    if name not in bundle:
        return None
    values = _column(bundle, name, count)
    if values.dtype.kind not in "iufb":
        raise UserError(f"{bundle.location}: {name} are {values.dtype}; whole numbers are needed")
    known = np.where(np.isnan(values), UNLABELLED, values) if values.dtype.kind == "f" else values
    wrong = (known < UNLABELLED) | (known != np.round(known))
    if bound is not None:
        wrong |= known >= bound
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{bundle.place(name, row)}: {values[row]} is not a class"
            + (f" of 0..{bound - 1}" if bound else "")
            + f"; write {UNLABELLED} where it is not known"
        )
    return known.astype(np.int32)
