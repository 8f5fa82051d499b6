"""Teachers by where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from lelp_jax.data.dataset import Dataset
from lelp_jax.session import Session
from lelp_jax.teachers import arrays, network
from lelp_jax.teachers.base import Teacher


class Source(Protocol):
    """Where teachers come from; its fields are the settings of that source.

    Attributes:
        answers_inputs: Whether they answer for any input, not for the rows of the data alone.
    """

    answers_inputs: ClassVar[bool]

    def check(self, dataset: Dataset) -> None:
        """Refuses data that do not fit, before anything is written."""
        ...

    def ensure(self, root: Path, dataset: Dataset, seed: int, session: Session) -> list[Teacher]:
        """Returns the teachers."""
        ...


SOURCES: Mapping[str, type] = {
    "network": network.Trainable,
    "arrays": arrays.Arrays,
}
