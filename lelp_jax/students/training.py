"""Trains the students that are wanted, in fleets."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax.core import seeds
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.experiment.config import Config
from lelp_jax.inputs import Inputs
from lelp_jax.methods.base import Method
from lelp_jax.students import projections as projections
from lelp_jax.students.grid import Student
from lelp_jax.students.replicates import teacher_embedding
from lelp_jax.train import buckets, class_weights, plan
from lelp_jax.train import scheduler as training
from lelp_jax.train.fleet import (
    FleetJob,
    Member,
    abstract_parameters,
    count_frozen,
    count_trained,
    work_of_step,
)
from lelp_jax.train.scheduler import Request, Trained
from lelp_jax.train.state import Frozen, GroupRows
from lelp_jax.train.step import answers

STAGE = "students"


def request(config: Config, dataset: Dataset, inputs: Inputs, student: Student) -> Request:
    """Returns what names a student and the kind of fleet it trains in."""
    method = config.methods[student.trial.method].method
    projector = method.projector
    return Request(
        inputs={
            "what": "student",
            "data": dataset.digest,
            "inputs": inputs.fingerprint,
            "model": student.network.settings,
            "origin": student.network.origin,
            "train": dataclasses.asdict(config.student.train),
            "input_noise": config.student.input_noise,
            "teacher_outputs": config.student.teacher_outputs if method.uses_teacher else None,
            "method": method.name,
            "settings": student.trial.hyperparameters,
            "projector": [projector.name, projector.version] if projector else None,
            "bank": student.replicate.bank.fingerprint if method.uses_teacher else None,
            "transfer_size": len(student.replicate.transfer),
            "seed": student.replicate.seed,
        },
        kind=(
            method.name,
            tuple(student.trial.static.items()),
            student.spec,
            tuple(leaf.shape for leaf in jax.tree.leaves(student.applied)),
            student.replicate.teacher.dims if method.uses_embedding else 0,
        ),
        trial=student.trial.number,
        replicate=student.replicate.number,
        name=method.name,
    )


def ensure(
    root: Path,
    config: Config,
    dataset: Dataset,
    inputs: Inputs,
    students: Sequence[Student],
    session: Session,
) -> list[Trained]:
    """Returns the trained students, in the order given.

    Args:
        root: The workdir.
        config: The experiment.
        dataset: The data.
        inputs: What the students see of them.
        students: The students wanted.
        session: The run.

    Raises:
        UserError: A projection cannot be applied inside of a training step.
    """
    for student in {student.spec: student for student in students}.values():
        _check_applicable(config, inputs, student)
    requests = [request(config, dataset, inputs, student) for student in students]
    by_name = dict(zip((request.fingerprint for request in requests), students, strict=True))

    def capacity(wanted: Request) -> int:
        student = by_name[wanted.fingerprint]
        parameters = count_trained(student.spec, inputs.values)
        frozen = count_frozen(student.spec, student.applied, inputs.values)
        batch_size = config.student.train.batch_size
        work = work_of_step(student.spec, inputs.values, batch_size, frozen)
        return plan.members_per_program(
            parameters,
            work,
            jax.devices()[0].platform,
            frozen,
            keeps_best=config.student.train.early_stopping.evaluations > 0,
        )

    def make_job(members: Sequence[Request]) -> FleetJob:
        return job(config, dataset, inputs, [by_name[m.fingerprint] for m in members], members)

    return training.ensure(
        root, STAGE, requests, capacity, make_job, config.student.train.steps, session
    )


def _check_applicable(config: Config, inputs: Inputs, student: Student) -> None:
    """Refuses a projector that is written for values at hand, not for traced ones."""
    if student.spec.teacher is None or student.applied is None:
        return
    frozen = Frozen(abstract_parameters(student.spec.teacher, inputs.values), student.applied)
    rows = config.student.train.batch_size
    batch = jax.ShapeDtypeStruct((rows, *inputs.values.shape[1:]), inputs.values.dtype)
    label = jax.ShapeDtypeStruct((rows,), np.int32)
    try:
        jax.eval_shape(functools.partial(answers, student.spec), frozen, batch, label)
    except jax.errors.JAXTypeError as error:
        name = student.trial.method
        raise UserError(
            f"config.methods.{name}: its projection's `scores` needs jax.numpy for "
            f"config.student.teacher_outputs 'online' ({type(error).__name__}); take 'bank', or "
            f"leave the method out with --config.methods.{name}.trials=0"
        ) from error


def job(
    config: Config,
    dataset: Dataset,
    inputs: Inputs,
    students: Sequence[Student],
    requests: Sequence[Request],
) -> FleetJob:
    """Returns the fleet of students of one method, with the rows that each replicate may see."""
    method = config.methods[students[0].trial.method].method
    first = {student.replicate.number: student for student in reversed(students)}
    groups = {number: place for place, number in enumerate(sorted(first))}
    weights = class_weights.by_class(dataset, config.student.train.class_weights)
    parts = [_group(dataset, method, first[number], weights) for number in sorted(first)]
    sizes = np.array([len(part.row) for part in parts])
    spec = students[0].spec
    table, batch_size = inputs.values[dataset.train], config.student.train.batch_size
    if (sizes == 0).any():
        raise UserError(
            f"method {method.name!r} needs labels, but no row that replicate "
            f"{sorted(first)[int(np.argmin(sizes))]} may see has one; raise "
            "config.data.transfer_size, or leave the method out"
        )
    return FleetJob(
        stage=STAGE,
        spec=spec,
        batch_size=batch_size,
        members=tuple(
            Member(
                fingerprint=request.fingerprint,
                hyperparameters=student.trial.traced,
                seed=seeds.derive(student.replicate.seed, "network"),
                order_seed=seeds.derive(student.replicate.seed, "order"),
                group=groups[student.replicate.number],
            )
            for student, request in zip(students, requests, strict=True)
        ),
        rows=_stack(parts, int(sizes.max())),
        buckets=buckets.of_fleet(
            table,
            [np.asarray(part.row) for part in parts],
            buckets.of_rows(
                table,
                batch_size,
                len(students[0].replicate.transfer),
                spec.steps * work_of_step(spec, table, batch_size),
            ),
            seeds.derive(0, dataset.digest),
        ),
        inputs=table,
        initial=_initial([first[number] for number in sorted(first)]),
        early_stopping=config.student.train.early_stopping,
        validation_inputs=inputs.values[dataset.validation],
        validation_labels=dataset.labels[dataset.validation],
    )


def _initial(students: Sequence[Student]) -> Any:
    """Returns the parameters that the students of each group start from, [groups, ...] each."""
    makers = [student.network.initial for student in students]
    given = [maker() for maker in makers if maker]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *given) if given else None


def _group(dataset: Dataset, method: Method, student: Student, weights: np.ndarray) -> GroupRows:
    """Returns the rows of one replicate, without the group axis.

    What the program asks the teacher in every step is left out.
    """
    index, bank = student.replicate.transfer, student.replicate.bank
    network = student.replicate.teacher.network if student.spec.teacher else None
    if method.uses_labels:
        index = index[dataset.labels[index] != UNLABELLED]
    from_bank = method.uses_teacher and not network
    scores = None
    if student.projection is not None and student.applied is None:
        scores = projections.scores(student.projection, dataset, bank, index)
    return GroupRows(
        row=np.searchsorted(dataset.train, index).astype(np.int32),
        label=dataset.labels[index],
        weight=class_weights.by_row(weights, dataset.labels[index]),
        teacher_logits=bank.logits[bank.position(index)] if from_bank else None,
        teacher_embedding=(
            teacher_embedding(student.replicate, index)
            if from_bank and method.uses_embedding
            else None
        ),
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
