"""How a network is trained."""

from __future__ import annotations

import dataclasses
from typing import Any

from lelp_jax import settings
from lelp_jax.errors import UserError
from lelp_jax.train.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        steps: Number of updates.
        batch_size: Examples per update.
        optimizer: The update rule.
        class_weights: Weight of each class in the loss; empty weighs all alike, ("balanced",)
            weighs each class by the inverse of its share of the training rows.
    """

    steps: int
    batch_size: int
    optimizer: OptimizerConfig
    class_weights: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.class_weights != ("balanced",) and not all(
            settings.is_positive(weight) for weight in self.class_weights
        ):
            raise UserError(
                "class_weights must be empty, 'balanced' or one positive number per class, "
                f"got {self.class_weights}"
            )
