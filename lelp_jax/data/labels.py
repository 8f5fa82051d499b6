"""Labels as people give them, whole numbers or names, and the classes that they become."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import UNLABELLED

_LOG = logging.getLogger(__name__)

# The mark of rows without a label that a source takes by default: -1, unless it may be a class.
AUTO = "auto"
_MINUS_ONE = "-1"
# As `str` writes them, or with a plus sign. "007" and "1e3" are names: no number is written so.
_WHOLE = re.compile(r"0|[+-]?[1-9]\d{0,17}")
# As whole numbers are written where one of a column is missing, by pandas for one.
_WHOLE_FLOAT = re.compile(r"(0|-?[1-9]\d{0,17})\.0")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Among numbers, these are missing ones; among names, they are names ("NA" for North America).
_MISSING = frozenset({"NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"})
_LARGEST = 10**18
_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class LabelColumn:
    """A column of labels.

    Attributes:
        codes: Position of each row's label in `distinct`, [rows] int64; -1 where it has none.
        distinct: The labels that occur, as they are written.
        numbers: The whole numbers that they are, [distinct] int64; None where they are names.
        name: The column's or key's name.
        place: Names a row for a message ("train.csv line 7").
        mark: What a source takes for the label of a row without one, besides an empty one.
        marked: How many rows hold that mark.
    """

    codes: np.ndarray
    distinct: tuple[str, ...]
    numbers: np.ndarray | None
    name: str
    place: Callable[[int], str]
    mark: str
    marked: int

    @property
    def by_name(self) -> bool:
        """Whether the labels are names, not numbers."""
        return self.numbers is None

    @property
    def is_empty(self) -> bool:
        """Whether no row has a label."""
        return not self.distinct

    @property
    def counts(self) -> np.ndarray:
        """Number of rows of each label, [distinct]."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.distinct))

    def place_of(self, label: int) -> str:
        """Names the first row with the label at a position of `distinct`."""
        return self.place(int(np.argmax(self.codes == label)))


def read(raw: np.ndarray, name: str, place: Callable[[int], str], mark: str = AUTO) -> LabelColumn:
    """Reads labels in one of two forms.

    Texts that are all whole numbers as `str` writes them are numbers; "007" is a name. Blanks
    around a name do not count. NaN, None, an empty text and the mark mean that a row has no label.

    Args:
        raw: [rows] of any numeric type, bool, text, or objects that are texts or None.
        name: The column's or key's name.
        place: Names a row for a message.
        mark: The label of rows that have none; "" for no such mark, and "auto" for -1, which
            `fit_coding` then doubts where it is as common as a class.

    Raises:
        UserError: A number is not whole.
    """
    if raw.dtype.kind in "fiub":
        whole, missing = _whole(raw, name, place)
        numbers, codes = np.unique(whole, return_inverse=True)
        texts = [str(number) for number in numbers.tolist()]
        codes = np.where(missing, -1, codes)
    else:
        positions: dict[str, int] = {}
        codes = np.array(
            [positions.setdefault(_text(value), len(positions)) for value in raw.tolist()],
            np.int64,
        )
        texts = list(positions)
    wanted = _MINUS_ONE if mark == AUTO else mark
    is_mark = np.array([bool(text) and _plain(text) == wanted for text in texts], bool)
    given = ~is_mark & np.array([bool(text) for text in texts], bool)
    is_number = np.array([bool(_NUMBER.fullmatch(text)) for text in texts], bool)
    is_missing = np.array([text in _MISSING for text in texts], bool)
    if (given & is_number).any() and (is_number | is_missing)[given].all():
        given &= is_number
    # A number that stands for missing ones alone has no row.
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    given &= counts > 0
    column = LabelColumn(
        codes=np.append(np.where(given, np.cumsum(given) - 1, -1), -1)[codes],
        distinct=tuple(texts[label] for label in np.flatnonzero(given)),
        numbers=None,
        name=name,
        place=place,
        mark=mark,
        marked=int(counts[is_mark].sum()),
    )
    return dataclasses.replace(column, numbers=_numbers(column))


def _text(value: object) -> str:
    if value is None:
        return ""
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()


