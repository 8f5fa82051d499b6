"""Writes named arrays of rows as they come; the file or folder appears when it is whole."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from lelp_jax.storage import dtypes

# What is read or written at once of the widest array.

Rows = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Spec:
    """What an array will be.

    Attributes:
        shape: Rows first.
        dtype: Numbers (bfloat16 among them), truth values, or texts of a fixed width ("U20").
    """

    shape: tuple[int, ...]
    dtype: Any

    def __post_init__(self) -> None:
        """Makes the type one of NumPy, by whatever name it was given."""
        object.__setattr__(self, "dtype", np.dtype(self.dtype))


class Writer(abc.ABC):
    """Takes the rows of all arrays together; to be used in a with statement.

    What was at the location before is whole until the statement is left without an exception.

    Attributes:
        location: What is written.
        arrays: What it will hold.
        rows: Rows of each array.
        chunk_rows: Rows that are written at once. Each process that shares the writing of a zarr
            folder writes ranges that begin at a multiple of it, and end at one or at the last row.
    """

    # Whether ranges may come in any order, from several processes.
    shared = False

    def __init__(self, location: str, arrays: Mapping[str, Spec], chunk_rows: int):
        self.location = location
        self.arrays = dict(arrays)
        self.rows = next(iter(arrays.values())).shape[0]
        self.chunk_rows = chunk_rows
        self._pending: dict[str, list[np.ndarray]] = {name: [] for name in arrays}
        self._written = 0
        self._next = 0

    def write(self, start: int, rows: Rows) -> None:
        """Writes rows of every array.

        Args:
            start: The first row; where the last call ended, but for a range of another process.
            rows: The same rows of each array, [rows, ...].

        Raises:
            OSError: The disk is full or cannot be written.
            ValueError: The rows do not fit the arrays or do not follow those before.
        """
        if start != self._next:
            if not self.shared or self._next != self._written or start % self.chunk_rows:
                raise ValueError(f"rows from {start} on after row {self._next} of {self.location}")
            self._written = self._next = start
        if rows.keys() != self.arrays.keys():
            raise ValueError(f"rows of {sorted(rows)} for the arrays {sorted(self.arrays)}")
        counts = {len(values) for values in rows.values()}
        if len(counts) > 1 or start + max(counts) > self.rows:
            raise ValueError(f"{sorted(counts)} rows from {start} on, of {self.rows}")
        for name, values in rows.items():
            self._pending[name].append(_fitting(name, np.asarray(values), self.arrays[name]))
        self._next += counts.pop()
        whole = self._next if self._next == self.rows else self._next - self._next % self.chunk_rows
        if whole > self._written:
            self._flush(whole)

    def _flush(self, stop: int) -> None:
        """Writes what has come up to a row."""
        chunk = {}
        for name, pieces in self._pending.items():
            values = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            count = stop - self._written
            chunk[name] = values[:count]
            # A copy, so that the rest does not keep what is written in memory.
            self._pending[name] = [values[count:].copy()] if len(values) > count else []
        self._put(self._written, chunk)
        self._written = stop

    def __enter__(self) -> Self:
        """Begins to write beside the location."""
        try:
            self._begin()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Gives what was written its name, or removes it after an exception."""
        try:
            if kind is None:
                if self._next != self._written or not (self.shared or self._next == self.rows):
                    raise ValueError(f"{self._next} of {self.rows} rows of {self.location} came")
                self._finish()
                return
        except BaseException:
            self._discard()
            raise
        self._discard()

    @abc.abstractmethod
    def _begin(self) -> None:
        """Opens what is written to."""

    @abc.abstractmethod
    def _put(self, start: int, rows: Rows) -> None:
        """Writes whole chunks of rows of every array, in the arrays' types."""

    @abc.abstractmethod
    def _finish(self) -> None:
        """Gives what was written its name."""

    @abc.abstractmethod
    def _discard(self) -> None:
        """Removes what was written."""


def temporary(path: Path) -> Path:
    """Returns the neighbour under which something is written before it gets its name."""
    return path.with_name(f".{path.name}.tmp")


def _fitting(name: str, values: np.ndarray, spec: Spec) -> np.ndarray:
    """Returns rows in the type of their array.

    Raises:
        ValueError: They have another shape, or values that the type does not hold.
    """
    if values.shape[1:] != spec.shape[1:]:
        raise ValueError(f"rows of {name} have shape {values.shape[1:]}, not {spec.shape[1:]}")
    if values.dtype == spec.dtype:
        return values
    texts = spec.dtype.kind == "U"
    if texts and len(values) and np.char.str_len(values).max() > spec.dtype.itemsize // 4:
        raise ValueError(f"a text of {name} is longer than {spec.dtype} holds")
    fits = values.dtype.kind == "U" if texts else np.can_cast(values.dtype, spec.dtype, "same_kind")
    if not fits and not dtypes.is_bfloat16(spec.dtype):
        raise ValueError(f"rows of {name} are {values.dtype}, not {spec.dtype}")
    return values.astype(spec.dtype)
