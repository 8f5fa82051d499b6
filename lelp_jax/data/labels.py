"""Labels as people give them, whole numbers or names, and the classes that they become."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import UNLABELLED

_WHOLE = re.compile(r"[+-]?\d{1,18}")
_LARGEST = 10**18
_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of labels.

    Attributes:
        values: [rows]; int64 with -1 for none, or objects: texts, "" for none.
        name: The column's or key's name.
        place: Names a row for a message ("train.csv line 7").
    """

    values: np.ndarray
    name: str
    place: Callable[[int], str]

    @property
    def by_name(self) -> bool:
        """Whether the labels are names, not numbers."""
        return self.values.dtype.kind == "O"


def read(raw: np.ndarray, name: str, place: Callable[[int], str]) -> Column:
    """Reads labels in one of two forms.

    Texts that are all whole numbers are numbers. Blanks around a name do not count. No label is
    meant by -1, NaN, None and empty text.

    Args:
        raw: [rows] of any numeric type, bool, text, or objects that are texts or None.
        name: The column's or key's name.
        place: Names a row for a message.

    Raises:
        UserError: A number is not whole.
    """
    if raw.dtype.kind in "fiub":
        return Column(_whole(raw, name, place), name, place)
    texts = [_text(value) for value in raw.tolist()]
    distinct = {text for text in texts if text}
    if all(_WHOLE.fullmatch(text) for text in distinct):
        numbers = np.array([int(text) if text else UNLABELLED for text in texts], np.int64)
        return Column(numbers, name, place)
    names = np.array(["" if text == str(UNLABELLED) else text for text in texts], object)
    return Column(names, name, place)


def _text(value: object) -> str:
    if value is None:
        return ""
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()


def _whole(raw: np.ndarray, name: str, place: Callable[[int], str]) -> np.ndarray:
    if raw.dtype.kind != "f":
        if (raw > _LARGEST).any():
            row = int(np.argmax(raw > _LARGEST))
            raise UserError(f"{place(row)}: {name} {raw[row]} is too large for a class number")
        return raw.astype(np.int64)
    known = np.where(np.isnan(raw), UNLABELLED, raw)
    wrong = (known != np.round(known)) | (np.abs(known) > _LARGEST)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{place(row)}: {name} {raw[row]} is not a whole number; "
            "number the classes 0, 1, 2, ... or give them names"
        )
    return known.astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Coding:
    """Which class a label means; the training rows fix it for all rows.

    Attributes:
        names: One name per class, in class order.
        by_name: Whether labels are names; a name's position in `names` is its number.
    """

    names: tuple[str, ...]
    by_name: bool

    def classes(self, column: Column) -> np.ndarray:
        """Computes the class of each row, [rows] int64, -1 where it is unknown.

        Whole numbers are not checked against the number of classes.

        Raises:
            UserError: A name is not among those of the training rows, or a name is where the
                training rows have numbers.
        """
        values = column.values
        if not self.by_name:
            if column.by_name:
                row = next(
                    i for i, text in enumerate(values) if text and not _WHOLE.fullmatch(text)
                )
                raise UserError(
                    f"{column.place(row)}: {column.name} {str(values[row])!r} is not a whole "
                    "number, but the labels of the training rows are; write both in the same way"
                )
            return values
        if not column.by_name:
            values = np.where(values == UNLABELLED, "", values.astype(str).astype(object))
        distinct, position = np.unique(values, return_inverse=True)
        numbers = {name: number for number, name in enumerate(self.names)}
        classes = np.array([numbers.get(str(text), UNLABELLED) for text in distinct], np.int64)
        unknown = (classes == UNLABELLED) & distinct.astype(bool)
        if unknown[position].any():
            row = int(np.argmax(unknown[position]))
            raise UserError(
                f"{column.place(row)}: {column.name} {str(values[row])!r} is not among the "
                f"classes; known: {_listed(self.names)}"
            )
        return classes[position]


def fit_coding(train: Column, num_classes: int = 0, names: Sequence[str] = ()) -> Coding:
    """Fits the coding of labels to the training rows.

    Args:
        train: Labels of the training rows.
        num_classes: How many classes there are; 0 counts the names, or takes the largest number
            + 1.
        names: One name per class, in class order; empty takes the names in sorted order, or calls
            a class by its number.

    Raises:
        UserError: No row has a label, or the labels do not look like classes.
    """
    if names and num_classes and num_classes != len(names):
        raise UserError(
            f"config.data.num_classes is {num_classes}, but there are {len(names)} names of "
            f"classes: {_listed(names)}; leave num_classes at 0"
        )
    values = train.values
    if train.by_name:
        found = tuple(str(name) for name in np.unique(values) if name)
        if names:
            # Names that do not occur are found where the rows are coded.
            return Coding(tuple(names), by_name=True)
        if num_classes and num_classes != len(found):
            raise UserError(
                f"config.data.num_classes is {num_classes}, but the training rows have "
                f"{len(found)} names in {train.name!r}: {_listed(found)}"
            )
        labelled = int(values.astype(bool).sum())
        if len(found) > max(_SHOWN, labelled // 2):
            raise UserError(
                f"{train.place(0)}: {train.name!r} holds {len(found)} different texts in "
                f"{labelled} rows, such as {found[0][:40]!r}; name the label column"
            )
        return Coding(found, by_name=True)
    if (values == UNLABELLED).all():
        raise UserError(
            f"no training row has a label in {train.name!r}; teachers learn from labelled rows"
        )
    if names:
        return Coding(tuple(names), by_name=False)
    count = num_classes or int(values.max()) + 1
    if count > len(values):
        row = int(np.argmax(values))
        raise UserError(
            f"{train.place(row)}: {train.name} {values[row]} would make {count} classes of "
            f"{len(values)} rows; number the classes 0, 1, 2, ... and check that {train.name!r} "
            "holds the labels"
        )
    return Coding(tuple(str(number) for number in range(count)), by_name=False)


def _listed(names: Sequence[str]) -> str:
    """Formats the first names for a message."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
