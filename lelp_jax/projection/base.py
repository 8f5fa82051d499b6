"""What all ways to split classes into pseudo-subclasses share."""

from __future__ import annotations

import dataclasses
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import jax
import numpy as np

from lelp_jax.core.search_space import Hyperparameter, Value
from lelp_jax.projection.engine.rows import EmbeddedRows

Array = jax.Array | np.ndarray
# Raised by reading a file that is not an .npz file, besides ValueError and OSError.
BROKEN = (zipfile.BadZipFile, zlib.error)


class Projection(Protocol):
    """A fitted projection: a frozen dataclass of arrays, registered as a pytree.

    Attributes:
        column_mask: Which pseudo-subclasses exist, [classes, subclasses] bool, or [heads, classes,
            subclasses] for several splits of the same classes; classes with fewer subclasses than
            others leave columns unused.
        uses_embedding: Whether `scores` goes by `rows.embedding`, and by nothing that tells the
            rows of the data set apart. It is then called inside of the compiled step where the
            teacher answers in every step; otherwise a row keeps its scores when noise is added.
    """

    uses_embedding: ClassVar[bool]

    @property
    def column_mask(self) -> Any:
        """Which pseudo-subclasses exist."""
        ...

    def scores(self, rows: EmbeddedRows) -> Array:
        """Computes how well each row fits into each pseudo-subclass.

        Returns:
            Scores [rows, classes, subclasses], or [rows, heads, classes, subclasses] where the
            column mask has heads; -inf where a row cannot belong to a pseudo-subclass. Every row
            has a finite score in every class of every head.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Projector:
    """A way to split classes: how to fit a projection, and the hyperparameters that this takes.

    Attributes:
        name: The name under which fitted projections are stored.
        version: Raised when `fit` changes, so that stored projections are made again.
        search_space: The static hyperparameters of `fit`.
        fit: `(rows, output_weights [dims, classes], hyperparameters, seed) -> Projection`.
        projection: The class of what `fit` returns; its fields name the arrays in a stored file.
        needs_fine_labels: Whether `fit` reads `rows.fine_label`.
    """

    name: str
    version: int
    search_space: Mapping[str, Hyperparameter]
    fit: Callable[[EmbeddedRows, np.ndarray, Mapping[str, Value], int], Projection]
    projection: Callable[..., Projection]
    needs_fine_labels: bool = False


@dataclasses.dataclass(frozen=True)
class Stored:
    """A projection as a file holds it.

    Attributes:
        projection: What was fitted.
        projector: Name of the projector that fitted it.
        version: Version of that projector.
        hyperparameters: What it was fitted with.
    """

    projection: Projection
    projector: str
    version: int
    hyperparameters: Mapping[str, Value]


def arrays_of(projection: Projection) -> dict[str, np.ndarray]:
    """Reads the arrays of a projection by name, on the host; those that are None are left out."""
    names = [field.name for field in dataclasses.fields(projection)]  # type: ignore[arg-type]
    values = {name: getattr(projection, name) for name in names}
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def save(path: Any, stored: Stored) -> None:
    """Writes a projection into one .npz file.

    Its keys are `kind`, `version`, `settings` (JSON), `column_mask` and the projection's arrays.
    """
    with open(path, "wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            **{
                **arrays_of(stored.projection),
                "kind": np.array(stored.projector),
                "version": np.array(stored.version),
                "settings": np.array(json.dumps(dict(stored.hyperparameters))),
            },
        )


def load(path: Any, projectors: Mapping[str, Projector]) -> Stored:
    """Reads what `save` wrote.

    Args:
        path: The file.
        projectors: The projectors known, by name.

    Raises:
        ValueError: The file is not a projection, or by an unknown projector or version.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    for key in ("kind", "version", "settings", "column_mask"):
        if key not in arrays:
            raise ValueError(f"it has no array {key!r}")
    name, version, hyperparameters = (
        arrays.pop(key).item() for key in ("kind", "version", "settings")
    )
    if name not in projectors:
        raise ValueError(f"it is by the unknown projector {name!r}")
    projector = projectors[name]
    if version != projector.version:
        raise ValueError(
            f"it was fitted by version {version} of {name}, this is version {projector.version}"
        )
    return Stored(projector.projection(**arrays), name, version, json.loads(hyperparameters))
