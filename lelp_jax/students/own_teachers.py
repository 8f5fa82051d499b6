"""Teachers that methods train themselves, each with a separate bank."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from lelp_jax.bank import stage as bank
from lelp_jax.bank.stage import ViewedImages
from lelp_jax.bank.store import Bank
from lelp_jax.core.search_space import Value
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.run import Run
from lelp_jax.methods.base import Method
from lelp_jax.students.replicates import Replicate, read_teacher_embedding
from lelp_jax.teachers import trunk
from lelp_jax.teachers.base import Teacher
from lelp_jax.teachers.head import Head
from lelp_jax.teachers.trained import TrainedTeachers


class OwnTeachers:
    """The replicates of each method, with the teachers that its students learn from."""

    def __init__(
        self, run: Run, replicates: Sequence[Replicate], viewed: ViewedImages | None = None
    ):
        """Stores the replicates; teachers are trained when a method first asks for them.

        Args:
            run: The run.
            replicates: The replicates, with the teachers of the experiment.
            viewed: The views whose outputs banks hold, if any.
        """
        self._run, self._replicates, self._viewed = run, replicates, viewed
        self._made: dict[str, list[tuple[Teacher, Bank]]] = {}

    def replicates(self, method: Method, static: Mapping[str, Value]) -> Sequence[Replicate]:
        """Returns the replicates of a method, after training its teachers if it has any.

        Args:
            method: The method.
            static: Its static hyperparameters.

        Raises:
            UserError: A teacher diverged.
            Interrupted: The run was asked to stop.
        """
        if method.teacher is None:
            return self._replicates
        head = _make_head(method, static, self._run.dataset.num_classes)
        key = repr((head.name, head.hyperparameters))
        # Trials whose hyperparameters of the head agree share the teachers.
        if key not in self._made:
            # There are fewer new layers than teachers where there are fewer replicates.
            taught = zip(self._train(method, head), self._run.known, strict=False)
            self._made[key] = [(each, self._make_bank(each, known)) for each, known in taught]
        made = self._made[key]
        return [
            dataclasses.replace(
                replicate,
                teacher=made[replicate.teacher_number][0],
                bank=made[replicate.teacher_number][1],
            )
            for replicate in self._replicates
        ]

    def _train(self, method: Method, head: Head) -> list[Teacher]:
        assert method.teacher is not None
        run, config = self._run, self._run.config
        first: dict[int, Replicate] = {}
        for replicate in self._replicates:
            first.setdefault(replicate.teacher_number, replicate)
        # One new layer per teacher of the experiment: replicates with the same teacher share it.
        if method.teacher.frozen_trunk:
            return [
                trunk.replace_head(
                    run.root,
                    first[number].dataset,
                    trunk.FrozenTeacher(
                        first[number].teacher,
                        first[number].bank.fingerprint,
                        functools.partial(read_teacher_embedding, first[number]),
                    ),
                    head,
                    config.student.train,
                    run.session,
                )
                for number in sorted(first)
            ]
        # The checks before the run refused teachers that are given by their outputs only.
        assert isinstance(config.teacher, TrainedTeachers)
        return config.teacher.ensure_with_head(
            run.root, run.dataset, run.known, config.seed, head, run.session
        )

    def _make_bank(self, teacher: Teacher, known: Dataset) -> Bank:
        run = self._run
        return bank.ensure(run.root, run.config.bank, teacher, known, run.session, self._viewed)


def _make_head(method: Method, static: Mapping[str, Value], classes: int) -> Head:
    teacher = method.teacher
    assert teacher is not None
    return Head(
        name=f"{method.name} teacher",
        hyperparameters={name: static[name] for name in teacher.hyperparameters},
        outputs=teacher.num_outputs(classes, static),
        loss=teacher.loss,
        readout=teacher.readout,
        constants=teacher.constants(classes, static),
    )
