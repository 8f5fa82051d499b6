"""A teacher's arrays and what is known of their rows."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data import class_order, identity
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.storage.bundle import Bundle
from lelp_jax.storage.open import open_bundle
from lelp_jax.teachers import imported
from lelp_jax.teachers.imported import Imported

_LOG = logging.getLogger(__name__)
_SHOWN = 12
_ROWS_AT_ONCE = 1 << 16


@dataclasses.dataclass(frozen=True)
class TeacherTable:
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


def read(location: str) -> TeacherTable:
    """Opens the arrays that `--input` names.

    Args:
        location: Holds `embeddings`, `logits` or `probabilities` and, optionally, `labels`,
            `fine_labels`, `output_weights` and `ids`. Labels are whole numbers or names; the class
            of a name is its position in `label_names` (`fine_label_names`), or in sorted order.

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
    label = np.full(count, UNLABELLED, np.int32)
    if labels is not None:
        label = labels
        if np.asarray(bundle.array("labels")[:1]).dtype.kind not in "US":
            _check_mark(labels, num_classes, bundle.location)
        _check_order(bundle, read_opinions(teacher), labels, num_classes)
    rows = EmbeddedRows(teacher.embeddings, np.arange(count), label, fine)
    return TeacherTable(teacher, rows, ids, labels is not None)


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


def read_opinions(teacher: Imported) -> np.ndarray:
    """Computes the class that the teacher prefers for every row, [rows] int32."""
    logits = teacher.logits
    result = np.empty(len(logits), np.int32)
    for start in range(0, len(logits), _ROWS_AT_ONCE):
        result[start : start + _ROWS_AT_ONCE] = logits[start : start + _ROWS_AT_ONCE].argmax(axis=1)
    return result


def _column(bundle: Bundle, name: str, count: int) -> np.ndarray:
    values = np.asarray(bundle.array(name)[:])
    if values.shape != (count,):
        raise UserError(
            f"{bundle.location}: {name} have shape {values.shape}, but there are {count} rows of "
            "embeddings; one per row is needed"
        )
    return values


def _labels(bundle: Bundle, name: str, count: int, bound: int | None) -> np.ndarray | None:
    """Reads the class of each row, [rows] int32, -1 where unknown; None without this array."""
    if name not in bundle:
        return None
    values = _column(bundle, name, count)
    if values.dtype.kind in "US":
        return _labels_by_name(bundle, name, values, bound)
    if values.dtype.kind not in "iufb":
        raise UserError(
            f"{bundle.location}: {name} are {values.dtype}; whole numbers or names are needed"
        )
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


def _labels_by_name(bundle: Bundle, name: str, values: np.ndarray, bound: int | None) -> np.ndarray:
    """Numbers labels that are names, [rows] int32; an empty one is none."""
    given = [str(value).strip() for value in values]
    given = ["" if value == str(UNLABELLED) else value for value in given]
    listed = f"{name.removesuffix('s')}_names"
    names = sorted({value for value in given if value})
    order = "in sorted order"
    if listed in bundle:
        names = [str(value).strip() for value in np.asarray(bundle.array(listed)[:])]
        order = f"as {listed} says"
        if len(set(names)) < len(names):
            raise UserError(f"{bundle.location}: {listed} names a class twice; name each once")
    if bound is not None and len(names) != bound:
        raise UserError(
            f"{bundle.location}: {listed if listed in bundle else name} hold {len(names)} names "
            f"({', '.join(names[:_SHOWN])}), but the logits {bound} classes; save the name of each "
            f"class, in the order of the logits, as the array {listed}"
        )
    number = {value: index for index, value in enumerate(names)} | {"": UNLABELLED}
    for row, value in enumerate(given):
        if value not in number:
            raise UserError(
                f"{bundle.place(name, row)}: {value!r} is not among {listed} "
                f"({', '.join(names[:_SHOWN])})"
            )
    _LOG.info(
        "%s, %s: %s%s",
        name,
        order,
        ", ".join(f"{index} is {value!r}" for index, value in enumerate(names[:_SHOWN])),
        ", ..." if len(names) > _SHOWN else "",
    )
    return np.array([number[value] for value in given], np.int32)


def _check_order(bundle: Bundle, predicted: np.ndarray, labels: np.ndarray, bound: int) -> None:
    """Compares the order of the labels' classes with that of the logits.

    Raises:
        UserError: Labels are names whose order was assumed, and another one fits much better.
    """
    found = class_order.compare_orders(predicted, labels, bound)
    if found is None or not found.contradicted:
        return
    message = f"{bundle.location}: the teacher gives {found.describe()}"
    by_name = np.asarray(bundle.array("labels")[:1]).dtype.kind in "US"
    if by_name and "label_names" not in bundle:
        raise UserError(
            f"{message}; save the name of each class, in the order of the logits, as the array "
            "label_names"
        )
    _LOG.warning("%s; check that labels and logits number the classes alike", message)