def _plain(text: str) -> str:
    """Writes "-1.0" as "-1"."""
    return text[:-2] if _WHOLE_FLOAT.fullmatch(text) else text


def _numbers(column: LabelColumn) -> np.ndarray | None:
    """Reads labels as whole numbers, [distinct] int64; None where they are names.

    Raises:
        UserError: Some are whole numbers, and others are numbers written in another way.
    """
    texts = column.distinct
    whole = [bool(_WHOLE.fullmatch(text)) for text in texts]
    if all(whole) or all(_WHOLE_FLOAT.fullmatch(text) for text in texts):
        return np.array([int(_plain(text)) for text in texts], np.int64)
    if any(whole) and all(_NUMBER.fullmatch(text) for text in texts):
        label = whole.index(False)
        raise UserError(
            f"{column.place_of(label)}: {column.name} {texts[label]} is not a whole number, but "
            f"others are, such as {texts[whole.index(True)]}; write all of them in the same way: "
            "number the classes 0, 1, 2, ... or give them names"
        )
    return None


def _whole(
    raw: np.ndarray, name: str, place: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray]:
    """Converts numbers to whole ones, [rows] int64, and tells where they are missing, [rows]."""
    if raw.dtype.kind != "f":
        if (raw > _LARGEST).any():
            row = int(np.argmax(raw > _LARGEST))
            raise UserError(f"{place(row)}: {name} {raw[row]} is too large for a class number")
        return raw.astype(np.int64), np.zeros(len(raw), bool)
    missing = np.isnan(raw)
    known = np.where(missing, 0, raw)
    wrong = (known != np.round(known)) | (np.abs(known) > _LARGEST)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{place(row)}: {name} {raw[row]} is not a whole number; "
            "number the classes 0, 1, 2, ... or give them names"
        )
    return known.astype(np.int64), missing


@dataclasses.dataclass(frozen=True)
class Coding:
    """Which class a label means; the training rows fix it for all rows.

    Attributes:
        names: One name per class, in class order.
        labels: The label of each class: whole numbers, or names.
    """

    names: tuple[str, ...]
    labels: Sequence[int] | Sequence[str]

    @property
    def by_name(self) -> bool:
        """Whether labels are names."""
        return isinstance(self.labels[0], str)

    def classes(self, column: LabelColumn) -> np.ndarray:
        """Computes the class of each row, [rows] int64, -1 where it has no label.

        Raises:
            UserError: A label is not among those of the classes, or a name is where the training
                rows have numbers.
        """
        given: Iterable[int | str] = column.distinct
        if not self.by_name:
            if column.numbers is None:
                label = next(
                    i for i, text in enumerate(column.distinct) if not _WHOLE.fullmatch(text)
                )
                raise UserError(
                    f"{column.place_of(label)}: {column.name} {column.distinct[label]!r} is not a "
                    "whole number, but the labels of the training rows are; write both in the "
                    "same way"
                )
            given = column.numbers.tolist()
        position = {label: number for number, label in enumerate(self.labels)}
        found = np.array([position.get(label, UNLABELLED) for label in given], np.int64)
        if (found == UNLABELLED).any():
            label = int(np.argmax(found == UNLABELLED))
            raise UserError(
                f"{column.place_of(label)}: {self._refusal(column.name, column.distinct[label])}"
            )
        return np.append(found, UNLABELLED)[column.codes]

    def _refusal(self, name: str, label: str) -> str:
        if self.labels == range(len(self.labels)):
            return (
                f"{name} {label} is outside 0..{len(self.labels) - 1}; correct it, or name the "
                "mark of rows without a label in config.data.unlabelled"
            )
        return f"{name} {label!r} is not among the classes; known: {_listed(map(str, self.labels))}"


