"""What every way to score pseudo-subclasses shares."""

from __future__ import annotations

import dataclasses
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lelp_jax.core.search_space import Hyperparameter, Value
from lelp_jax.projection.engine.rows import EmbeddedRows

Array = jax.Array | np.ndarray
# What reading a file that is no .npz raises, besides ValueError and OSError.
BROKEN = (zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Projection:
    """A fitted projection.

    Attributes:
        kind: Name of the projector that made it.
        arrays: What applies it to new rows, by name.
        column_mask: Which pseudo-subclasses exist, [classes, subclasses] bool, or [heads, classes,
            subclasses] for several splits of the same classes; classes with fewer subclasses than
            others leave columns unused.
    """

    kind: str
    arrays: Mapping[str, np.ndarray]
    column_mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Projector:
    """A way to split classes: pure functions and the hyperparameters they take.

    Attributes:
        name: The name under which fitted projections are stored.
        version: Raised when `fit` changes, so that stored projections are made again.
        search_space: The static hyperparameters of `fit`.
        fit: `(rows, output_weights [dims, classes], hyperparameters, seed) -> Projection`.
        apply: `(projection, rows) -> scores [rows, classes, subclasses]`, or [rows, heads, classes,
            subclasses] where the column mask has heads; -inf where a row cannot belong to a
            pseudo-subclass. Every row has a finite score in every class of every head.
        needs_fine_labels: Whether `fit` reads `rows.fine_label`.
        uses_embedding: Whether `apply` goes by `rows.embedding`, and by nothing that tells the rows
            of the data set apart; where it does not, a row keeps its scores when noise is added.
    """

    name: str
    version: int
    search_space: Mapping[str, Hyperparameter]
    fit: Callable[[EmbeddedRows, np.ndarray, Mapping[str, Value], int], Projection]
    apply: Callable[[Projection, EmbeddedRows], Array]
    needs_fine_labels: bool = False
    uses_embedding: bool = True


@dataclasses.dataclass(frozen=True)
class Stored:
    """A projection as a file holds it.

    Attributes:
        projection: What was fitted.
        version: The projector's version that fitted it.
        hyperparameters: What it was fitted with.
    """

    projection: Projection
    version: int
    hyperparameters: Mapping[str, Value]


def save(path: Any, stored: Stored) -> None:
    """Writes a projection into one .npz file.

    Its keys are `kind`, `version`, `settings` (JSON), `column_mask` and the projection's arrays.
    """
    projection = stored.projection
    with open(path, "wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            **{
                **projection.arrays,
                "kind": np.array(projection.kind),
                "version": np.array(stored.version),
                "settings": np.array(json.dumps(dict(stored.hyperparameters))),
                "column_mask": projection.column_mask,
            },
        )


def load(path: Any) -> Stored:
    """Reads what `save` wrote.

    Raises:
        KeyError: The file is no projection.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    kind, version, hyperparameters, mask = (
        arrays.pop(key) for key in ("kind", "version", "settings", "column_mask")
    )
    projection = Projection(str(kind), arrays, mask)
    return Stored(projection, int(version), json.loads(str(hyperparameters)))
