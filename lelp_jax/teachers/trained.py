"""Teachers trained on the labelled training rows, with any network."""

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
from lelp_jax.core.constraints import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE, SHARE
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import call_with_place
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
from lelp_jax.train import class_weights, plan, scheduler
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.fleet import (
    FleetJob,
    count_activations,
    count_trained,
    embedding_dims,
    estimate_work,
)
from lelp_jax.train.scheduler import Request, Trained
from lelp_jax.train.state import Params, StepSpec


@dataclasses.dataclass(frozen=True)
class Headless:
    """A network whose output layer is still open.

    The same network is built with one output per class, and again with more outputs for methods
    that train the teacher on subclasses.

    Attributes:
        build: Builds the network for a width of the output layer.
        content: Everything the network depends on, JSON-like.
        inputs: What the network sees of the rows.
        initial: Loads the parameters that training starts from, on the host; None if all are
            initialised randomly.
        layer_decay: Learning rate of a layer relative to that of the layer above it.
    """

    build: Callable[[int], models.Model]
    content: Mapping[str, Any]
    inputs: Inputs
    initial: Callable[[], Mapping[str, Any]] | None = None
    layer_decay: float = 1.0


@dataclasses.dataclass(frozen=True)
class TrainedTeachers(abc.ABC):
    """Teachers trained on the data.

    Attributes:
        count: Number of teachers; the students of replicate r learn from teacher r mod count.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay.
        train: Length of training, batches and optimizer.
        label_smoothing: Share of the label's probability that is spread over all classes.
    """

    answers_inputs: ClassVar[bool] = True

    count: Annotated[int, AT_LEAST_ONE]
    learning_rate: Annotated[float, POSITIVE]
    weight_decay: Annotated[float, NON_NEGATIVE]
    train: TrainConfig
    label_smoothing: Annotated[float, SHARE] = dataclasses.field(default=0.0, kw_only=True)

    @abc.abstractmethod
    def prepare_trunk(self, root: Path, dataset: Dataset, session: Session) -> Headless:
        """Prepares the inputs and describes the network up to its output layer."""

    @property
    def training(self) -> TrainConfig:
        """Length of training, batches and optimizer."""
        return self.train

    def resolve_steps(self, dataset: Dataset) -> Self:
        """Converts the length of training from epochs to steps.

        Args:
            dataset: The data.

        Raises:
            UserError: Training has fewer steps than evaluations.
        """
        train = call_with_place(
            "config.teacher.train", self.train.resolve_steps, len(dataset.labelled_train)
        )
        return dataclasses.replace(self, train=train)

    def check(self, dataset: Dataset) -> None:
        """Checks that the teachers can be trained on the data.

        Raises:
            UserError: There are too few labelled rows, or the class weights do not fit the classes.
        """
        call_with_place(
            "config.teacher.train", class_weights.weigh_classes, dataset, self.train.class_weights
        )
        labelled, batch_size = len(dataset.labelled_train), self.train.batch_size
        if batch_size > labelled:
            raise UserError(
                f"config.teacher.train.batch_size {batch_size} exceeds the {labelled} labelled "
                "training rows; use a smaller batch_size"
            )

    def ensure(
        self, root: Path, dataset: Dataset, known: Sequence[Dataset], seed: int, session: Session
    ) -> list[Teacher]:
        """Trains the teachers, or reuses those of an earlier launch.

        Args:
            root: The workdir.
            dataset: The data.
            known: The data as each teacher knows them.
            seed: Root seed.
            session: The run.

        Raises:
            UserError: A teacher diverged.
            Interrupted: The run was asked to stop.
        """
        head = make_plain_head(dataset.num_classes)
        return self.ensure_with_head(root, dataset, known, seed, head, session)

    def ensure_with_head(
        self,
        root: Path,
        dataset: Dataset,
        known: Sequence[Dataset],
        seed: int,
        head: Head,
        session: Session,
    ) -> list[Teacher]:
        """Trains teachers with another output layer and loss, or reuses them; see `ensure`.

        Args:
            root: The workdir.
            dataset: The data.
            known: The data as each teacher knows them.
            seed: Root seed.
            head: Output layer and loss.
            session: The run.
        """
        trunk = self.prepare_trunk(root, dataset, session)
        requests = [
            self._make_request(each, trunk, seed, head, number) for number, each in enumerate(known)
        ]
        hyperparameters = {
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "label_smoothing": self.label_smoothing,
        }
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
                activations=count_activations(spec, values, self.train.batch_size),
                keeps_best=self.train.early_stopping.evaluations > 0,
            )

        def make_job(members: Sequence[Request]) -> FleetJob:
            initial = trunk.initial() if trunk.initial else None
            of_members = [known[member.replicate] for member in members]
            show = values.__getitem__
            return make_labelled_job(dataset, of_members, recipe, members, show, initial)

        # The teachers are the members of a fleet, as students are: they share one compiled program.
        results = scheduler.ensure(root, STAGE, requests, capacity, make_job, session)
        for number, trained in enumerate(results):
            if trained.diverged:
                raise UserError(
                    f"{head.name} {number} diverged: its loss became non-finite at learning rate "
                    f"{self.learning_rate}; lower config.teacher.learning_rate"
                )
        return [_make_teacher(spec, head, trained, trunk.inputs) for trained in results]

    def _make_request(
        self, dataset: Dataset, trunk: Headless, seed: int, head: Head, number: int
    ) -> Request:
        # `count` is left out: a teacher does not depend on how many others there are, so raising it
        # trains only the new ones.
        config = {
            "network": trunk.content,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "label_smoothing": self.label_smoothing,
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


def _make_teacher(spec: StepSpec, head: Head, trained: Trained, inputs: Inputs) -> Teacher:
    # Parameters are read from disk on demand: a launch that reuses its artifacts rarely needs them.
    def load() -> Params:
        params: Params = trained.load(spec, inputs.values)
        return params

    def run(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return predict_with_head(spec, head, load(), values)

    return Teacher(
        fingerprint=trained.fingerprint,
        dims=embedding_dims(spec.model, inputs.values),
        outputs=head.outputs,
        answers=lambda index: run(inputs.values[index])[::2],
        class_logits=lambda index: run(inputs.values[index])[1],
        output_weights=lambda: models.output_layer(load().network)[0],
        answers_test=True,
        hint="lower config.teacher.learning_rate",
        network=Network(
            spec.model,
            lambda: load().variables,
            trained,
            inputs.fingerprint,
            lambda values: run(values)[::2],
        ),
    )
