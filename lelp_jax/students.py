"""The students: every method, trial and replicate, trained in fleets."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax import class_weights, models, seeds
from lelp_jax.bank.store import Bank
from lelp_jax.config import Config
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.errors import UserError
from lelp_jax.methods.base import Method
from lelp_jax.projection import stage as projections
from lelp_jax.projection.base import Projection
from lelp_jax.session import Session
from lelp_jax.teachers.base import Network, Teacher
from lelp_jax.train import plan
from lelp_jax.train import stage as training
from lelp_jax.train.job import (
    FleetJob,
    Member,
    abstract_parameters,
    count_frozen,
    count_parameters,
)
from lelp_jax.train.stage import Request, Trained
from lelp_jax.train.step import Frozen, GroupRows, StepSpec, answers
from lelp_jax.trials import Trial

STAGE = "students"


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


def request(config: Config, dataset: Dataset, student: Student) -> Request:
    """Returns what names a student and the kind of fleet it trains in."""
    method = config.methods[student.trial.method].method
    projector = method.projector
    return Request(
        inputs={
            "what": "student",
            "data": dataset.digest,
            "model": dict(config.student.model),
            "train": dataclasses.asdict(config.student.train),
            "input_noise": config.student.input_noise,
            "teacher_outputs": config.student.teacher_outputs if method.uses_teacher else None,
            "method": method.name,
            "settings": student.trial.settings,
            "projector": [projector.name, projector.version] if projector else None,
            "bank": student.replicate.bank.fingerprint if method.uses_teacher else None,
            "transfer_size": len(student.replicate.transfer),
            "seed": student.replicate.seed,
        },
        kind=(
            method.name,
            tuple(student.trial.static.items()),
            student.spec,
            tuple((name, array.shape) for name, array in (student.applied or {}).items()),
        ),
        trial=student.trial.number,
        replicate=student.replicate.number,
        name=method.name,
    )


def ensure(
    root: Path, config: Config, dataset: Dataset, students: Sequence[Student], session: Session
) -> list[Trained]:
    """Returns the trained students, in the order given.

    Args:
        root: The workdir.
        config: The experiment.
        dataset: The data.
        students: The students wanted.
        session: The run.

    Raises:
        UserError: A projection cannot be applied inside of a training step.
    """
    for student in {student.spec: student for student in students}.values():
        _check_applicable(config, dataset, student)
    requests = [request(config, dataset, student) for student in students]
    by_name = dict(zip((request.fingerprint for request in requests), students, strict=True))

    def capacity(wanted: Request) -> int:
        student = by_name[wanted.fingerprint]
        parameters = count_parameters(student.spec, dataset.inputs)
        frozen = count_frozen(student.spec, student.applied, dataset.inputs)
        return plan.members_per_program(parameters, jax.devices()[0].platform, frozen)

    def make_job(members: Sequence[Request]) -> FleetJob:
        return job(config, dataset, [by_name[m.fingerprint] for m in members], members)

    return training.ensure(
        root, STAGE, requests, capacity, make_job, config.student.train.steps, session
    )


def _check_applicable(config: Config, dataset: Dataset, student: Student) -> None:
    """Refuses a projector that is written for values at hand, not for traced ones."""
    if student.spec.teacher is None or student.spec.score is None:
        return
    frozen = Frozen(abstract_parameters(student.spec.teacher, dataset.inputs), student.applied)
    rows = config.student.train.batch_size
    batch = jax.ShapeDtypeStruct((rows, *dataset.inputs.shape[1:]), dataset.inputs.dtype)
    label = jax.ShapeDtypeStruct((rows,), np.int32)
    try:
        jax.eval_shape(
            functools.partial(answers, student.spec), frozen, student.constants, batch, label
        )
    except jax.errors.JAXTypeError as error:
        name = student.trial.method
        raise UserError(
            f"config.methods.{name}: its projection's `apply` needs jax.numpy for "
            f"config.student.teacher_outputs 'online' ({type(error).__name__}); take 'bank', or "
            f"leave the method out with --config.methods.{name}.trials=0"
        ) from error


def job(
    config: Config, dataset: Dataset, students: Sequence[Student], requests: Sequence[Request]
) -> FleetJob:
    """Returns the fleet of students of one method, with the rows that each replicate may see."""
    method = config.methods[students[0].trial.method].method
    first = {student.replicate.number: student for student in reversed(students)}
    groups = {number: place for place, number in enumerate(sorted(first))}
    weights = class_weights.by_class(dataset, config.student.train.class_weights)
    parts = [_group(dataset, method, first[number], weights) for number in sorted(first)]
    sizes = np.array([len(part.row) for part in parts])
    if (sizes == 0).any():
        raise UserError(
            f"method {method.name!r} needs labels, but no row that replicate "
            f"{sorted(first)[int(np.argmin(sizes))]} may see has one; raise "
            "config.data.transfer_size, or leave the method out"
        )
    return FleetJob(
        stage=STAGE,
        spec=students[0].spec,
        batch_size=config.student.train.batch_size,
        members=tuple(
            Member(
                fingerprint=request.fingerprint,
                numeric=student.trial.numeric,
                seed=seeds.derive(student.replicate.seed, "network"),
                order_seed=seeds.derive(student.replicate.seed, "order"),
                group=groups[student.replicate.number],
            )
            for student, request in zip(students, requests, strict=True)
        ),
        rows=_stack(parts, int(sizes.max())),
        group_sizes=sizes,
        inputs=dataset.inputs[dataset.train],
        validation_inputs=dataset.inputs[dataset.validation],
        validation_labels=dataset.labels[dataset.validation],
    )


def _group(dataset: Dataset, method: Method, student: Student, weights: np.ndarray) -> GroupRows:
    """Returns the rows of one replicate, without the group axis.

    What the program asks the teacher in every step is left out.
    """
    index, bank = student.replicate.transfer, student.replicate.bank
    network = student.replicate.network if student.spec.teacher else None
    if method.uses_labels:
        index = index[dataset.labels[index] != UNLABELLED]
    from_bank = method.uses_teacher and not network
    scores = None
    if method.projector is not None and student.spec.score is None:
        assert student.projection is not None
        scores = projections.scores(method.projector, student.projection, dataset, bank, index)
    return GroupRows(
        row=np.searchsorted(dataset.train, index).astype(np.int32),
        label=dataset.labels[index],
        weight=class_weights.by_row(weights, dataset.labels[index]),
        teacher_logits=bank.logits[bank.position(index)] if from_bank else None,
        scores=scores,
        constants=student.constants,
        frozen=Frozen(network.load(), student.applied) if network else None,
    )


def _stack(parts: Sequence[GroupRows], size: int) -> GroupRows:
    """Stacks groups; those with fewer rows are padded with rows that are never drawn."""

    def pad(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])

    rows = [part._replace(constants={}, frozen=None) for part in parts]
    stacked = jax.tree.map(lambda *arrays: np.stack([pad(array) for array in arrays]), *rows)
    constants, frozen = jax.tree.map(
        lambda *arrays: np.stack(arrays), *((part.constants, part.frozen) for part in parts)
    )
    return stacked._replace(constants=constants, frozen=frozen)
