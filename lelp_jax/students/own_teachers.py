"""Teachers that methods train for themselves, each with a bank of its own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from lelp_jax.bank import stage as bank
from lelp_jax.bank.store import Bank
from lelp_jax.core.search_space import Value
from lelp_jax.experiment.run import Run
from lelp_jax.methods.base import Method
from lelp_jax.students.replicates import Replicate, teacher_embedding
from lelp_jax.teachers import trunk
from lelp_jax.teachers.base import Teacher
from lelp_jax.teachers.head import Head
from lelp_jax.teachers.trained import TrainedTeachers


class OwnTeachers:
    """The replicates of every method, with the teachers that its students learn from."""

    def __init__(self, run: Run, replicates: Sequence[Replicate]):
        """Trains nothing yet.

        Args:
            run: The run.
            replicates: With the teachers of the experiment.
        """
        self._run, self._replicates = run, replicates
        self._made: dict[str, list[tuple[Teacher, Bank]]] = {}

    def replicates(self, method: Method, static: Mapping[str, Value]) -> Sequence[Replicate]:
        """Returns the replicates of a method; trains its teachers where it has its own.

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
        if key not in self._made:
            self._made[key] = [(each, self._bank(each)) for each in self._train(method, head)]
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
        if method.teacher.frozen_trunk:
            return [
                trunk.replace_head(
                    run.root,
                    run.dataset,
                    trunk.FrozenTeacher(
                        first[number].teacher,
                        first[number].bank.fingerprint,
                        functools.partial(teacher_embedding, first[number]),
                    ),
                    head,
                    config.student.train,
                    run.session,
                )
                for number in sorted(first)
            ]
        assert isinstance(config.teacher, TrainedTeachers)
        return config.teacher.with_head(run.root, run.dataset, config.seed, head, run.session)

    def _bank(self, teacher: Teacher) -> Bank:
        run = self._run
        return bank.ensure(run.root, run.config.bank, teacher, run.dataset, run.session)


def _make_head(method: Method, static: Mapping[str, Value], classes: int) -> Head:
    own = method.teacher
    assert own is not None
    return Head(
        name=f"{method.name} teacher",
        hyperparameters={name: static[name] for name in own.hyperparameters},
        outputs=own.num_outputs(classes, static),
        loss=own.loss,
        readout=own.readout,
        constants=own.constants(classes, static),
    )
