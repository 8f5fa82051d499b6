"""Teachers trained here, on the labelled training rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from lelp_jax import class_weights, models, seeds, settings
from lelp_jax.data.dataset import Dataset
from lelp_jax.errors import UserError
from lelp_jax.methods import labels
from lelp_jax.sections import with_place
from lelp_jax.session import Session
from lelp_jax.teachers.base import Network, Teacher
from lelp_jax.train import plan
from lelp_jax.train import stage as training
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.job import FleetJob, Member, count_parameters
from lelp_jax.train.predict import predict
from lelp_jax.train.stage import Request, Trained
from lelp_jax.train.step import GroupRows, StepSpec

STAGE = "teachers"
_SETTINGS = {"learning_rate": settings.LEARNING_RATE, "weight_decay": settings.WEIGHT_DECAY}


@dataclasses.dataclass(frozen=True)
class Trainable:
    """Networks trained on the data.

    Attributes:
        count: How many; replicate r learns from teacher r mod count.
        model: The network's family and settings.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        train: How they are trained.
    """

    answers_inputs: ClassVar[bool] = True

    count: int
    model: Mapping[str, Any]
    learning_rate: float
    weight_decay: float
    train: TrainConfig

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"count must be 1 or more, got {self.count}")
        for name, setting in _SETTINGS.items():
            value = getattr(self, name)
            if not setting.allows(value):
                raise UserError(f"{name} must be {setting.must}, got {value}")
        with_place("model", models.build, self.model, 2)

    def check(self, dataset: Dataset) -> None:
        """Refuses data that they cannot be trained on.

        Raises:
            UserError: There are too few labelled rows, or the class weights do not fit.
        """
        with_place(
            "config.teacher.train", class_weights.by_class, dataset, self.train.class_weights
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
        requests = [self._request(dataset, seed, number) for number in range(self.count)]
        spec = self._spec(dataset.num_classes)

        def capacity(_: Request) -> int:
            parameters = count_parameters(spec, dataset.inputs)
            return plan.members_per_program(parameters, jax.devices()[0].platform)

        def make_job(members: Sequence[Request]) -> FleetJob:
            return self._job(dataset, spec, members)

        found = training.ensure(
            root, STAGE, requests, capacity, make_job, self.train.steps, session
        )
        for number, trained in enumerate(found):
            if trained.diverged:
                raise UserError(
                    f"teacher {number} diverged: its loss became non-finite at learning rate "
                    f"{self.learning_rate}; lower config.teacher.learning_rate"
                )
        return [_teacher(spec, trained, dataset) for trained in found]

    def _spec(self, num_classes: int) -> StepSpec:
        return StepSpec(
            model=models.build(self.model, num_classes),
            loss=labels.METHOD.loss,
            readout=labels.METHOD.readout,
            optimizer=self.train.optimizer,
            steps=self.train.steps,
        )

    def _request(self, dataset: Dataset, seed: int, number: int) -> Request:
        # All that a single teacher depends on: not how many there are.
        config = {
            "model": dict(self.model),
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "train": dataclasses.asdict(self.train),
        }
        return Request(
            inputs={
                "what": "teacher",
                "data": dataset.digest,
                "config": config,
                "seed": seeds.derive(seed, "teacher", number),
            },
            kind="teacher",
            trial=0,
            replicate=number,
            name="teacher",
        )

    def _job(self, dataset: Dataset, spec: StepSpec, members: Sequence[Request]) -> FleetJob:
        index = dataset.labelled_train
        weights = class_weights.by_class(dataset, self.train.class_weights)
        numeric = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        return FleetJob(
            stage=STAGE,
            spec=spec,
            batch_size=self.train.batch_size,
            members=tuple(
                Member(
                    fingerprint=request.fingerprint,
                    numeric=numeric,
                    seed=seeds.derive(request.inputs["seed"], "network"),
                    order_seed=seeds.derive(request.inputs["seed"], "order"),
                    group=0,
                )
                for request in members
            ),
            rows=GroupRows(
                row=np.arange(len(index), dtype=np.int32)[None],
                label=dataset.labels[index][None],
                weight=class_weights.by_row(weights, dataset.labels[index])[None],
                teacher_logits=None,
                scores=None,
                constants={},
            ),
            group_sizes=np.array([len(index)]),
            inputs=dataset.inputs[index],
            validation_inputs=dataset.inputs[dataset.validation],
            validation_labels=dataset.labels[dataset.validation],
        )


def _teacher(spec: StepSpec, trained: Trained, dataset: Dataset) -> Teacher:
    def load() -> Any:
        return trained.load(spec, dataset.inputs)

    def answers(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        stacked = jax.tree.map(lambda leaf: leaf[None], load())
        logits, embeddings = predict(spec, stacked, {}, {}, dataset.inputs[index])
        return logits[0], embeddings[0]

    def output_weights() -> np.ndarray:
        return models.output_layer(load())[0]

    example = jax.ShapeDtypeStruct((1, *dataset.inputs.shape[1:]), dataset.inputs.dtype)
    params = jax.eval_shape(spec.model.init, jax.random.key(0), example)
    outputs = jax.eval_shape(lambda p, x: spec.model.apply(p, x, train=False), params, example)
    return Teacher(
        fingerprint=trained.fingerprint,
        dims=outputs.embedding.shape[-1],
        answers=answers,
        logits=lambda index: answers(index)[0],
        output_weights=output_weights,
        answers_test=True,
        mend="lower config.teacher.learning_rate",
        network=Network(spec.model, load, trained),
    )
