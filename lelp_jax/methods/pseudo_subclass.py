"""Distillation of pseudo-subclasses, whatever splits the classes (LELP, sections 2 and 3).

The student has one head of C * S outputs, class-major: column c * S + s.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lelp_jax import settings
from lelp_jax.methods.base import (
    Constants,
    LossInputs,
    LossOutput,
    Method,
    Numeric,
    cross_entropy,
    label_cross_entropy,
    mix,
)
from lelp_jax.projection.base import Projector
from lelp_jax.settings import Setting

# The student's logit of a column that does not exist. Finite: 0 * -inf is NaN.
_ABSENT = -1e9


def log_targets(
    teacher_logits: jax.Array, scores: jax.Array, temperature: jax.Array, beta: jax.Array
) -> jax.Array:
    """Returns log target probabilities, [batch, classes * subclasses] float32 (eq. 5).

    Each class's probability is divided among its pseudo-subclasses, and they sum to it exactly. In
    log space an infinite score difference is a hard split.

    Args:
        teacher_logits: [batch, classes].
        scores: [batch, classes, subclasses]; -inf where a row cannot belong.
        temperature: Softens the classes.
        beta: Softens the split.
    """
    log_class = jax.nn.log_softmax(teacher_logits.astype(jnp.float32) / temperature)
    log_split = jax.nn.log_softmax(scores.astype(jnp.float32) / beta)
    return (log_class[:, :, None] + log_split).reshape(len(scores), -1)


def _masked(logits: jax.Array, constants: Constants) -> jax.Array:
    return jnp.where(constants["column_mask"].reshape(-1), logits.astype(jnp.float32), _ABSENT)


def readout(logits: jax.Array, constants: Constants, numeric: Numeric) -> jax.Array:
    """Returns class logits `tau * logsumexp_s(g / tau)`, [batch, classes].

    A student that matches the targets exactly gives back the teacher's class logits up to a
    constant per row; plain logsumexp would favour the class with the sharper split at tau != 1.
    """
    temperature = numeric["temperature"]
    mask = constants["column_mask"]
    grouped = (_masked(logits, constants) / temperature).reshape(-1, *mask.shape)
    return temperature * jax.nn.logsumexp(grouped, axis=-1)


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns `tau^2 CE(p, softmax(g / tau))` mixed with the label's loss, [batch]."""
    assert inputs.teacher_logits is not None
    assert inputs.scores is not None
    temperature = numeric["temperature"]
    target = jnp.exp(
        log_targets(inputs.teacher_logits, inputs.scores, temperature, numeric["beta"])
    )
    logits = _masked(inputs.logits, constants)
    soft = temperature**2 * cross_entropy(target, logits / temperature)
    hard = label_cross_entropy(readout(inputs.logits, constants, numeric), inputs.label)
    return mix(soft, hard, numeric["alpha"])


def method(name: str, reference: str, projector: Projector, beta: Setting) -> Method:
    """Returns the method that distils the pseudo-subclasses of a projector.

    Args:
        name: The method's name.
        reference: Where it was published.
        projector: Splits the classes.
        beta: The setting of the split's softness.
    """
    return Method(
        name=name,
        reference=reference,
        settings={
            "learning_rate": settings.LEARNING_RATE,
            "weight_decay": settings.WEIGHT_DECAY,
            "temperature": settings.TEMPERATURE,
            "beta": beta,
            "alpha": settings.ALPHA,
            **projector.settings,
        },
        loss=loss,
        projector=projector,
        readout=readout,
    )


# Hard scores do not depend on beta.
HARD_SPLIT = Setting((1.0,), "1, as the split is hard", lambda value: value == 1, traced=True)
