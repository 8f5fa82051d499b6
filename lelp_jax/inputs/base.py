"""What networks see of the rows of a data set, and how it is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.models.outputs import InputKind


class Encoding(Protocol):
    """Makes a network's inputs of rows as the data source gives them; goes with a saved student.

    Attributes:
        kind: Its name in `ENCODINGS`.
    """

    kind: ClassVar[str]

    def __call__(self, raw: Any) -> np.ndarray:
        """Makes the inputs of rows.

        Args:
            raw: Features, [rows, features...], or texts, [rows].

        Returns:
            [rows, features...] float32; tokens [rows, length] int32 with -1 after the end; or
            images [rows, height, width, channels] uint8.
        """
        ...

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Writes what it needs into a folder that is there; returns JSON-like facts to keep."""
        ...

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> Encoding:
        """Reads what `save` wrote."""
        ...


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What networks see of every row of a data set.

    Attributes:
        values: [rows, features...] float32; tokens [rows, length] int32 with -1 after the end; or
            images [rows, height, width, channels] uint8.
        fingerprint: Names everything they depend on, the data included.
        encoding: How they are made.
        num_tokens: Tokens are in 0..num_tokens-1; 0 where the inputs are numbers.
        notes: What a user should know about them, a sentence each.
    """

    values: np.ndarray
    fingerprint: str
    encoding: Encoding
    num_tokens: int = 0
    notes: tuple[str, ...] = ()


class View(Protocol):
    """A way to see the rows; its fields are its settings.

    Attributes:
        kind: What networks see.
    """

    kind: ClassVar[InputKind]

    def check(self, dataset: Dataset) -> None:
        """Checks, before anything is written, that the data fit the view."""
        ...

    def ensure(self, root: Path, dataset: Dataset, session: Session) -> Inputs:
        """Makes the inputs of every row, or reads those that were made before.

        Args:
            root: The workdir.
            dataset: The data.
            session: The run.
        """
        ...
