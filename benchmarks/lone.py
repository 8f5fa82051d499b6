"""A network in a fleet of one: a training step and the forward pass, as a user's run does them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lelp_jax.core import parallel
from lelp_jax.methods import labels
from lelp_jax.methods.base import identity_readout
from lelp_jax.models.outputs import Model
from lelp_jax.train import buckets
from lelp_jax.train.fleet import FleetJob, Member
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import GroupRows, StepSpec
from lelp_jax.train.step import predict_fleet


class LoneNetwork:
    """A network that is trained on the labels of one batch.

    Attributes:
        compile_seconds: What compiling the training step took.
    """

    def __init__(
        self,
        model: Model,
        inputs: np.ndarray,
        optimizer: OptimizerConfig,
        numeric: Mapping[str, float],
        initial: Any = None,
    ):
        """Compiles and warms up.

        Args:
            model: The network.
            inputs: The batch, [batch, features...].
            optimizer: The update rule.
            numeric: Learning rate, weight decay and label smoothing.
            initial: Parameters that training starts from, a part of the network's; None draws all.
        """
        rows = len(inputs)
        spec = StepSpec(model, labels.METHOD.loss, identity_readout, optimizer, steps=10**6)
        label = np.random.default_rng(0).integers(0, model.num_outputs, rows, np.int32)
        group = GroupRows(
            row=np.arange(rows, dtype=np.int32),
            label=label,
            weight=np.ones(rows, np.float32),
            teacher_logits=None,
            scores=None,
            constants={},
        )
        self._runner = Runner(
            FleetJob(
                stage="benchmark",
                spec=spec,
                batch_size=rows,
                members=(Member("0", numeric, 0, 0, 0),),
                rows=jax.tree.map(lambda array: array[None], group),
                buckets=buckets.make_buckets(inputs, [np.arange(rows)], buckets.WHOLE, 0),
                inputs=inputs,
                validation_inputs=inputs,
                validation_labels=label,
                initial=jax.tree.map(lambda leaf: leaf[None], initial),
            )
        )
        self._state = self._runner.new_state()
        before = self._runner.compile_seconds
        self.train()
        self.compile_seconds = self._runner.compile_seconds - before
        self._arguments: tuple[Any, ...] = ({}, {}, jax.device_put(inputs))
        arguments = (self._state.members.params, *self._arguments)
        self._predict, _ = parallel.compile_program(predict_fleet, spec, arguments)
        self.forward()

    @property
    def steps(self) -> int:
        """Steps of one call of `train`."""
        return self._runner.steps

    def train(self) -> None:
        """Does the steps of one dispatch."""
        self._state, log = self._runner.dispatch(self._state, 0)
        jax.block_until_ready((self._state, log))

    def forward(self) -> None:
        """Runs the network on the batch."""
        jax.block_until_ready(self._predict(self._state.members.params, *self._arguments))
