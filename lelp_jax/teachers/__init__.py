"""Sources of teachers, by the name that a config gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.teachers import arrays, encoder, network
from lelp_jax.teachers.base import Teacher
from lelp_jax.train.config import TrainConfig


class TeacherSource(Protocol):
    """The section `config.teacher`: where teachers come from; its fields are the section's keys.

    Attributes:
        answers_inputs: Whether the teachers can be applied to any input. If False, only their
            outputs for the rows of the data are known.
        count: Number of teachers.
    """

    answers_inputs: ClassVar[bool]

    @property
    def count(self) -> int:
        """Number of teachers."""
        ...

    @property
    def training(self) -> TrainConfig | None:
        """How the teachers are trained; None if they are not trained here."""
        ...

    def check(self, dataset: Dataset) -> None:
        """Checks that the data fit the teachers, before anything is written."""
        ...

    def resolve_steps(self, dataset: Dataset) -> TeacherSource:
        """Converts the length of training from epochs to steps."""
        ...

    def ensure(
        self, root: Path, dataset: Dataset, known: Sequence[Dataset], seed: int, session: Session
    ) -> list[Teacher]:
        """Trains or reads the teachers, or reuses those of an earlier launch."""
        ...


SOURCES: Mapping[str, type] = {
    "network": network.Networks,
    "encoder": encoder.Encoders,
    "arrays": arrays.ImportedTeachers,
}
