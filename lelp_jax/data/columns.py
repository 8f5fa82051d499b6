"""How the columns of a table become numbers: learnt from training rows, the same for any row later.

A column of the table becomes one or several features in float64, which `data.preprocessing` then
shifts and scales:

- numbers: the number, with the median in place of a missing one. If numbers are missing in training
  rows, a second feature says where.
- dates: the same, in seconds since 1970.
- texts: one feature per text, 1 for the rows that have it. A column of more than 100 different
  texts has `BUCKETS` features instead, and a hash of the text says which of them is 1.
- lists: their numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np

from lelp_jax.core.errors import UserError

# What the values of a column are read as, see `data.reading.columns`.
Kind: TypeAlias = Literal["numbers", "dates", "dates with a time zone", "texts", "lists"]

_LOG = logging.getLogger(__name__)
MOST_TEXTS = 100
BUCKETS = 128
_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class Column:
    """Makes features of a column of a table.

    Attributes:
        kind: What the column's values are read as.
        same_unit: Whether standard deviations of its features may be compared.
        name: The column's name.
    """

    kind: ClassVar[Kind]
    same_unit: ClassVar[bool] = False

    name: str

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> Self:
        """Learns from the values of training rows, [rows, ...]."""
        raise NotImplementedError

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        raise NotImplementedError

    @property
    def indicators(self) -> np.ndarray:
        """Which features are 0 or 1, [features] bool; these are neither shifted nor scaled."""
        raise NotImplementedError

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Computes features, [rows, features], of a column's values, [rows, ...].

        A value that the training rows did not show is encoded as the class says, with a warning.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Numbers(Column):
    """Numbers, of which some may be missing.

    Attributes:
        name: The column's name.
        median: Stands in for a missing number: the median of the training rows.
        flagged: Whether a second feature is 1 where the number is missing, else 0: if it is in some
            training row.
    """

    kind: ClassVar[Kind] = "numbers"

    median: float
    flagged: bool

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> Self:
        """Computes the median of the values, [rows] numbers; 0 if all are missing."""
        missing = _find_missing(values)
        median = 0.0 if missing.all() else float(np.median(values[~missing]))
        return cls(name, median, bool(missing.any()))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        return (self.name, f"{self.name} is missing") if self.flagged else (self.name,)

    @property
    def indicators(self) -> np.ndarray:
        """Which features are 0 or 1."""
        return np.arange(len(self.features)) == 1

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Fills in the median, [rows, 1 or 2] float64, or whole numbers as they are."""
        missing = _find_missing(values)
        filled = np.where(missing, self.median, values.astype(np.float64))
        if self.flagged:
            return np.stack([filled, missing], axis=1)
        if missing.any():
            _LOG.warning(
                "column %s: the value is missing in %d of %d rows, but in no training row; its "
                "median there, %g, is used",
                self.name,
                missing.sum(),
                len(values),
                self.median,
            )
            values = filled
        return values[:, None]


@dataclasses.dataclass(frozen=True)
class Dates(Numbers):
    """Dates and times, of which some may be missing, as seconds since 1970-01-01."""

    kind: ClassVar[Kind] = "dates"

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> Self:
        """Computes the median of the values, [rows] datetime64."""
        return super().fit(name, _count_seconds(values))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Counts seconds and fills in the median, [rows, 1 or 2] float64."""
        return super().encode(_count_seconds(values))


@dataclasses.dataclass(frozen=True)
class ZonedDates(Dates):
    """Dates and times with a time zone: seconds since 1970-01-01 in UTC."""

    kind: ClassVar[Kind] = "dates with a time zone"


@dataclasses.dataclass(frozen=True)
class Texts(Column):
    """Texts that stand for categories.

    Attributes:
        name: The column's name.
        values: The texts of the training rows, sorted, "" for a missing one; a text that is not
            among them has no feature that is 1. Empty if there are too many: then a text's hash
            says which of `BUCKETS` features is 1.
    """

    kind: ClassVar[Kind] = "texts"

    values: tuple[str, ...]

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> Self:
        """Lists the different values of [rows] objects, each a text."""
        found = sorted(set(values.tolist()))
        return cls(name, tuple(found) if len(found) <= MOST_TEXTS else ())

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        if not self.values:
            return tuple(f"{self.name}#{bucket}" for bucket in range(BUCKETS))
        return tuple(
            f"{self.name}={text}" if text else f"{self.name} is missing" for text in self.values
        )

    @property
    def indicators(self) -> np.ndarray:
        """Which features are 0 or 1: all of them."""
        return np.ones(len(self.features), bool)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Marks the feature of each text, [rows, features] float32."""
        distinct, which = np.unique(values.astype(object), return_inverse=True)
        if self.values:
            places = {text: place for place, text in enumerate(self.values)}
            place = np.array([places.get(text, -1) for text in distinct.tolist()], np.int64)
            self._warn_of_new(distinct[place < 0], int((place[which] < 0).sum()), len(values))
        else:
            place = np.array([_hash(text) for text in distinct.tolist()], np.int64)
        # -1 equals no feature.
        marked: np.ndarray = place[which][:, None] == np.arange(len(self.features))
        return marked.astype(np.float32)

    def _warn_of_new(self, texts: np.ndarray, count: int, rows: int) -> None:
        if count:
            _LOG.warning(
                "column %s: the value of %d of %d rows is in no training row, such as %r; it is "
                "encoded as none of the %d known ones",
                self.name,
                count,
                rows,
                texts[0][:_SHOWN],
                len(self.values),
            )


