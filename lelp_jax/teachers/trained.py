"""Teachers trained on the labelled training rows, whatever network they are."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import jax
import numpy as np

from lelp_jax import models
from lelp_jax.core import seeds
from lelp_jax.core.constraints import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import with_place
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs import Inputs
from lelp_jax.teachers.base import Network, Teacher
from lelp_jax.teachers.head import (
    STAGE,
    Head,
    make_labelled_job,
    make_plain_head,
    make_recipe,
    predict_with_head,
)
from lelp_jax.train import class_weights, plan
from lelp_jax.train import scheduler as training
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.fleet import FleetJob, count_trained, embedding_dims, estimate_work
from lelp_jax.train.scheduler import Request, Trained
from lelp_jax.train.state import Params, StepSpec


@dataclasses.dataclass(frozen=True)
class Headless:
    """A network whose output layer may have any width.

    Attributes:
        build: Returns the network, of the width of its output layer.
        content: All that it depends on, JSON-like.
        inputs: What it sees of the rows.
        initial: Returns the parameters that it starts from, on the host; None where all are new.
        layer_decay: Learning rate of a layer relative to that of the layer above it.
    """

    build: Callable[[int], models.Model]
    content: Mapping[str, Any]
    inputs: Inputs
    initial: Callable[[], Mapping[str, Any]] | None = None
    layer_decay: float = 1.0


@dataclasses.dataclass(frozen=True)
class TrainedTeachers(abc.ABC):
    """Networks trained on the data.

    Attributes:
        count: How many; replicate r learns from teacher r mod count.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        train: How they are trained.
    """

    answers_inputs: ClassVar[bool] = True

    count: Annotated[int, AT_LEAST_ONE]
    learning_rate: Annotated[float, POSITIVE]
    weight_decay: Annotated[float, NON_NEGATIVE]
    train: TrainConfig

    @abc.abstractmethod
    def trunk(self, root: Path, dataset: Dataset, session: Session) -> Headless:
        """Returns the network."""

    @property
    def training(self) -> TrainConfig:
        """How they are trained."""
        return self.train

    def resolve_steps(self, dataset: Dataset) -> Self:
        """Returns the same with the length of training in steps.

        Args:
            dataset: The data.

        Raises:
            UserError: That is fewer steps than evaluations.
        """
        train = with_place(
            "config.teacher.train", self.train.resolve_steps, len(dataset.labelled_train)
        )
        return dataclasses.replace(self, train=train)

    def check(self, dataset: Dataset) -> None:
        """Refuses data that they cannot be trained on.

        Raises:
            UserError: There are too few labelled rows, or the class weights do not fit.
        """
        with_place(
            "config.teacher.train", class_weights.weigh_classes, dataset, self.train.class_weights
        )
        labelled, wanted = len(dataset.labelled_train), self.train.batch_size
        if wanted > labelled:
            raise UserError(
                f"config.teacher.train.batch_size {wanted} exceeds the {labelled} labelled "
                "training rows; take a smaller batch_size"
            )

    def ensure(self, root: Path, dataset: Dataset, seed: int, session: Session) -> list[Teacher]:
        """Returns the teachers, trained now or before.

        Args:
            root: The workdir.
            dataset: The data.
            seed: Root seed.
            session: The run.

        Raises:
            UserError: A teacher diverged.
            Interrupted: The run was asked to stop.
        """
        return self.with_head(root, dataset, seed, make_plain_head(dataset.num_classes), session)

    def with_head(
        self, root: Path, dataset: Dataset, seed: int, head: Head, session: Session
    ) -> list[Teacher]:
        """Returns such teachers with another output layer and loss; see `ensure`.

        Args:
            root: The workdir.
            dataset: The data.
            seed: Root seed.
            head: Output layer and loss.
            session: The run.
        """
        trunk = self.trunk(root, dataset, session)
        requests = [
            self._request(dataset, trunk, seed, head, number) for number in range(self.count)
        ]
        hyperparameters = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        model = trunk.build(head.outputs)
        recipe = make_recipe(model, head, self.train, hyperparameters, trunk.layer_decay)
        spec = recipe.spec
        values = trunk.inputs.values

        def capacity(_: Request) -> int:
            work = estimate_work(spec, values, self.train.batch_size)
            return plan.members_per_program(
                count_trained(spec, values),
                work,
                jax.devices()[0].platform,
                keeps_best=self.train.early_stopping.evaluations > 0,
            )

        def make_job(members: Sequence[Request]) -> FleetJob:
            initial = trunk.initial() if trunk.initial else None
            return make_labelled_job(dataset, recipe, members, values.__getitem__, initial)

        found = training.ensure(root, STAGE, requests, capacity, make_job, session)
        for number, trained in enumerate(found):
            if trained.diverged:
                raise UserError(
                    f"{head.name} {number} diverged: its loss became non-finite at learning rate "
                    f"{self.learning_rate}; lower config.teacher.learning_rate"
                )
        return [_teacher(spec, head, trained, trunk.inputs) for trained in found]

    def _request(
        self, dataset: Dataset, trunk: Headless, seed: int, head: Head, number: int
    ) -> Request:
        # All that a single teacher depends on: not how many there are.
        config = {
            "network": trunk.content,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "layer_decay": trunk.layer_decay,
            "train": dataclasses.asdict(self.train),
            "head": [head.name, dict(head.hyperparameters)],
        }
        return Request(
            inputs={
                "what": "teacher",
                "data": dataset.digest,
                "inputs": trunk.inputs.fingerprint,
                "config": config,
                "seed": seeds.derive(seed, "teacher", number),
            },
            kind=head.name,
            trial=0,
            replicate=number,
            name=head.name,
            steps=self.train.steps,
        )


def _teacher(spec: StepSpec, head: Head, trained: Trained, inputs: Inputs) -> Teacher:
    def load() -> Params:
        params: Params = trained.load(spec, inputs.values)
        return params

    def run(index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return predict_with_head(spec, head, load(), inputs.values[index])

    return Teacher(
        fingerprint=trained.fingerprint,
        dims=embedding_dims(spec.model, inputs.values),
        outputs=head.outputs,
        answers=lambda index: run(index)[::2],
        class_logits=lambda index: run(index)[1],
        output_weights=lambda: models.output_layer(load().network)[0],
        answers_test=True,
        mend="lower config.teacher.learning_rate",
        network=Network(spec.model, lambda: load().network, trained, inputs.fingerprint),
    )
