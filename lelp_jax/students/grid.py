"""The students that are wanted: every method, trial and replicate."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax import models
from lelp_jax.core import seeds
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import with_place
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment import student_network as student_model
from lelp_jax.experiment.config import Config
from lelp_jax.experiment.student_network import StudentModel
from lelp_jax.inputs import Inputs
from lelp_jax.methods.base import Dims, Method, Seen, Verdict
from lelp_jax.projection.base import Projection
from lelp_jax.students import projections as projections
from lelp_jax.students.replicates import Replicate, teacher_embedding
from lelp_jax.students.trials import Trial
from lelp_jax.train.fleet import embedding_dims
from lelp_jax.train.state import StepSpec


@dataclasses.dataclass(frozen=True)
class Student:
    """A student that is wanted.

    Attributes:
        trial: Method and hyperparameters.
        replicate: What it shares with the other methods' students.
        projection: Splits the classes, for the methods that do.
        spec: The program that trains it.
        num_outputs: Width of its output layer.
        network: Its network, and where that starts from.
        prepare: Makes the method's own constants, which takes reading the bank.
    """

    trial: Trial
    replicate: Replicate
    projection: Projection | None
    spec: StepSpec
    num_outputs: int
    network: StudentModel
    prepare: Callable[[], Mapping[str, np.ndarray]] | None

    @functools.cached_property
    def constants(self) -> Mapping[str, np.ndarray]:
        """The arrays that loss and readout take besides the hyperparameters."""
        mask = {} if self.projection is None else {"column_mask": self.projection.column_mask}
        return {**mask, **(self.prepare() if self.prepare else {})}

    @property
    def applied(self) -> Projection | None:
        """The projection, where the program applies it in every step."""
        if self.projection is None or self.spec.teacher is None:
            return None
        return self.projection if self.projection.uses_embedding else None


def verdicts(config: Config, dataset: Dataset) -> dict[str, Verdict]:
    """Returns what is known of methods before they are trained.

    Args:
        config: The experiment.
        dataset: The data.

    Returns:
        By method, for those of which something is known. One that equals a method which is not in
        the comparison is trained itself.
    """
    result = {}
    for name, entry in config.methods.items():
        verdict = entry.method.verdict(dataset.num_classes)
        if verdict is None:
            continue
        other = verdict.status.partition("equals:")[2]
        if other and other not in config.methods:
            verdict = verdict._replace(status="ok")
        result[name] = verdict
    return result


def wanted(
    root: Path,
    config: Config,
    dataset: Dataset,
    inputs: Inputs,
    trials: Mapping[str, Sequence[Trial]],
    replicates_of: Callable[[Method, Mapping[str, Any]], Sequence[Replicate]],
    session: Session,
) -> list[Student]:
    """Returns all students of an experiment, after fitting the projections they need.

    Args:
        root: The workdir.
        config: The experiment.
        dataset: The data.
        inputs: What the students see of them.
        trials: The trials of each method that is trained.
        replicates_of: The replicates of a method with its static hyperparameters, with its own
            teachers where it has such.
        session: The run.

    Raises:
        UserError: A projection cannot be fitted as asked for.
    """
    result = []
    fitted: dict[Any, Projection | None] = {}
    total = sum(
        len({tuple(t.static.items()) for t in trials[name]}) * config.replicates
        for name in trials
        if config.methods[name].method.projector
    )
    # Before the projections: methods with teachers of their own train them now.
    pairs = [
        (config.methods[name].method, trial, replicate)
        for name, tried in trials.items()
        for trial in tried
        for replicate in replicates_of(config.methods[name].method, trial.static)
    ]
    with session.reporter.stage(projections.STAGE, total, "projections"):
        for method, trial, replicate in pairs:
            key = (method.name, tuple(trial.static.items()), replicate.number)
            if key not in fitted:
                fitted[key] = _projection(root, method, trial, dataset, replicate, session)
            result.append(_student(config, dataset, inputs, method, trial, replicate, fitted[key]))
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
        method.name,
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
    inputs: Inputs,
    method: Method,
    trial: Trial,
    replicate: Replicate,
    projection: Projection | None,
) -> Student:
    outputs = dataset.num_classes
    if projection is not None:
        outputs = projection.column_mask.size
    elif method.teacher is not None:
        outputs = method.teacher.num_outputs(dataset.num_classes, trial.static)
    online = config.student.teacher_outputs == "online" and method.uses_teacher
    network = replicate.teacher.network if online else None
    if network and network.inputs != inputs.fingerprint:
        raise UserError(
            "config.student.teacher_outputs 'online' shows the teacher what the student sees, but "
            "this teacher takes other inputs; give both the same, or take 'bank'"
        )
    network_of = student_model.build(config.student.model, outputs, inputs, replicate.teacher)
    model = network_of.model
    spec = StepSpec(
        model=model,
        loss=method.loss,
        readout=method.readout,
        optimizer=config.student.train.optimizer,
        steps=config.student.train.steps,
        accumulate=config.student.train.accumulate,
        input_noise=config.student.input_noise,
        teacher=network.model if network else None,
        dims=_dims(dataset, inputs, method, model, replicate),
        init=method.init,
        init_state=method.init_state,
    )
    prepare = None
    if method.prepare is not None:
        prepare = functools.partial(_prepare, dataset, method, trial.static, replicate)
    return Student(trial, replicate, projection, spec, outputs, network_of, prepare)


def _dims(
    dataset: Dataset, inputs: Inputs, method: Method, model: models.Model, replicate: Replicate
) -> Dims | None:
    """Returns the sizes that a method's own parameters need; programs of others share without."""
    if method.init is None and method.init_state is None:
        return None
    return Dims(
        classes=dataset.num_classes,
        embedding=embedding_dims(model, inputs.values),
        teacher_embedding=replicate.teacher.dims if method.uses_embedding else 0,
        rows=len(replicate.transfer),
    )


def _prepare(
    dataset: Dataset, method: Method, static: Mapping[str, Any], replicate: Replicate
) -> Mapping[str, np.ndarray]:
    assert method.prepare is not None
    index, bank = replicate.transfer, replicate.bank
    seen = Seen(
        label=dataset.labels[index],
        teacher_logits=bank.logits[bank.position(index)],
        teacher_embedding=teacher_embedding(replicate, index) if method.uses_embedding else None,
        output_weights=bank.output_weights,
        classes=dataset.num_classes,
        capacity=len(index),
    )
    prepared: Mapping[str, np.ndarray] = with_place(
        f"config.methods.{method.name}", method.prepare, seen, static
    )
    return prepared