def fit_coding(
    train: LabelColumn, num_classes: int = 0, names: Sequence[str] = (), *, fine: bool = False
) -> Coding:
    """Fits the coding of labels to the training rows, and logs how many of them have no label.

    Args:
        train: Labels of the training rows.
        num_classes: How many classes there are; 0 counts the names, or takes the largest number
            + 1.
        names: One name per class, in class order; empty takes the labels themselves, in the order
            of numbers or texts.
        fine: Whether these are fine labels, which many rows may lack.

    Raises:
        UserError: No row has a label, the labels do not look like classes, or it is not clear
            whether -1 is a class.
    """
    if names and num_classes and num_classes != len(names):
        raise UserError(
            f"config.data.num_classes is {num_classes}, but there are {len(names)} names of "
            f"classes: {_listed(names)}; leave num_classes at 0"
        )
    if train.is_empty:
        raise UserError(
            f"no training row has a label in {train.name!r}; teachers learn from labelled rows "
            f"(config.data.unlabelled is {train.mark!r})"
        )
    if not (fine or names or num_classes):
        _refuse_common_mark(train)
    _log_unlabelled(train, "fine label" if fine else "label")
    if train.numbers is None or (
        train.mark not in (AUTO, _MINUS_ONE) and int(train.numbers.min()) < 0
    ):
        return _fit_names(train, num_classes, names)
    largest = int(train.numbers.max())
    count = len(names) or num_classes or largest + 1
    if count > len(train.codes):
        label = int(np.argmax(train.numbers))
        raise UserError(
            f"{train.place_of(label)}: {train.name} {largest} would make {count} classes of "
            f"{len(train.codes)} rows; number the classes 0, 1, 2, ... and check that "
            f"{train.name!r} holds the labels"
        )
    return Coding(tuple(names) or tuple(map(str, range(count))), range(count))


def _fit_names(train: LabelColumn, num_classes: int, names: Sequence[str]) -> Coding:
    """Fits the coding of names, and of numbers of which some are negative: in their order."""
    labels: tuple[str, ...] | tuple[int, ...]
    if train.numbers is None:
        labels = tuple(sorted(train.distinct))
        if names:
            # Names that do not occur are found where the rows are coded.
            return Coding(tuple(names), tuple(names))
    else:
        labels = tuple(sorted(set(train.numbers.tolist())))
    found = tuple(map(str, labels))
    count = len(names) or num_classes
    if count and count != len(found):
        what = f"{len(names)} names of classes are given" if names else f"num_classes is {count}"
        raise UserError(
            f"config.data: {what}, but the training rows have {len(found)} names in "
            f"{train.name!r}: {_listed(found)}"
        )
    labelled = int(train.counts.sum())
    if len(found) > max(_SHOWN, labelled // 2):
        raise UserError(
            f"{train.place(0)}: {train.name!r} holds {len(found)} different texts in "
            f"{labelled} rows, such as {found[0][:40]!r}; name the label column"
        )
    return Coding(tuple(names) or found, labels)


def _refuse_common_mark(train: LabelColumn) -> None:
    """Raises the question of what -1 means where nobody has said it and a class is no more common.

    Rows whose label is lost silently would change what is learned; of three classes -1, 0 and 1 two
    would be left.
    """
    rarest = int(np.argmin(train.counts))
    if train.mark != AUTO or train.marked < train.counts[rarest]:
        return
    raise UserError(
        f"{train.place(0)}: {train.name} {_MINUS_ONE}, in {train.marked} of {len(train.codes)} "
        f"training rows, would mean that they have no label, but it is as common as the label "
        f"{train.distinct[rarest]}, in {train.counts[rarest]}; set "
        f"--config.data.unlabelled={_MINUS_ONE} if that is meant, and --config.data.unlabelled= "
        f"if {_MINUS_ONE} is a class"
    )


def _log_unlabelled(train: LabelColumn, kind: str) -> None:
    missing = train.codes < 0
    count = int(missing.sum())
    if count:
        _LOG.info(
            "%d of %d training rows have no %s in %r: %d hold %s, %d nothing (%s is the first)",
            count,
            len(missing),
            kind,
            train.name,
            train.marked,
            _MINUS_ONE if train.mark == AUTO else repr(train.mark),
            count - train.marked,
            train.place(int(np.argmax(missing))),
        )


def _listed(names: Iterable[str]) -> str:
    """Formats the first names for a message."""
    shown = list(names)
    return ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")
