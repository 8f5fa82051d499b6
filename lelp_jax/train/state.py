"""What a training step is made of and changes: the program, the members, the rows.

A member is one network in training; the members of a fleet share all shapes and the program, and
differ in seeds, traced hyperparameters and rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lelp_jax.augmentation.config import Augmentation
from lelp_jax.methods.base import Dims, Loss, Readout, Targets
from lelp_jax.models.outputs import Model
from lelp_jax.models.variables import Variables
from lelp_jax.projection.base import Projection
from lelp_jax.train.optimizer import OptimizerConfig

Array = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """Everything that determines a fleet's compiled program, except array shapes.

    Attributes:
        model: The network.
        loss: The method's loss.
        readout: The method's readout.
        targets: Computes the loss's targets from what the teacher says; None for methods without.
        optimizer: The update rule.
        steps: Length of training; steps beyond it change nothing.
        input_noise: Standard deviation of the Gaussian noise added to the inputs of every training
            step; 0 adds none.
        teacher: The frozen network that answers in every step for the inputs that the member sees,
            with parameters in `GroupRows.frozen`; None if the rows hold its outputs.
        dims: What the method's own parameters and state depend on; None for methods without any.
        init: Makes the method's own parameters.
        init_state: Makes the method's own state.
        accumulate: In how many parts a batch is seen, one after another; it divides the batch.
        layer_decay: By how much the rate falls from one layer of the network to the one below it;
            1 leaves all alike, and anything else needs a model with `depth_from_top`.
        length: How many tokens of a row are seen; 0 sees all of it.
        average: Decay of the moving average of the parameters; 0 keeps none.
        augmentation: How images are changed at random in every training step.
    """

    model: Model
    loss: Loss
    readout: Readout
    optimizer: OptimizerConfig
    steps: int
    input_noise: float = 0.0
    teacher: Model | None = None
    targets: Targets | None = None
    dims: Dims | None = None
    init: Callable[[jax.Array, Dims], Any] | None = None
    init_state: Callable[[jax.Array, Dims], Any] | None = None
    accumulate: int = 1
    layer_decay: float = 1.0
    length: int = 0
    average: float = 0.0
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)


class Params(NamedTuple):
    """What predicting with a member takes.

    Attributes:
        network: Parameters of the network.
        extra: The method's own parameters, or None.
        statistics: Running averages of the network's batch normalization, or None. The optimizer
            does not move them: it sees `trained`.
    """

    network: Mapping[str, Any]
    extra: Any
    statistics: Mapping[str, Any] | None = None

    @property
    def variables(self) -> Variables:
        """The variables of the network."""
        return Variables(self.network, self.statistics)

    @property
    def trained(self) -> Params:
        """The part that the optimizer moves."""
        return self._replace(statistics=None)


class Best(NamedTuple):
    """What evaluations on the validation rows have found of a member so far.

    Attributes:
        params: Its parameters at the best evaluation; the first ones before any.
        score: Its metric there, the larger the better, [] float32.
        nll: Its negative log-likelihood there, [] float32.
        step: Steps done there, [] int32; 0 before any.
        waited: Evaluations since then, [] int32.
        stopped: Whether it waited too long, [] bool. From then on nothing of the member changes.
    """

    params: Params
    score: jax.Array
    nll: jax.Array
    step: jax.Array
    waited: jax.Array
    stopped: jax.Array


class MemberState(NamedTuple):
    """What training changes.

    Attributes:
        params: Parameters and running averages.
        opt_state: The optimizer's moments and count.
        method: The method's own state, or None.
        diverged: Whether a loss or gradient was ever not finite, [] bool. From then on the member
            stays as it was before that step.
        best: What evaluations have found; None where there are none.
        average: Moving average of `params`; None where there is none.
    """

    params: Params
    opt_state: Any
    method: Any
    diverged: jax.Array
    best: Best | None = None
    average: Params | None = None

    @property
    def evaluated(self) -> Params:
        """What the member is evaluated and kept with."""
        return self.params if self.average is None else self.average


class FleetState(NamedTuple):
    """State of all members.

    Attributes:
        step: Steps done, [] int32.
        members: `MemberState` with a leading member axis.
    """

    step: jax.Array
    members: MemberState


class Members(NamedTuple):
    """What distinguishes the members, each with a leading member axis.

    Attributes:
        hyperparameters: Traced ones, such as `learning_rate`, [members] float32 each.
        seed: Seed of initialisation, dropout and noise, [members] uint32.
        group: Which group of rows a member learns from, [members] int32.
    """

    hyperparameters: Mapping[str, Array]
    seed: Array
    group: Array


class Frozen(NamedTuple):
    """What training reads in every step and never changes.

    Attributes:
        teacher: Parameters and running averages of `StepSpec.teacher`.
        projection: Scores that network's embedding; None where scores are stored in the rows.
    """

    teacher: Variables
    projection: Projection | None


class GroupRows(NamedTuple):
    """What members may see; members of one replicate share a group.

    Attributes:
        row: Position of each row in the table of inputs, [groups, rows] int32.
        label: [groups, rows] int32, -1 where unknown.
        weight: Weight of each row in the loss, [groups, rows] float32.
        teacher_logits: [groups, rows, classes] float32, or None.
        scores: Pseudo-subclass scores, [groups, rows, classes, subclasses] float32, with heads
            after the rows where there are several, or None.
        constants: The method's other arrays, each [groups, ...].
        teacher_embedding: [groups, rows, dims] float32, or None where the loss does not read it.
        frozen: The teacher that is asked in every step, each array [groups, ...], or None.
        view: Seed of the changes of each row's image, [groups, rows] uint32, or None where images
            are changed anew in every step.
    """

    row: Array
    label: Array
    weight: Array
    teacher_logits: Array | None
    scores: Array | None
    constants: Mapping[str, Array]
    teacher_embedding: Array | None = None
    frozen: Frozen | None = None
    view: Array | None = None


class StepLog(NamedTuple):
    """A weighted sum and its weight; divide to get the mean loss, and merge by adding."""

    total: jax.Array
    weight: jax.Array
