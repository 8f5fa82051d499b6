"""A teacher's embedding of some rows, with what tells the rows apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lelp_jax.storage.rows import RowArray


@dataclasses.dataclass(frozen=True)
class EmbeddedRows:
    """Examples as a projection sees them.

    Attributes:
        embedding: Teacher embedding, [rows, dims]; it need not fit into memory.
        index: Position of each row in the data set, [rows].
        label: Class of each row, [rows] int32; when fitting, the class it is fitted in, or -1 for
            rows that are not fitted.
        fine_label: Finer class, [rows] int32 with -1 for none, or None.
        name: Names all of this, so that what was computed of it can be found again; "" where
            nothing shall be kept.
    """

    embedding: RowArray
    index: np.ndarray
    label: np.ndarray
    fine_label: np.ndarray | None = None
    name: str = ""

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.index)

    def part(self, rows: Any) -> EmbeddedRows:
        """Returns some rows, with their embedding in memory as float32.

        Args:
            rows: A slice without a step, or positions, [n] integers.
        """
        return EmbeddedRows(
            np.asarray(self.embedding[rows], np.float32),
            self.index[rows],
            self.label[rows],
            None if self.fine_label is None else self.fine_label[rows],
        )
