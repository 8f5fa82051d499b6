"""New output layers trained on the embedding of a frozen teacher."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from lelp_jax.augmentation.config import Augmentation
from lelp_jax.core import seeds
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.models.mlp import MLP
from lelp_jax.models.outputs import HEAD, Model, Outputs, output_layer
from lelp_jax.models.variables import Variables
from lelp_jax.teachers.base import Network, Teacher
from lelp_jax.teachers.head import STAGE, Head, make_labelled_job, make_recipe
from lelp_jax.train import scheduler
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.fleet import FleetJob
from lelp_jax.train.scheduler import Request

# Fixed rather than searched: the embedding is standardised first, so these suit any teacher.
_HYPERPARAMETERS = {"learning_rate": 1e-3, "weight_decay": 1e-4, "label_smoothing": 0.0}


@dataclasses.dataclass(frozen=True)
class OnTrunk:
    """A network with its output layer replaced.

    Attributes:
        trunk: The network; its output layer is computed but not used.
        num_outputs: Width of the new output layer.
    """

    trunk: Model
    num_outputs: int

    def init(self, rngs: Any, inputs: jax.Array) -> Mapping[str, Any]:
        """Initialises trunk and output layer."""
        trunk = self.trunk.init(rngs, inputs)
        embedding = self.trunk.apply(trunk, inputs, train=False).embedding
        head = _make_output_layer(self.num_outputs).init(rngs, embedding)["params"]
        return {**trunk, "params": {"trunk": trunk["params"], **head}}

    def apply(
        self,
        variables: Any,
        inputs: jax.Array,
        *,
        train: bool,
        rngs: Any = None,
        mutable: Any = False,
    ) -> Any:
        """Applies the network, which is never trained; the embedding is that of the trunk."""
        assert not mutable
        params = variables["params"]
        trunk = {**variables, "params": params["trunk"]}
        outputs = self.trunk.apply(trunk, inputs, train=train, rngs=rngs)
        head = {"params": {HEAD: params[HEAD]}}
        return _make_output_layer(self.num_outputs).apply(head, outputs.embedding, train=train)


def _make_output_layer(outputs: int) -> Model:
    """Builds a network that is an output layer alone."""
    layer: Any = MLP(num_outputs=outputs, hidden=())
    return cast(Model, layer)


@dataclasses.dataclass(frozen=True)
class FrozenTeacher:
    """A teacher whose trunk is not trained further, with the embedding stored in its bank.

    Attributes:
        teacher: The teacher.
        bank: Fingerprint of its bank.
        embedding: Reads the embedding [n, dims], float32, of rows given by their data-set index
            [n].
    """

    teacher: Teacher
    bank: str
    embedding: Callable[[np.ndarray], np.ndarray]


def replace_head(
    root: Path,
    dataset: Dataset,
    frozen: FrozenTeacher,
    head: Head,
    train: TrainConfig,
    session: Session,
) -> Teacher:
    """Trains a new output layer for a teacher, or reuses the one of an earlier launch.

    The layer is trained on the embedding of the labelled training rows, shifted to mean 0 and
    scaled to mean variance 1. Its weights are then rescaled, so that the teacher returned takes the
    embedding as it is.

    Args:
        root: The workdir.
        dataset: The data as the teacher knows them.
        frozen: The teacher.
        head: The output layer and its loss.
        train: Length of training, batches and optimizer.
        session: The run.

    Raises:
        UserError: The layer diverged.
        Interrupted: The run was asked to stop.
    """
    # An embedding is no image, and the rates are AdamW's; length and batches are those given.
    rule = dataclasses.replace(train.optimizer, rule="adamw")
    train = dataclasses.replace(train, optimizer=rule, augmentation=Augmentation())
    teacher = frozen.teacher
    request = Request(
        inputs={
            "what": "head",
            "source": frozen.bank,
            "train": dataclasses.asdict(train),
            "numeric": dict(_HYPERPARAMETERS),
            "head": [head.name, dict(head.hyperparameters)],
            "seed": seeds.derive(0, frozen.bank),
        },
        kind=head.name,
        trial=0,
        replicate=0,
        name=head.name,
        steps=train.steps,
    )
    recipe = make_recipe(_make_output_layer(head.outputs), head, train, _HYPERPARAMETERS)

    # Cached and lazy: a layer that is reused without being applied needs no pass over the rows.
    @functools.cache
    def compute_scaling() -> tuple[np.ndarray, np.float32]:
        rows = frozen.embedding(dataset.labelled_train)
        center = rows.mean(axis=0)
        deviation = np.sqrt(np.square(rows - center).mean())
        # One scale for all dims: separate ones would amplify the dims that hold only noise.
        return center, np.float32(deviation) if deviation > 0 else np.float32(1)

    def scale_embedding(index: np.ndarray) -> np.ndarray:
        center, spread = compute_scaling()
        return (frozen.embedding(index) - center) / spread

    def make_job(members: Sequence[Request]) -> FleetJob:
        return make_labelled_job(dataset, [dataset], recipe, members, scale_embedding)

    [trained] = scheduler.ensure(root, STAGE, [request], lambda _: 1, make_job, session)
    if trained.diverged:
        raise UserError(
            f"{head.name} diverged: its loss became non-finite; check the teacher's embedding for "
            "extreme values, or leave out the method"
        )

    @functools.cache
    def load_layer() -> tuple[np.ndarray, np.ndarray]:
        """Loads weights and bias, converted to take the embedding without scaling."""
        center, spread = compute_scaling()
        example = jax.ShapeDtypeStruct((1, teacher.dims), np.float32)
        kernel, bias = output_layer(trained.load(recipe.spec, example).network)
        return kernel / spread, bias - center @ kernel / spread

    def answer(embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kernel, bias = load_layer()
        return np.asarray(embedding @ kernel + bias, np.float32), embedding

    def answers(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return answer(teacher.answers(index)[1])

    def class_logits(index: np.ndarray) -> np.ndarray:
        outputs = Outputs(*map(jax.numpy.asarray, answers(index)))
        return np.asarray(head.readout(outputs, {}, head.constants, {}))

    # The network of the new teacher, for students that ask it in every step.
    def load() -> Variables:
        assert teacher.network is not None
        kernel, bias = load_layer()
        trunk = teacher.network.load()
        head = {"kernel": kernel, "bias": bias}
        return Variables({"trunk": trunk.parameters, HEAD: head}, trunk.statistics)

    network = None
    if teacher.network is not None:
        trunk = teacher.network
        model = OnTrunk(trunk.model, head.outputs)
        network = Network(
            model, load, trained, trunk.inputs, lambda inputs: answer(trunk.answers(inputs)[1])
        )
    return dataclasses.replace(
        teacher,
        fingerprint=trained.fingerprint,
        outputs=head.outputs,
        answers=answers,
        class_logits=class_logits,
        output_weights=lambda: load_layer()[0],
        network=network,
    )
