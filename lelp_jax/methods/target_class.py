"""A row's target class apart from its other classes, in log space."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def target_class(label: jax.Array, teacher_logits: jax.Array) -> jax.Array:
    """Returns the label, and where it is -1 the teacher's most probable class, [batch] int32.

    Args:
        label: [batch] int32; -1 where unknown.
        teacher_logits: [batch, classes].
    """
    return jnp.where(label >= 0, label, jnp.argmax(teacher_logits, axis=-1).astype(label.dtype))


def of_target(log_probability: jax.Array, target: jax.Array) -> jax.Array:
    """Returns the log probability of the target class, [batch].

    Args:
        log_probability: [batch, classes].
        target: [batch] int32, never -1.
    """
    return jnp.take_along_axis(log_probability, target[:, None], axis=-1)[:, 0]


def of_others(log_probability: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns log of the other classes' total, [batch], and of their shares, [batch, classes - 1].

    The total is summed from the others: `log(1 - p)` loses every digit where p is nearly 1. The
    others are picked out, as a mask of large negative logits leaks where logits are large.

    Args:
        log_probability: [batch, classes].
        target: [batch] int32, never -1.
    """
    classes = log_probability.shape[-1]
    columns = (target[:, None] + 1 + jnp.arange(classes - 1)) % classes
    others = jnp.take_along_axis(log_probability, columns, axis=-1)
    total = jax.nn.logsumexp(others, axis=-1)
    return total, others - total[:, None]
