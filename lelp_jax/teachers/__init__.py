"""Teachers by where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.teachers import arrays, encoder, network
from lelp_jax.teachers.base import Teacher
from lelp_jax.train.config import TrainConfig


class TeacherSource(Protocol):
    """Where teachers come from; its fields are the settings of that source.

    Attributes:
        answers_inputs: Whether they answer for any input, not for the rows of the data alone.
    """

    answers_inputs: ClassVar[bool]

    @property
    def training(self) -> TrainConfig | None:
        """How they are trained; None where they are not."""
        ...

    def check(self, dataset: Dataset) -> None:
        """Refuses data that do not fit, before anything is written."""
        ...

    def resolve_steps(self, dataset: Dataset) -> TeacherSource:
        """Returns the same with the length of training in steps."""
        ...

    def ensure(self, root: Path, dataset: Dataset, seed: int, session: Session) -> list[Teacher]:
        """Returns the teachers."""
        ...


SOURCES: Mapping[str, type] = {
    "network": network.Networks,
    "encoder": encoder.Encoders,
    "arrays": arrays.ImportedTeachers,
}
