"""The student grid: one student for every method, trial and replicate."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lelp_jax import models
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import call_with_place
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment import student_network
from lelp_jax.experiment.config import Config
from lelp_jax.experiment.run import Run
from lelp_jax.experiment.student_network import StudentModel
from lelp_jax.methods.base import Dims, Method, Seen, Verdict
from lelp_jax.projection.base import Projection
from lelp_jax.students import projections
from lelp_jax.students.replicates import Replicate, read_teacher_embedding
from lelp_jax.students.trials import Trial
from lelp_jax.train.fleet import embedding_dims
from lelp_jax.train.state import StepSpec


@dataclasses.dataclass(frozen=True)
class Weighing:
    """The weights of the rows that a replicate's students see.

    Attributes:
        identity: Everything that they depend on and the student's own settings do not say,
            JSON-like.
        compute: Computes them, in the order of the replicate's transfer set, [rows] float32.
    """

    identity: Mapping[str, Any]
    compute: Callable[[], np.ndarray]

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """The weights, computed on first use: a launch that reuses all students does without."""
        return self.compute()


@dataclasses.dataclass(frozen=True)
class Student:
    """One student of the grid.

    Attributes:
        method: The method.
        trial: Its hyperparameters.
        replicate: The random choices that it shares with the students of the other methods.
        projection: The projection that splits the classes; None for methods that do not.
        spec: The program that trains the student.
        num_outputs: Width of the output layer.
        network: The network and its initial parameters.
        prepare: Computes the method's constants from the rows of the bank; None if it has none.
        weighing: What the rows weigh; None if all weigh alike.
    """

    method: Method
    trial: Trial
    replicate: Replicate
    projection: Projection | None
    spec: StepSpec
    num_outputs: int
    network: StudentModel
    prepare: Callable[[], Mapping[str, np.ndarray]] | None
    weighing: Weighing | None = None

    @functools.cached_property
    def constants(self) -> Mapping[str, np.ndarray]:
        """Arrays that loss and readout take in addition to the hyperparameters.

        Computed on first use, since they read the bank: a launch that reuses all students does
        without.
        """
        mask = {} if self.projection is None else {"column_mask": self.projection.column_mask}
        return {**mask, **(self.prepare() if self.prepare else {})}

    @property
    def applied(self) -> Projection | None:
        """The projection, if the program applies it in every step; None otherwise."""
        if self.projection is None or self.spec.teacher is None:
            return None
        return self.projection if self.projection.uses_embedding else None


def find_verdicts(config: Config, dataset: Dataset) -> dict[str, Verdict]:
    """Finds methods that need not be trained, or have a remark, for this number of classes.

    Args:
        config: The experiment.
        dataset: The data.

    Returns:
        Verdicts by method; other methods are left out. A method that equals one outside of the
        comparison is trained nevertheless.
    """
    result = {}
    for name, entry in config.methods.items():
        verdict = entry.method.verdict(dataset.num_classes)
        if verdict is None:
            continue
        if verdict.kind == "same_as" and verdict.method not in config.methods:
            verdict = Verdict("ok", None, verdict.note)
        result[name] = verdict
    return result


def build_grid(
    run: Run,
    methods: Mapping[str, Method],
    trials: Mapping[str, Sequence[Trial]],
    replicates_of: Callable[[Method, Mapping[str, Any]], Sequence[Replicate]],
) -> list[Student]:
    """Lists all students of an experiment and fits the projections that they need.

    Args:
        run: The run.
        methods: The methods that are trained, by name.
        trials: The trials of each of them.
        replicates_of: Computes the replicates of a method with given static hyperparameters. They
            differ from those of other methods if the method trains its teachers itself.

    Raises:
        UserError: A projection cannot be fitted.
    """
    config, result = run.config, []
    fitted: dict[Any, Projection | None] = {}
    total = sum(
        len({tuple(t.static.items()) for t in trials[name]}) * config.replicates
        for name in trials
        if methods[name].projector
    )
    # Before the progress bar of the projections: methods that train teachers do so here, and show
    # progress themselves.
    pairs = [
        (methods[name], trial, replicate)
        for name, tried in trials.items()
        for trial in tried
        for replicate in replicates_of(methods[name], trial.static)
    ]
    with run.session.reporter.show_stage(projections.STAGE, total, "projections"):
        for method, trial, replicate in pairs:
            # Trials that differ in traced hyperparameters only share the projection.
            key = (method.name, tuple(trial.static.items()), replicate.number)
            if key not in fitted:
                fitted[key] = None
                if method.projector is not None:
                    fitted[key] = projections.ensure(run, method, trial.static, replicate)
                    run.session.reporter.advance(1)
            result.append(_make_student(run, method, trial, replicate, fitted[key]))
    return result


def _make_student(
    run: Run, method: Method, trial: Trial, replicate: Replicate, projection: Projection | None
) -> Student:
    config, dataset, inputs = run.config, run.dataset, run.inputs
    # One output per class, unless the method splits classes or trains the teacher on subclasses.
    outputs = dataset.num_classes
    if projection is not None:
        outputs = projection.column_mask.size
    elif method.teacher is not None:
        outputs = method.teacher.num_outputs(dataset.num_classes, trial.static)
    online = config.student.teacher_outputs == "online" and method.uses_teacher
    network = replicate.teacher.network if online else None
    if network and network.inputs != inputs.fingerprint:
        raise UserError(
            "config.student.teacher_outputs 'online' applies the teacher to the student's inputs, "
            "but this teacher takes other inputs; give both the same inputs, or use 'bank'"
        )
    network_of = student_network.build(config.student.model, outputs, inputs, replicate.teacher)
    model = network_of.model
    spec = StepSpec(
        model=model,
        loss=method.loss,
        readout=method.readout,
        optimizer=config.student.train.optimizer,
        steps=config.student.train.steps,
        accumulate=config.student.train.accumulate,
        average=config.student.train.average,
        augmentation=config.student.train.augmentation,
        input_noise=config.student.input_noise,
        teacher=network.model if network else None,
        targets=method.targets,
        dims=_find_dims(run, method, model, replicate),
        init=method.init,
        init_state=method.init_state,
    )
    prepare = None
    if method.prepare is not None:
        prepare = functools.partial(_prepare, method, trial.static, replicate)
    return Student(method, trial, replicate, projection, spec, outputs, network_of, prepare)


def _find_dims(run: Run, method: Method, model: models.Model, replicate: Replicate) -> Dims | None:
    """Finds the sizes of the parameters and the state that a method adds; None if it adds none."""
    # None rather than unused sizes: specs that are equal share one compiled program.
    if method.init is None and method.init_state is None:
        return None
    return Dims(
        classes=run.dataset.num_classes,
        embedding=embedding_dims(model, run.inputs.values),
        teacher_embedding=replicate.teacher.dims if method.uses_embedding else 0,
        rows=len(replicate.list_shown(replicate.transfer)),
    )


def _prepare(
    method: Method, static: Mapping[str, Any], replicate: Replicate
) -> Mapping[str, np.ndarray]:
    assert method.prepare is not None
    shown, bank = replicate.list_shown(replicate.transfer), replicate.bank
    dataset = replicate.dataset
    embedding = read_teacher_embedding(replicate, shown) if method.uses_embedding else None
    seen = Seen(
        label=dataset.labels[replicate.find_index(shown)],
        teacher_logits=bank.logits[bank.find_positions(shown)],
        teacher_embedding=embedding,
        output_weights=bank.output_weights,
        classes=dataset.num_classes,
        capacity=len(shown),
        validation_label=dataset.labels[dataset.validation],
        validation_logits=bank.logits[bank.find_positions(dataset.validation)],
    )
    prepared: Mapping[str, np.ndarray] = call_with_place(
        f"config.methods.{method.name}", method.prepare, seen, static
    )
    return prepared
