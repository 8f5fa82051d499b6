"""How a network is trained."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from lelp_jax.augmentation.config import Augmentation
from lelp_jax.core import metrics
from lelp_jax.core.constraints import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE, SHARE, OneOf
from lelp_jax.core.errors import UserError
from lelp_jax.train.optimizer import OptimizerConfig

# Rounding lengthens the steps between evaluations by one part in this many at most.
_PARTS = 8


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Keeps the parameters with the best validation metric, and stops training without progress.

    Among the criteria in Prechelt, Early Stopping - But When? (1998), the patience is UP, counted
    from the best evaluation.

    Attributes:
        evaluations: Largest number of evaluations on the validation rows, evenly spaced and with
            one at the last step; 0 never evaluates and keeps the last parameters.
        patience: Number of evaluations in a row without improvement after which training stops; 0
            trains to the end.
        metric: The validation metric. Ties go to the lower negative log-likelihood, then to the
            earlier step.
    """

    evaluations: Annotated[int, NON_NEGATIVE] = 0
    patience: Annotated[int, NON_NEGATIVE] = 0
    metric: Annotated[str, OneOf(metrics.METRICS)] = "accuracy"

    def __post_init__(self) -> None:
        if self.patience and not self.evaluations:
            raise UserError(
                f"patience {self.patience} has no effect without evaluations; set evaluations to "
                "the number of evaluations on the validation rows"
            )

    def spacing(self, steps: int) -> int:
        """Computes the number of steps between evaluations; 0 without any.

        It depends on the length of training only, so a student is evaluated at the same steps in
        any fleet. From 16 steps on it is rounded up to a multiple of a power of two, so that it can
        be divided into dispatches of equal length.

        Args:
            steps: Length of training.
        """
        if not self.evaluations:
            return 0
        apart = -(-steps // self.evaluations)
        unit = 1 << max((apart // _PARTS).bit_length() - 1, 0)
        return -(-apart // unit) * unit


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        steps: Number of updates; 0 if `epochs` is given instead.
        batch_size: Examples per update.
        optimizer: The update rule.
        class_weights: Weight of each class in the loss. Empty gives all classes the same weight;
            "balanced" weights each class by the inverse of its share of the training rows. A row's
            weight is that of all it teaches, label smoothing and the teacher's part included.
        accumulate: Number of parts in which the gradient of a batch is computed, one after another;
            more parts need less memory.
        early_stopping: Which parameters are kept, and when training stops early.
        epochs: Number of passes over the training rows; 0 if `steps` is given instead.
        average: Decay of a moving average of the parameters, which is then evaluated and kept in
            place of the last ones (Polyak and Juditsky, 1992); 0 keeps none.
        augmentation: How images are changed at random in every step.
    """

    steps: Annotated[int, NON_NEGATIVE]
    batch_size: Annotated[int, AT_LEAST_ONE]
    optimizer: OptimizerConfig
    # Weights stay whole numbers or not, as written: fingerprints of finished runs depend on it.
    class_weights: tuple[Literal["balanced"]] | tuple[Annotated[int | float, POSITIVE], ...] = ()
    accumulate: Annotated[int, AT_LEAST_ONE] = 1
    early_stopping: EarlyStopping = EarlyStopping()
    epochs: Annotated[float, NON_NEGATIVE] = 0.0
    average: Annotated[float, SHARE] = 0.0
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.epochs and self.steps:
            raise UserError(
                f"steps {self.steps} and epochs {self.epochs:g} are both given; set one of them to "
                "0"
            )
        if not (self.steps or self.epochs):
            raise UserError("steps and epochs are both 0; set one of them")
        if self.batch_size % self.accumulate:
            raise UserError(
                f"batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}; "
                "change one of them"
            )
        if not self.epochs and self.early_stopping.evaluations > self.steps:
            raise UserError(
                f"early_stopping.evaluations {self.early_stopping.evaluations} exceeds the "
                f"{self.steps} steps; set fewer"
            )

    def resolve_steps(self, rows: int) -> TrainConfig:
        """Converts epochs into steps.

        Args:
            rows: Number of rows that the network is trained on.

        Raises:
            UserError: There are fewer steps than evaluations.
        """
        if not self.epochs:
            return self
        steps = max(1, round(self.epochs * rows / self.batch_size))
        return dataclasses.replace(self, steps=steps, epochs=0.0)
