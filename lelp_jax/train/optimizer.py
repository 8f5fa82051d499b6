"""The optimizer of teachers and students."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from lelp_jax.core.constraints import LIMIT, SHARE


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a schedule (Loshchilov and Hutter, arXiv 1711.05101).

    Attributes:
        schedule: After the warm-up "cosine" and "linear" (Devlin et al., arXiv 1810.04805,
            appendix A.2) decay to 0 at the end; "constant" does not decay.
        warmup_fraction: Share of the steps over which the rate rises linearly.
        clip_norm: Largest norm of a member's gradient; 0 does not clip.
    """

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_fraction: Annotated[float, SHARE] = 0.0
    clip_norm: Annotated[float, LIMIT] = 0.0


def build(
    config: OptimizerConfig, steps: int, learning_rate: Any, weight_decay: Any
) -> optax.GradientTransformation:
    """Builds the update rule.

    Args:
        config: What does not change between the members of a fleet.
        steps: Length of the schedule.
        learning_rate: Peak rate; may be traced.
        weight_decay: Decoupled decay of matrices, not of biases and scales; may be traced.
    """
    adamw = optax.adamw(
        functools.partial(compute_rate, config, steps, learning_rate),
        weight_decay=weight_decay,
        # Biases and scales are vectors; pulling them to 0 does not regularise.
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
    return (
        optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw)
        if config.clip_norm
        else adamw
    )


def compute_rate(
    config: OptimizerConfig, steps: int, learning_rate: Any, count: jax.Array
) -> jax.Array:
    """Computes the learning rate of the step after `count` steps.

    Args:
        config: Its schedule.
        steps: Length of the schedule.
        learning_rate: Peak rate; may be traced.
        count: Steps done, of any shape.
    """
    warmup = config.warmup_fraction * steps
    progress = jnp.clip((count - warmup) / jnp.maximum(steps - warmup, 1), 0, 1)
    decay = _decay(config.schedule, progress)
    # From 1, as a first step of rate 0 would do nothing.
    ramp = jnp.minimum((count + 1) / warmup, 1) if warmup else 1.0
    return learning_rate * decay * ramp


def _decay(schedule: str, progress: jax.Array) -> jax.Array | float:
    """Computes the share of the peak rate at a share of the steps after the warm-up."""
    if schedule == "cosine":
        return 0.5 * (1 + jnp.cos(jnp.pi * progress))
    return 1 - progress if schedule == "linear" else 1.0


@runtime_checkable
class Layered(Protocol):
    """A model that knows the depth of its parameters."""

    def depth_from_top(self, path: tuple[str, ...]) -> int:
        """Counts the layers between a parameter and the output layer, 0 for that layer itself.

        Args:
            path: Keys that lead to it in the tree of parameters.
        """
        ...


def decay_layers(updates: Mapping[str, Any], model: Any, layer_decay: float) -> Any:
    """Scales the updates of a network down, the more the lower the layer.

    The rate of a layer is that of the layer above times `layer_decay` (Howard and Ruder, arXiv
    1801.06146, section 3.2). Weight decay is part of the update and shrinks alike.

    Args:
        updates: Tree of the network's parameters.
        model: The network, a `Layered` one.
        layer_decay: In (0, 1].

    Raises:
        ValueError: The model does not know its layers.
    """
    if not isinstance(model, Layered):
        raise ValueError(f"layer_decay needs a model with depth_from_top, got {model!r}")

    def slowed(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        depth = model.depth_from_top(tuple(entry.key for entry in path))
        return layer_decay**depth * update

    return jax.tree_util.tree_map_with_path(slowed, updates)
