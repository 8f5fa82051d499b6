"""Output layer and loss of teachers, and the fleets that train them on the labelled rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
    """Output layer and loss of teachers.

    Attributes:
        name: What such teachers are called in the log and in messages.
        hyperparameters: What the loss depends on besides.
        outputs: Width of the output layer.
        loss: Unreduced loss of a batch.
        readout: Turns outputs into class logits.
        constants: The arrays that both take.
    """

    name: str
    hyperparameters: Mapping[str, Any]
    outputs: int
    loss: Loss
    readout: Readout
    constants: Mapping[str, np.ndarray]


def plain_head(num_classes: int) -> Head:
    """Returns one output per class, trained on the labels alone."""
    return Head("teacher", {}, num_classes, labels.METHOD.loss, identity_readout, constants={})


def spec_of(
    model: models.Model, head: Head, train: TrainConfig, layer_decay: float = 1.0
) -> StepSpec:
    """Returns the program that trains teachers."""
    return StepSpec(
        model,
        head.loss,
        head.readout,
        train.optimizer,
        train.steps,
        accumulate=train.accumulate,
        layer_decay=layer_decay,
    )


def labelled_job(
    dataset: Dataset,
    spec: StepSpec,
    head: Head,
    train: TrainConfig,
    members: Sequence[tuple[Request, Mapping[str, float]]],
    inputs: np.ndarray,
    validation_inputs: np.ndarray,
    initial: Mapping[str, Any] | None = None,
) -> FleetJob:
    """Returns the fleet that learns from the labelled training rows.

    Args:
        dataset: The data.
        spec: The program.
        head: Output layer and loss.
        train: How they are trained.
        members: What is wanted, each with learning rate and weight decay.
        inputs: What the networks see of the labelled training rows, [rows, features...].
        validation_inputs: And of the validation rows.
        initial: Parameters that they start from, on the host; of others they start anew.
    """
    index = dataset.labelled_train
    weights = class_weights.weigh_classes(dataset, train.class_weights)
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
                hyperparameters={**numbers, **hyperparameters, "label_smoothing": 0.0},
                seed=seeds.derive(request.inputs["seed"], "network"),
                order_seed=seeds.derive(request.inputs["seed"], "order"),
                group=0,
            )
            for request, hyperparameters in members
        ),
        rows=GroupRows(
            row=np.arange(len(index), dtype=np.int32)[None],
            label=dataset.labels[index][None],
            weight=class_weights.weigh_rows(weights, dataset.labels[index])[None],
            teacher_logits=None,
            scores=None,
            constants={name: array[None] for name, array in head.constants.items()},
        ),
        buckets=buckets.make_buckets(
            inputs,
            [np.arange(len(index))],
            buckets.choose_ends(
                inputs,
                train.batch_size,
                len(index),
                spec.steps * estimate_work(spec, inputs, train.batch_size),
            ),
            seeds.derive(0, dataset.digest),
        ),
        inputs=inputs,
        initial=initial and jax.tree.map(lambda array: array[None], initial),
        early_stopping=train.early_stopping,
        validation_inputs=validation_inputs,
        validation_labels=dataset.labels[dataset.validation],
    )


def outputs_and_class_logits(
    spec: StepSpec, head: Head, params: Params, inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns raw outputs, class logits and embeddings of rows, [rows, ...] each."""
    stacked = jax.tree.map(lambda leaf: leaf[None], params)
    constants = {name: array[None] for name, array in head.constants.items()}
    raw = dataclasses.replace(spec, readout=identity_readout)
    outputs, embeddings = predict(raw, stacked, {}, {}, inputs)
    if head.readout is identity_readout:
        return outputs[0], outputs[0], embeddings[0]
    class_logits, _ = predict(spec, stacked, {}, constants, inputs)
    return outputs[0], class_logits[0], embeddings[0]
