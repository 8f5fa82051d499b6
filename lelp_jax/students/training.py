"""Trains the students of the grid, in fleets.

A fleet is a block of trials times replicates of one method whose members share shapes. They train
in one compiled program, vectorised over members: small networks leave a device mostly idle when
they train one by one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lelp_jax import models
from lelp_jax.core import seeds
from lelp_jax.core.errors import UserError
from lelp_jax.experiment.run import Run
from lelp_jax.students import projections
from lelp_jax.students.grid import Student
from lelp_jax.students.replicates import read_teacher_embedding
from lelp_jax.train import buckets, class_weights, plan, scheduler
from lelp_jax.train.fleet import (
    FleetJob,
    Member,
    count_activations,
    count_frozen,
    count_trained,
    estimate_work,
    trace_network,
)
from lelp_jax.train.gradients import ask_teacher
from lelp_jax.train.scheduler import Request, Trained
from lelp_jax.train.state import Frozen, GroupRows

STAGE = "students"


def make_request(run: Run, student: Student) -> Request:
    """Makes the request for a student: its fingerprint, and the kind of fleet it can train in."""
    train, method, views = run.config.student, student.method, student.replicate.views
    projector = method.projector
    return Request(
        # Everything that determines the trained student, and nothing else. The keys are part of the
        # fingerprint: renaming one would train all finished students again.
        inputs={
            "what": "student",
            "data": student.replicate.dataset.digest,
            "inputs": run.inputs.fingerprint,
            "model": models.identify(student.network.settings),
            "origin": student.network.origin,
            "train": dataclasses.asdict(train.train),
            "input_noise": train.input_noise,
            "teacher_outputs": train.teacher_outputs if method.uses_teacher else None,
            "method": method.name,
            "settings": student.trial.hyperparameters,
            "projector": [projector.name, projector.version] if projector else None,
            "bank": student.replicate.bank.fingerprint if method.uses_teacher else None,
            "transfer_size": len(student.replicate.transfer),
            "seed": student.replicate.seed,
            # Keys of those alone that have them: others would all be trained again.
            **({} if views is None else {"views": dataclasses.asdict(views)}),
            **({} if student.weighing is None else {"weights": student.weighing.identity}),
        },
        # Everything that determines the compiled program and its shapes: students that agree in it
        # can be members of one fleet.
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
        steps=student.spec.steps,
    )


def ensure(run: Run, students: Sequence[Student]) -> list[Trained]:
    """Trains students in fleets, or reuses those of an earlier launch.

    Args:
        run: The run.
        students: The student grid.

    Returns:
        The results of training, in the order of `students`.

    Raises:
        UserError: A projection cannot be applied inside a training step.
    """
    train, table = run.config.student.train, run.inputs.values
    # Before anything trains; students with equal specs trace alike, so one of each is enough.
    for student in {student.spec: student for student in students}.values():
        _check_applicable(run, student)
    requests = [make_request(run, student) for student in students]
    by_name = dict(zip((request.fingerprint for request in requests), students, strict=True))

    def capacity(request: Request) -> int:
        student = by_name[request.fingerprint]
        frozen = count_frozen(student.spec, student.applied, table)
        return plan.members_per_program(
            count_trained(student.spec, table),
            estimate_work(student.spec, table, train.batch_size, frozen),
            jax.devices()[0].platform,
            frozen,
            activations=count_activations(student.spec, table, train.batch_size),
            keeps_best=train.early_stopping.evaluations > 0,
        )

    def make(members: Sequence[Request]) -> FleetJob:
        return make_job(run, [by_name[m.fingerprint] for m in members], members)

    return scheduler.ensure(run.root, STAGE, requests, capacity, make, run.session)


def _check_applicable(run: Run, student: Student) -> None:
    """Checks that a projection applied in every step can be traced by JAX.

    Raises:
        UserError: The projection's `scores` needs concrete values, as NumPy functions do.
    """
    if student.spec.teacher is None or student.applied is None:
        return
    table = run.inputs.values
    frozen = Frozen(trace_network(student.spec.teacher, table), student.applied)
    rows = run.config.student.train.batch_size
    batch = jax.ShapeDtypeStruct((rows, *table.shape[1:]), table.dtype)
    label = jax.ShapeDtypeStruct((rows,), np.int32)
    try:
        # Traces the program without computing anything.
        jax.eval_shape(functools.partial(ask_teacher, student.spec), frozen, batch, label)
    except jax.errors.JAXTypeError as error:
        name = student.trial.method
        raise UserError(
            f"config.methods.{name}: its projection's `scores` must use jax.numpy for "
            f"config.student.teacher_outputs 'online' ({type(error).__name__}); use 'bank', or "
            f"leave out the method with --config.methods.{name}.trials=0"
        ) from error


def make_job(run: Run, students: Sequence[Student], requests: Sequence[Request]) -> FleetJob:
    """Collects what a fleet of one method's students learns from.

    The members of a replicate form a group: they see the same rows and teacher outputs, which are
    stored once per group instead of once per member.

    Args:
        run: The run.
        students: The members, all of one method.
        requests: Their requests, in the same order.

    Raises:
        UserError: A replicate has no labelled row, but the method needs labels.
    """
    config, dataset, inputs = run.config, run.dataset, run.inputs
    method = students[0].method
    # The first student of each replicate represents its group.
    first = {student.replicate.number: student for student in reversed(students)}
    groups = {number: group for group, number in enumerate(sorted(first))}
    wanted = config.student.train.class_weights
    parts = [_gather_group(first[number], wanted) for number in sorted(first)]
    sizes = np.array([len(part.row) for part in parts])
    spec = students[0].spec
    table, batch_size = inputs.values[dataset.train], config.student.train.batch_size
    if (sizes == 0).any():
        raise UserError(
            f"method {method.name!r} needs labels, but none of the rows that replicate "
            f"{sorted(first)[int(np.argmin(sizes))]} sees has one; raise "
            f"config.data.transfer_size, or leave out the method with "
            f"--config.methods.{method.name}.trials=0"
        )
    return FleetJob(
        stage=STAGE,
        spec=spec,
        batch_size=batch_size,
        members=tuple(
            Member(
                fingerprint=request.fingerprint,
                hyperparameters=student.trial.traced,
                # From the replicate alone, so that trials and methods share initialisation and
                # example order.
                seed=seeds.derive(student.replicate.seed, "network"),
                order_seed=seeds.derive(student.replicate.seed, "order"),
                group=groups[student.replicate.number],
            )
            for student, request in zip(students, requests, strict=True)
        ),
        rows=_stack(parts, int(sizes.max())),
        buckets=buckets.make_buckets(
            table,
            [np.asarray(part.row) for part in parts],
            buckets.choose_ends(
                table,
                batch_size,
                len(students[0].replicate.transfer),
                spec.steps * estimate_work(spec, table, batch_size),
            ),
            seeds.derive(0, dataset.digest),
        ),
        inputs=table,
        initial=_load_initial([first[number] for number in sorted(first)]),
        early_stopping=config.student.train.early_stopping,
        validation_inputs=inputs.values[dataset.validation],
        validation_labels=dataset.labels[dataset.validation],
    )


def _load_initial(students: Sequence[Student]) -> Any:
    """Loads the initial parameters of each group, [groups, ...] each; None if all are random."""
    makers = [student.network.initial for student in students]
    given = [maker() for maker in makers if maker]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *given) if given else None


def _gather_group(student: Student, wanted: tuple[Any, ...]) -> GroupRows:
    """Collects the rows of one replicate, without the group axis.

    If the program applies the teacher in every step, its outputs are left out.

    Args:
        student: A student of the replicate.
        wanted: The weights of classes; see `class_weights.weigh_classes`.
    """
    method, replicate = student.method, student.replicate
    index, bank, dataset = replicate.transfer, replicate.bank, replicate.dataset
    weights = class_weights.weigh_classes(dataset, wanted)
    network = replicate.teacher.network if student.spec.teacher else None
    if method.uses_labels:
        index = dataset.select_labelled(index)
    from_bank = method.uses_teacher and not network
    # Methods that look nothing up see the views, too, so that all students see the same images.
    views, shown = replicate.views, replicate.list_shown(index)
    index = replicate.find_index(shown)
    scores = None
    if student.projection is not None and student.applied is None:
        scores = projections.score_rows(student.projection, replicate, shown)
    weight = class_weights.weigh_rows(weights, dataset.labels[index])
    if student.weighing is not None:
        weight *= student.weighing.weights[np.searchsorted(replicate.transfer, index)]
    return GroupRows(
        # Positions in the table of training inputs, which all groups share.
        row=np.searchsorted(dataset.train, index).astype(np.int32),
        label=dataset.labels[index],
        weight=weight,
        teacher_logits=bank.logits[bank.find_positions(shown)] if from_bank else None,
        teacher_embedding=(
            read_teacher_embedding(replicate, shown)
            if from_bank and method.uses_embedding
            else None
        ),
        scores=scores,
        constants=student.constants,
        frozen=Frozen(network.load(), student.applied) if network else None,
        view=None if views is None else views.derive_seeds(shown),
    )


def _stack(parts: Sequence[GroupRows], size: int) -> GroupRows:
    """Stacks groups; those with fewer rows are padded with rows that are never sampled."""

    def pad(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])

    rows = [part._replace(constants={}, frozen=None) for part in parts]
    stacked = jax.tree.map(lambda *arrays: np.stack([pad(array) for array in arrays]), *rows)
    constants, frozen = jax.tree.map(
        lambda *arrays: np.stack(arrays), *((part.constants, part.frozen) for part in parts)
    )
    return stacked._replace(constants=constants, frozen=frozen)
