"""The optimizer of teachers and students."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lelp_jax.errors import UserError

_SCHEDULES = ("cosine", "constant")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a schedule (Loshchilov and Hutter, arXiv 1711.05101).

    Attributes:
        schedule: "cosine" decays to 0 at the last step; "constant" does not decay.
        warmup_fraction: Share of the steps over which the rate rises linearly, in [0, 1).
        clip_norm: Largest norm of a member's gradient; 0 does not clip.
    """

    schedule: str = "cosine"
    warmup_fraction: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule not in _SCHEDULES:
            raise UserError(
                f"schedule must be {' or '.join(map(repr, _SCHEDULES))}, got {self.schedule!r}"
            )
        if not 0 <= self.warmup_fraction < 1:
            raise UserError(f"warmup_fraction must be in [0, 1), got {self.warmup_fraction}")
        if not self.clip_norm >= 0:
            raise UserError(f"clip_norm must be 0 or more, got {self.clip_norm}")


def build(
    config: OptimizerConfig, steps: int, learning_rate: Any, weight_decay: Any
) -> optax.GradientTransformation:
    """Returns the update rule.

    Args:
        config: What does not change between the members of a fleet.
        steps: Length of the schedule.
        learning_rate: Peak rate; may be traced.
        weight_decay: Decoupled decay of matrices, not of biases and scales; may be traced.
    """

    def rate(count: jax.Array) -> jax.Array:
        warmup = config.warmup_fraction * steps
        progress = jnp.clip((count - warmup) / jnp.maximum(steps - warmup, 1), 0, 1)
        decay = 0.5 * (1 + jnp.cos(jnp.pi * progress)) if config.schedule == "cosine" else 1.0
        rise = jnp.minimum((count + 1) / warmup, 1) if warmup else 1.0
        return learning_rate * decay * rise

    adamw = optax.adamw(
        rate,
        weight_decay=weight_decay,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
    return (
        optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw)
        if config.clip_norm
        else adamw
    )
