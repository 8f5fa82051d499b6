"""New output layers on the embedding of a teacher that stays as it is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from lelp_jax.core import seeds
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.models.mlp import MLP
from lelp_jax.models.outputs import HEAD, Model, Outputs, output_layer
from lelp_jax.teachers.base import Network, Teacher
from lelp_jax.teachers.head import STAGE, Head, labelled_job, spec_of
from lelp_jax.train import scheduler as training
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.fleet import FleetJob
from lelp_jax.train.scheduler import Request


@dataclasses.dataclass(frozen=True)
class OnTrunk:
    """A network whose output layer is replaced.

    Attributes:
        trunk: The network.
        num_outputs: Width of the new output layer.
    """

    trunk: Model
    num_outputs: int

    def init(self, rngs: Any, inputs: jax.Array) -> Mapping[str, Any]:
        """Returns {"params": parameters}."""
        trunk = self.trunk.init(rngs, inputs)["params"]
        embedding = self.trunk.apply({"params": trunk}, inputs, train=False).embedding
        head = _layer(self.num_outputs).init(rngs, embedding)["params"]
        return {"params": {"trunk": trunk, **head}}

    def apply(self, variables: Any, inputs: jax.Array, *, train: bool, rngs: Any = None) -> Outputs:
        """Runs the network; the embedding is the trunk's."""
        params = variables["params"]
        outputs = self.trunk.apply({"params": params["trunk"]}, inputs, train=train, rngs=rngs)
        head = {"params": {HEAD: params[HEAD]}}
        return _layer(self.num_outputs).apply(head, outputs.embedding, train=train)


def _layer(outputs: int) -> Model:
    """Returns an output layer alone."""
    layer: Any = MLP(num_outputs=outputs, hidden=())
    return cast(Model, layer)


def with_head(
    root: Path,
    dataset: Dataset,
    teacher: Teacher,
    embedding: Callable[[np.ndarray], np.ndarray],
    source: str,
    head: Head,
    train: TrainConfig,
    hyperparameters: Mapping[str, float],
    session: Session,
) -> Teacher:
    """Returns a teacher with a new output layer, trained now or before.

    Args:
        root: The workdir.
        dataset: The data.
        teacher: The teacher.
        embedding: Its embedding as its bank keeps it, of rows given by their data-set index [n],
            [n, dims] float32. The layer is trained on that of the labelled training rows, shifted
            and scaled to mean 0 and mean variance 1.
        source: Names that bank.
        head: The output layer and its loss.
        train: How it is trained.
        hyperparameters: `learning_rate` and `weight_decay`.
        session: The run.

    Raises:
        UserError: The layer diverged.
        Interrupted: The run was asked to stop.
    """
    request = Request(
        inputs={
            "what": "head",
            "source": source,
            "train": dataclasses.asdict(train),
            "numeric": dict(hyperparameters),
            "head": [head.name, dict(head.hyperparameters)],
            "seed": seeds.derive(0, source),
        },
        kind=head.name,
        trial=0,
        replicate=0,
        name=head.name,
        steps=train.steps,
    )
    spec = spec_of(_layer(head.outputs), head, train)

    @functools.cache
    def scaling() -> tuple[np.ndarray, np.float32]:
        rows = embedding(dataset.labelled_train)
        center = rows.mean(axis=0)
        deviation = np.sqrt(np.square(rows - center).mean())
        return center, np.float32(deviation) if deviation > 0 else np.float32(1)

    def scaled(index: np.ndarray) -> np.ndarray:
        center, spread = scaling()
        return (embedding(index) - center) / spread

    def make_job(members: Sequence[Request]) -> FleetJob:
        return labelled_job(
            dataset,
            spec,
            head,
            train,
            [(member, hyperparameters) for member in members],
            scaled(dataset.labelled_train),
            scaled(dataset.validation),
        )

    [trained] = training.ensure(root, STAGE, [request], lambda _: 1, make_job, session)
    if trained.diverged:
        raise UserError(
            f"{head.name} diverged: its loss became non-finite; check the teacher's embedding for "
            "extreme values, or leave the method out"
        )

    @functools.cache
    def weights() -> tuple[np.ndarray, np.ndarray]:
        """Returns weights and bias for the embedding as it is."""
        center, spread = scaling()
        example = jax.ShapeDtypeStruct((1, teacher.dims), np.float32)
        kernel, bias = output_layer(trained.load(spec, example).network)
        return kernel / spread, bias - center @ kernel / spread

    def answers(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kernel, bias = weights()
        _, rows = teacher.answers(index)
        return np.asarray(rows @ kernel + bias, np.float32), rows

    def class_logits(index: np.ndarray) -> np.ndarray:
        outputs = Outputs(*map(jax.numpy.asarray, answers(index)))
        return np.asarray(head.readout(outputs, {}, head.constants, {}))

    def load() -> Mapping[str, Any]:
        assert teacher.network is not None
        kernel, bias = weights()
        return {"trunk": teacher.network.load(), HEAD: {"kernel": kernel, "bias": bias}}

    network = None
    if teacher.network is not None:
        model = OnTrunk(teacher.network.model, head.outputs)
        network = Network(model, load, trained, teacher.network.inputs)
    return dataclasses.replace(
        teacher,
        fingerprint=trained.fingerprint,
        outputs=head.outputs,
        answers=answers,
        class_logits=class_logits,
        output_weights=lambda: weights()[0],
        network=network,
    )
