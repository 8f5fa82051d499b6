"""Teachers trained from scratch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from lelp_jax import inputs as views
from lelp_jax import models
from lelp_jax.core.sections import call_with_place
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs import View
from lelp_jax.teachers.trained import Headless, TrainedTeachers


def _numbers() -> Mapping[str, Any]:
    return {"name": "features"}


@dataclasses.dataclass(frozen=True)
class Networks(TrainedTeachers):
    """Teachers of any model family, trained from scratch.

    Attributes:
        model: The model family under "name", and its options.
        inputs: The view under "name", which says what the network sees of a row, and its options.
    """

    model: Annotated[Mapping[str, Any], models.SECTION]
    inputs: Annotated[Mapping[str, Any], views.SECTION] = dataclasses.field(
        default_factory=_numbers
    )

    def __post_init__(self) -> None:
        call_with_place("model", models.check, self.model, self._view.kind)

    @property
    def _view(self) -> View:
        return views.build(self.inputs, "inputs")

    def check(self, dataset: Dataset) -> None:
        """Checks that the teachers can be trained on the data.

        Raises:
            UserError: There are too few labelled rows, the class weights do not fit the classes, or
                the data lack the inputs that the networks take.
        """
        super().check(dataset)
        call_with_place("config.teacher", self._view.check, dataset)

    def prepare_trunk(self, root: Path, dataset: Dataset, session: Session) -> Headless:
        """Prepares the inputs and describes the network up to its output layer.

        Args:
            root: The workdir.
            dataset: The data.
            session: The run.
        """
        seen = self._view.ensure(root, dataset, session)
        build = functools.partial(models.build, self.model, num_tokens=seen.num_tokens)
        return Headless(build, {"model": models.identify(self.model)}, seen)