@dataclasses.dataclass(frozen=True)
class Lists(Column):
    """Lists of equally many numbers, such as embeddings.

    Attributes:
        name: The column's name.
        width: How many numbers each list holds.
    """

    kind: ClassVar[Kind] = "lists"
    same_unit: ClassVar[bool] = True

    width: int

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> Self:
        """Takes the width of the values, [rows, width]."""
        return cls(name, values.shape[1])

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(f"{self.name}[{place}]" for place in range(self.width))

    @property
    def indicators(self) -> np.ndarray:
        """Which features are 0 or 1: none."""
        return np.zeros(self.width, bool)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Takes the numbers as they are.

        Raises:
            UserError: The lists have another length than those of the training rows.
        """
        if values.shape[1] != self.width:
            raise UserError(
                f"column {self.name}: the lists hold {values.shape[1]} numbers, those of the "
                f"training rows {self.width}; give lists of the same length"
            )
        return values


COLUMNS: Mapping[Kind, type[Column]] = {
    column.kind: column for column in (Numbers, Dates, ZonedDates, Texts, Lists)
}


def fit_columns(raw: np.ndarray, kinds: Mapping[str, Kind]) -> tuple[Column, ...]:
    """Learns how the columns of a table become features.

    Args:
        raw: The training rows, a structured array with a field per column.
        kinds: What each column was read as.
    """
    return tuple(COLUMNS[kind].fit(name, raw[name]) for name, kind in kinds.items())


def write_facts(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Converts columns to JSON-like facts."""
    return [{"kind": column.kind, **dataclasses.asdict(column)} for column in columns]


def read_facts(facts: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Makes columns of what `write_facts` returned, or the same read from JSON."""
    columns = []
    for fact in facts:
        # JSON has no tuples.
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fact.items()
        }
        columns.append(COLUMNS[values.pop("kind")](**values))
    return tuple(columns)


def describe_columns(columns: Sequence[Column]) -> str:
    """Describes in a line what was learnt: which columns are features, and of which kind."""
    names: dict[Kind, list[str]] = {kind: [] for kind in COLUMNS}
    for column in columns:
        name = column.name
        if isinstance(column, Texts):
            name += f" ({len(column.values) or f'more than {MOST_TEXTS}, hashed'})"
        elif isinstance(column, Lists):
            name += f" ({column.width})"
        names[column.kind].append(name)
    parts = [f"{kind}: {shorten(each)}" for kind, each in names.items() if each]
    text = f"features are made of columns of {'; '.join(parts)}"
    flagged = [column for column in columns if isinstance(column, Numbers) and column.flagged]
    if flagged:
        text += (
            "; where a value is missing, the median of the training rows is used and a feature "
            f"says so: {shorten([column.name for column in flagged])}"
        )
    return text


def shorten(names: Sequence[str], most: int = 12) -> str:
    """Lists names for a message, the first ones of many."""
    listed = ", ".join(name[:_SHOWN] for name in names[:most])
    return f"{listed}, ... ({len(names)} in all)" if len(names) > most else listed


def _find_missing(values: np.ndarray) -> np.ndarray:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)


def _count_seconds(dates: np.ndarray) -> np.ndarray:
    """Counts seconds since 1970 in float64, NaN where a date is missing."""
    whole = dates.astype("datetime64[s]")
    rest = (dates - whole) / np.timedelta64(1, "s")
    return np.where(np.isnat(dates), np.nan, whole.astype(np.int64) + rest)


def _hash(text: str) -> int:
    """Computes the bucket of a text, the same in every process and version."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % BUCKETS
