"""The students that are wanted: every method, trial and replicate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax import models, seeds
from lelp_jax.bank.store import Bank
from lelp_jax.config import Config
from lelp_jax.data.dataset import Dataset
from lelp_jax.methods.base import Method
from lelp_jax.projection import stage as projections
from lelp_jax.projection.base import Projection
from lelp_jax.session import Session
from lelp_jax.teachers.base import Network, Teacher
from lelp_jax.train.step import StepSpec
from lelp_jax.trials import Trial


@dataclasses.dataclass(frozen=True)
class Replicate:
    """What a replicate fixes; methods are compared within it.

    Attributes:
        number: Its number.
        teacher: The number of its teacher.
        bank: That teacher's outputs.
        network: What that teacher is made of, or None where only its answers are known.
        transfer: Data-set indices of the rows its students may see, sorted.
        seed: Root of its random choices.
    """

    number: int
    teacher: int
    bank: Bank
    network: Network | None
    transfer: np.ndarray
    seed: int


@dataclasses.dataclass(frozen=True)
class Student:
    """A student that is wanted.

    Attributes:
        trial: Method and settings.
        replicate: What it shares with the other methods' students.
        projection: Splits the classes, for the methods that do.
        spec: The program that trains it.
        num_outputs: Width of its output layer.
    """

    trial: Trial
    replicate: Replicate
    projection: Projection | None
    spec: StepSpec
    num_outputs: int

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """The arrays that loss and readout take besides the settings."""
        return {} if self.projection is None else {"column_mask": self.projection.column_mask}

    @property
    def applied(self) -> dict[str, np.ndarray] | None:
        """The arrays of the projection, where the program applies it in every step."""
        if self.projection is None or self.spec.score is None:
            return None
        return dict(self.projection.arrays)


def replicates(
    config: Config, dataset: Dataset, teachers: Sequence[Teacher], banks: Sequence[Bank]
) -> list[Replicate]:
    """Returns all replicates of an experiment.

    Args:
        config: The experiment.
        dataset: The data.
        teachers: The teachers.
        banks: Their outputs.
    """
    size = config.transfer_size or len(dataset.train)
    result = []
    for number in range(config.replicates):
        seed = seeds.derive(config.seed, "replicate", number)
        chosen = seeds.subset(seeds.derive(seed, "transfer"), size, len(dataset.train))
        teacher = number % len(teachers)
        network, bank = teachers[teacher].network, banks[teacher]
        result.append(Replicate(number, teacher, bank, network, dataset.train[chosen], seed))
    return result


def wanted(
    root: Path,
    config: Config,
    dataset: Dataset,
    trials: Mapping[str, Sequence[Trial]],
    replicates_: Sequence[Replicate],
    session: Session,
) -> list[Student]:
    """Returns all students of an experiment, after fitting the projections they need.

    Args:
        root: The workdir.
        config: The experiment.
        dataset: The data.
        trials: The trials of each method.
        replicates_: The replicates.
        session: The run.

    Raises:
        UserError: A projection cannot be fitted as asked for.
    """
    result = []
    fitted: dict[Any, Projection | None] = {}
    total = sum(
        len({tuple(t.static.items()) for t in trials[name]}) * len(replicates_)
        for name in trials
        if config.methods[name].method.projector
    )
    with session.reporter.stage(projections.STAGE, total, "projections"):
        for name, tried in trials.items():
            method = config.methods[name].method
            for trial in tried:
                for replicate in replicates_:
                    key = (name, tuple(trial.static.items()), replicate.number)
                    if key not in fitted:
                        fitted[key] = _projection(root, method, trial, dataset, replicate, session)
                    result.append(_student(config, dataset, method, trial, replicate, fitted[key]))
    return result


def _projection(
    root: Path,
    method: Method,
    trial: Trial,
    dataset: Dataset,
    replicate: Replicate,
    session: Session,
) -> Projection | None:
    if method.projector is None:
        return None
    projection = projections.ensure(
        root,
        method.projector,
        trial.static,
        dataset,
        replicate.bank,
        replicate.transfer,
        seeds.derive(replicate.seed, "projection"),
        session,
    )
    session.reporter.advance(1)
    return projection


def _student(
    config: Config,
    dataset: Dataset,
    method: Method,
    trial: Trial,
    replicate: Replicate,
    projection: Projection | None,
) -> Student:
    outputs = dataset.num_classes if projection is None else projection.column_mask.size
    online = config.student.teacher_outputs == "online" and method.uses_teacher
    network = replicate.network if online else None
    projector = method.projector
    spec = StepSpec(
        model=models.build(config.student.model, outputs),
        loss=method.loss,
        readout=method.readout,
        optimizer=config.student.train.optimizer,
        steps=config.student.train.steps,
        input_noise=config.student.input_noise,
        teacher=network.model if network else None,
        score=projector.apply if network and projector and projector.uses_embedding else None,
    )
    return Student(trial, replicate, projection, spec, outputs)
