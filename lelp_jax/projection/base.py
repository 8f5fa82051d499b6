"""What every way to score pseudo-subclasses shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lelp_jax.settings import Setting, Value

Array = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class Rows:
    """Examples as a projection sees them.

    Attributes:
        embedding: Teacher embedding, [rows, dims] float32.
        index: Position of each row in the data set, [rows].
        label: Class of each row, [rows] int32; when fitting, the class it is fitted in.
        fine_label: Finer class, [rows] int32 with -1 for none, or None.
    """

    embedding: Array
    index: np.ndarray
    label: np.ndarray
    fine_label: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Projection:
    """A fitted projection.

    Attributes:
        kind: Name of the projector that made it.
        arrays: What applies it to new rows, by name.
        column_mask: Which pseudo-subclasses exist, [classes, subclasses] bool; classes with fewer
            subclasses than others leave columns unused.
    """

    kind: str
    arrays: Mapping[str, np.ndarray]
    column_mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Projector:
    """A way to split classes: pure functions and the settings they take.

    Attributes:
        name: The name under which fitted projections are stored.
        version: Raised when `fit` changes, so that stored projections are made again.
        settings: The static settings of `fit`.
        fit: `(rows, output_weights [dims, classes], settings, seed) -> Projection`.
        apply: `(projection, rows) -> scores [rows, classes, subclasses]`; -inf where a row cannot
            belong to a pseudo-subclass. Every row has a finite score in every class.
        needs_fine_labels: Whether `fit` reads `rows.fine_label`.
    """

    name: str
    version: int
    settings: Mapping[str, Setting]
    fit: Callable[[Rows, np.ndarray, Mapping[str, Value], int], Projection]
    apply: Callable[[Projection, Rows], Array]
    needs_fine_labels: bool = False


def save(path: Any, projection: Projection) -> None:
    """Writes a projection into one .npz file."""
    with open(path, "wb") as file:
        arrays: dict[str, Any] = {f"array_{k}": array for k, array in projection.arrays.items()}
        np.savez(file, kind=np.array(projection.kind), column_mask=projection.column_mask, **arrays)


def load(path: Any) -> Projection:
    """Reads what `save` wrote."""
    with np.load(path) as file:
        arrays = {key[6:]: file[key] for key in file.files if key.startswith("array_")}
        return Projection(str(file["kind"]), arrays, file["column_mask"])
