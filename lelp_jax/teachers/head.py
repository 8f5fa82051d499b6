"""Output layers and losses of teachers, and the fleets that train them on the labelled rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lelp_jax import models
from lelp_jax.core import search_space, seeds
from lelp_jax.data.dataset import Dataset
from lelp_jax.methods import labels
from lelp_jax.methods.base import Loss, Readout, identity_readout
from lelp_jax.train import buckets, class_weights
from lelp_jax.train.config import TrainConfig
from lelp_jax.train.fleet import FleetJob, Member, estimate_work
from lelp_jax.train.predict import predict
from lelp_jax.train.scheduler import Request
from lelp_jax.train.state import GroupRows, Params, StepSpec

STAGE = "teachers"


@dataclasses.dataclass(frozen=True)
class Head:
    """Output layer and loss of a teacher.

    Attributes:
        name: Name of such teachers in the log and in messages.
        hyperparameters: Hyperparameters of the loss.
        outputs: Width of the output layer.
        loss: Unreduced loss of a batch.
        readout: Converts outputs to class logits.
        constants: Arrays that loss and readout take.
    """

    name: str
    hyperparameters: Mapping[str, Any]
    outputs: int
    loss: Loss
    readout: Readout
    constants: Mapping[str, np.ndarray]


def make_plain_head(num_classes: int) -> Head:
    """Makes a head with one output per class, trained on the labels alone."""
    return Head("teacher", {}, num_classes, labels.METHOD.loss, identity_readout, constants={})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How teachers with a given head are trained.

    Attributes:
        head: Output layer and loss.
        train: Length of training, batches and optimizer.
        hyperparameters: `learning_rate`, `weight_decay` and `label_smoothing`.
        spec: The compiled program.
    """

    head: Head
    train: TrainConfig
    hyperparameters: Mapping[str, float]
    spec: StepSpec


def make_recipe(
    model: models.Model,
    head: Head,
    train: TrainConfig,
    hyperparameters: Mapping[str, float],
    layer_decay: float = 1.0,
) -> Recipe:
    """Makes the recipe that trains a network with a head.

    Args:
        model: The network, of the head's width.
        head: Output layer and loss.
        train: Length of training, batches and optimizer.
        hyperparameters: `learning_rate`, `weight_decay` and `label_smoothing`.
        layer_decay: Learning rate of a layer relative to that of the layer above it.
    """
    spec = StepSpec(
        model,
        head.loss,
        head.readout,
        train.optimizer,
        train.steps,
        accumulate=train.accumulate,
        average=train.average,
        augmentation=train.augmentation,
        layer_decay=layer_decay,
    )
    return Recipe(head, train, hyperparameters, spec)


def make_labelled_job(
    dataset: Dataset,
    known: Sequence[Dataset],
    recipe: Recipe,
    requests: Sequence[Request],
    show: Callable[[np.ndarray], np.ndarray],
    initial: Mapping[str, Any] | None = None,
) -> FleetJob:
    """Collects what a fleet of teachers learns from: the labelled training rows.

    Teachers that know the labels of the same rows form a group.

    Args:
        dataset: The data.
        known: The data as each member knows them.
        recipe: How the teachers are trained.
        requests: The members.
        show: Computes what the networks see, [n, features...], of rows given by their data-set
            index [n].
        initial: Parameters that training starts from, on the host; all others are initialised
            randomly.
    """
    head, train, spec = recipe.head, recipe.train, recipe.spec
    groups = list({each.digest: each for each in known}.values())
    group_of = {each.digest: group for group, each in enumerate(groups)}
    # If labels are hidden, the table and its division into buckets are those of all training rows,
    # or a teacher would depend on the others of its fleet.
    hidden = any(each is not dataset for each in known)
    index = dataset.train if hidden else dataset.labelled_train
    inputs = show(index)
    parts = [_gather_group(each, index, train) for each in groups]
    # Arguments of the program are numbers; other hyperparameters took effect in making the head.
    numbers = {
        name: value for name, value in head.hyperparameters.items() if search_space.is_number(value)
    }
    return FleetJob(
        stage=STAGE,
        spec=spec,
        batch_size=train.batch_size,
        members=tuple(
            Member(
                fingerprint=request.fingerprint,
                hyperparameters={**numbers, **recipe.hyperparameters},
                seed=seeds.derive(request.inputs["seed"], "network"),
                order_seed=seeds.derive(request.inputs["seed"], "order"),
                group=group_of[each.digest],
            )
            for request, each in zip(requests, known, strict=True)
        ),
        # All groups have the same number of rows.
        rows=jax.tree.map(lambda *arrays: np.stack(arrays), *parts)._replace(
            constants=_repeat(head.constants, len(groups))
        ),
        buckets=buckets.make_buckets(
            inputs,
            [np.asarray(part.row) for part in parts],
            buckets.choose_ends(
                inputs,
                train.batch_size,
                len(parts[0].row),
                spec.steps * estimate_work(spec, inputs, train.batch_size),
            ),
            seeds.derive(0, dataset.digest),
        ),
        inputs=inputs,
        initial=initial and _repeat(initial, len(groups)),
        early_stopping=train.early_stopping,
        validation_inputs=show(dataset.validation),
        validation_labels=dataset.labels[dataset.validation],
    )


def _gather_group(dataset: Dataset, table: np.ndarray, train: TrainConfig) -> GroupRows:
    """Collects the labelled rows of teachers that know the same labels, without the group axis.

    Args:
        dataset: The data as they know them.
        table: Data-set indices of the rows of the fleet's table, sorted.
        train: How they are trained.
    """
    index = dataset.labelled_train
    label = dataset.labels[index]
    weights = class_weights.weigh_classes(dataset, train.class_weights)
    return GroupRows(
        row=np.searchsorted(table, index).astype(np.int32),
        label=label,
        weight=class_weights.weigh_rows(weights, label),
        teacher_logits=None,
        scores=None,
        constants={},
    )


def _repeat(tree: Any, groups: int) -> Any:
    """Repeats arrays for each group, [groups, ...] each."""
    return jax.tree.map(lambda array: np.stack([array] * groups), tree)


def predict_with_head(
    spec: StepSpec, head: Head, params: Params, inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes raw outputs, class logits and embeddings of rows.

    Args:
        spec: The program of the teacher.
        head: Its output layer.
        params: Its parameters.
        inputs: [rows, features...].

    Returns:
        Raw outputs [rows, outputs], class logits [rows, classes] and embeddings [rows, dims].
    """
    # The predictor works on fleets: this one has a single member.
    stacked = jax.tree.map(lambda leaf: leaf[None], params)
    constants = {name: array[None] for name, array in head.constants.items()}
    raw = dataclasses.replace(spec, readout=identity_readout)
    outputs, embeddings = predict(raw, stacked, {}, {}, inputs)
    # Outputs that are class logits already need no second pass.
    if head.readout is identity_readout:
        return outputs[0], outputs[0], embeddings[0]
    class_logits, _ = predict(spec, stacked, {}, constants, inputs)
    return outputs[0], class_logits[0], embeddings[0]
