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

_MOMENTUM = 0.9
# Shares of the steps after the warm-up at which the schedule "steps" drops.
_DROPS = (0.5, 0.75)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The update rule and its schedule.

    Attributes:
        schedule: After the warm-up "cosine" and "linear" (Devlin et al., arXiv 1810.04805,
            appendix A.2) decay to 0 at the end; "steps" divides by 10 at half and at three quarters
            of the steps (He et al., arXiv 1512.03385, section 4.2); "constant" does not decay.
        warmup_fraction: Share of the steps over which the rate rises linearly.
        clip_norm: Largest norm of a member's gradient; 0 does not clip.
        rule: "adamw", with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), or
            "sgd", with Nesterov momentum 0.9 (Sutskever et al., 2013) and the weight decay added to
            the gradient, as is usual for convolutional networks.
    """

    schedule: Literal["cosine", "linear", "steps", "constant"] = "cosine"
    warmup_fraction: Annotated[float, SHARE] = 0.0
    clip_norm: Annotated[float, LIMIT] = 0.0
    rule: Literal["adamw", "sgd"] = "adamw"


def build(
    config: OptimizerConfig, steps: int, learning_rate: Any, weight_decay: Any
) -> optax.GradientTransformation:
    """Builds the update rule.

    Args:
        config: What does not change between the members of a fleet.
        steps: Length of the schedule.
        learning_rate: Peak rate; may be traced.
        weight_decay: Decay of matrices and filters, not of biases and scales; may be traced.
    """
    rate = functools.partial(compute_rate, config, steps, learning_rate)
    if config.rule == "sgd":
        # The decay comes after clipping, as in PyTorch, where clipping sees the loss's gradient.
        rule = optax.chain(
            optax.add_decayed_weights(weight_decay, _mask_decayed),
            optax.sgd(rate, _MOMENTUM, nesterov=True),
        )
    else:
        rule = optax.adamw(rate, weight_decay=weight_decay, mask=_mask_decayed)
    if config.clip_norm:
        rule = optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
    return rule


def _mask_decayed(params: Any) -> Any:
    """Marks what weight decay acts on: biases and scales are vectors and need no regularisation."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


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
    if schedule == "steps":
        return 0.1 ** sum(jnp.where(progress >= share, 1, 0) for share in _DROPS)
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
