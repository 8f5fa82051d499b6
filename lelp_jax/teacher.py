"""The teachers: networks trained on the labelled training rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax import class_weights, models, seeds
from lelp_jax.config import TeacherConfig
from lelp_jax.data.dataset import Dataset
from lelp_jax.errors import UserError
from lelp_jax.methods import labels
from lelp_jax.session import Session
from lelp_jax.train import plan
from lelp_jax.train import stage as training
from lelp_jax.train.job import FleetJob, Member, count_parameters
from lelp_jax.train.stage import Request, Trained
from lelp_jax.train.step import GroupRows, StepSpec

STAGE = "teachers"


def spec(config: TeacherConfig, num_classes: int) -> StepSpec:
    """Returns the program that trains a teacher."""
    return StepSpec(
        model=models.build(config.model, num_classes),
        loss=labels.METHOD.loss,
        readout=labels.METHOD.readout,
        optimizer=config.train.optimizer,
        steps=config.train.steps,
    )


def ensure(
    root: Path, config: TeacherConfig, dataset: Dataset, seed: int, session: Session
) -> list[Trained]:
    """Returns the teachers, trained now or before.

    Args:
        root: The workdir.
        config: How they are trained.
        dataset: The data.
        seed: Root seed.
        session: The run.

    Raises:
        UserError: A teacher diverged.
    """
    index = dataset.labelled_train
    weights = class_weights.by_class(dataset, config.train.class_weights)
    requests = [
        Request(
            inputs={
                "what": "teacher",
                "data": dataset.digest,
                "config": _plain(config),
                "seed": seeds.derive(seed, "teacher", number),
            },
            kind="teacher",
            trial=0,
            replicate=number,
            name="teacher",
        )
        for number in range(config.count)
    ]
    program = spec(config, dataset.num_classes)

    def capacity(_: Request) -> int:
        parameters = count_parameters(program, dataset.inputs)
        return plan.members_per_program(parameters, jax.devices()[0].platform)

    def make_job(members: Sequence[Request]) -> FleetJob:
        return FleetJob(
            stage=STAGE,
            spec=program,
            batch_size=config.train.batch_size,
            members=tuple(
                Member(
                    fingerprint=request.fingerprint,
                    numeric={
                        "learning_rate": config.learning_rate,
                        "weight_decay": config.weight_decay,
                    },
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

    teachers = training.ensure(
        root, STAGE, requests, capacity, make_job, config.train.steps, session
    )
    for number, teacher in enumerate(teachers):
        if teacher.diverged:
            raise UserError(
                f"teacher {number} diverged: its loss became non-finite at learning rate "
                f"{config.learning_rate}; lower config.teacher.learning_rate"
            )
    return teachers


def _plain(config: TeacherConfig) -> dict[str, Any]:
    """Returns what a single teacher depends on: all but how many there are."""
    return {
        "model": dict(config.model),
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "train": dataclasses.asdict(config.train),
    }
