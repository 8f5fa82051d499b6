"""How a network is trained."""

from __future__ import annotations

import dataclasses
from typing import Any

from lelp_jax.core import metrics, search_space
from lelp_jax.core.errors import UserError, unknown_name
from lelp_jax.train.optimizer import OptimizerConfig

# Rounding adds at most one part in so many to the steps between evaluations.
_PARTS = 8


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Keeps the parameters that did best on the validation rows; stops what no longer improves.

    Of the criteria in Prechelt, Early Stopping - But When? (1998), the patience is his UP, counted
    from the best evaluation.

    Attributes:
        evaluations: How often at most the validation rows are looked at, evenly over training and
            at its last step; 0 never looks and keeps the last parameters.
        patience: A member stops after so many evaluations in a row without improvement; 0 trains
            to the end.
        metric: The validation metric that decides. Ties go to the lower negative log-likelihood,
            then to the earlier step.
    """

    evaluations: int = 0
    patience: int = 0
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        for name in ("evaluations", "patience"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.patience and not self.evaluations:
            raise UserError(
                f"patience {self.patience} has no effect without evaluations; set evaluations to "
                "how often to look at the validation rows"
            )
        if self.metric not in metrics.METRICS:
            raise unknown_name("metric", self.metric, metrics.METRICS)

    def spacing(self, steps: int) -> int:
        """Returns the steps between evaluations; 0 without any.

        It depends on the length of training alone, not on how a fleet is dispatched: a member is
        evaluated at the same steps whatever its company. From 16 steps on it is rounded up to a
        multiple of a power of two, so that it can be cut into dispatches of equal length.

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
        steps: Number of updates; 0 where `epochs` say it.
        batch_size: Examples per update.
        optimizer: The update rule.
        class_weights: Weight of each class in the loss; empty weighs all alike, ("balanced",)
            weighs each class by the inverse of its share of the training rows.
        accumulate: In how many parts the gradient of a batch is computed, one after another, which
            takes less memory.
        early_stopping: Which parameters are kept, and when training ends early.
        epochs: How often each row is seen, where `steps` is 0.
    """

    steps: int
    batch_size: int
    optimizer: OptimizerConfig
    class_weights: tuple[Any, ...] = ()
    accumulate: int = 1
    early_stopping: EarlyStopping = EarlyStopping()
    epochs: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs and not search_space.is_positive(self.epochs):
            raise UserError(f"epochs must be a number above 0, or 0, got {self.epochs}")
        if self.epochs and self.steps:
            raise UserError(
                f"steps {self.steps} and epochs {self.epochs:g} are both given; set one of them "
                "to 0"
            )
        counts = (
            ("batch_size", "accumulate") if self.epochs else ("steps", "batch_size", "accumulate")
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.batch_size % self.accumulate:
            raise UserError(
                f"batch_size {self.batch_size} cannot be cut into accumulate {self.accumulate} "
                "equal parts; make it a multiple"
            )
        if not self.epochs and self.early_stopping.evaluations > self.steps:
            raise UserError(
                f"early_stopping.evaluations {self.early_stopping.evaluations} exceeds the "
                f"{self.steps} steps; take fewer"
            )
        if self.class_weights != ("balanced",) and not all(
            search_space.is_positive(weight) for weight in self.class_weights
        ):
            raise UserError(
                "class_weights must be empty, 'balanced' or one positive number per class, "
                f"got {self.class_weights}"
            )

    def resolve_steps(self, rows: int) -> TrainConfig:
        """Returns the same in steps, for the number of rows that a network sees.

        Args:
            rows: How many rows it sees.

        Raises:
            UserError: That is fewer steps than evaluations.
        """
        if not self.epochs:
            return self
        steps = max(1, round(self.epochs * rows / self.batch_size))
        return dataclasses.replace(self, steps=steps, epochs=0.0)
