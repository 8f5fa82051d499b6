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
    label_cross_entropy,
    mix,
)
from lelp_jax.projection.base import Projector
from lelp_jax.settings import Setting

# The student's logit of a column that does not exist. Finite: 0 * -inf is NaN.
_ABSENT = -1e9


def targets(
    teacher_logits: jax.Array, scores: jax.Array, temperature: jax.Array, beta: jax.Array
) -> jax.Array:
    """Returns target probabilities, [classes, subclasses, batch] float32 (eq. 5).

    Each class's probability is divided among its pseudo-subclasses, and they sum to it. An
    infinite score difference is a hard split.

    Args:
        teacher_logits: [batch, classes].
        scores: [batch, classes, subclasses]; -inf where a row cannot belong.
        temperature: Softens the classes.
        beta: Softens the split.
    """
    of_class = jax.nn.softmax(teacher_logits.astype(jnp.float32).T / temperature, axis=0)
    split = jax.nn.softmax(jnp.moveaxis(scores.astype(jnp.float32), 0, -1) / beta, axis=1)
    return of_class[:, None] * split


def _scaled(logits: jax.Array, constants: Constants, temperature: jax.Array) -> jax.Array:
    """Returns `g / tau`, [classes, subclasses, batch] float32.

    The batch comes last so that reductions over the few subclasses are vectorised over it.
    """
    mask = constants["column_mask"][:, :, None]
    grouped = logits.astype(jnp.float32).T.reshape(*mask.shape[:2], -1)
    return jnp.where(mask, grouped, _ABSENT) / temperature


def readout(logits: jax.Array, constants: Constants, numeric: Numeric) -> jax.Array:
    """Returns class logits `tau * logsumexp_s(g / tau)`, [batch, classes].

    A student that matches the targets exactly gives back the teacher's class logits up to a
    constant per row; plain logsumexp would favour the class with the sharper split at tau != 1.
    """
    scaled = _scaled(logits, constants, numeric["temperature"])
    return numeric["temperature"] * jax.nn.logsumexp(scaled, axis=1).T


def loss(inputs: LossInputs, constants: Constants, numeric: Numeric) -> LossOutput:
    """Returns `tau^2 CE(p, softmax(g / tau))` mixed with the label's loss, [batch].

    With `a_c = logsumexp_s(g_cs / tau)` the log-probability of a column is
    `g_cs / tau - logsumexp_c(a_c)`, and the class logits are `tau a_c`: both losses share the one
    reduction over the columns.
    """
    assert inputs.teacher_logits is not None
    assert inputs.scores is not None
    temperature = numeric["temperature"]
    target = targets(inputs.teacher_logits, inputs.scores, temperature, numeric["beta"])
    scaled = _scaled(inputs.logits, constants, temperature)
    of_class = jax.nn.logsumexp(scaled, axis=1)
    log_probability = scaled - jax.nn.logsumexp(of_class, axis=0)
    soft = -(temperature**2) * jnp.sum(target * log_probability, axis=(0, 1))
    hard = label_cross_entropy(temperature * of_class.T, inputs.label)
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
