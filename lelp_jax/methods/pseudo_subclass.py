"""Distillation of pseudo-subclasses, whatever splits the classes (LELP, sections 2 and 3).

The student has one head of C * S outputs, class-major: column c * S + s. An ensemble of several
splits of the same classes has as many heads, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Hyperparameter
from lelp_jax.methods import base, slam
from lelp_jax.methods.base import (
    COMMON,
    Constants,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    Params,
    TeacherRows,
    combine_with_label_loss,
)
from lelp_jax.models.outputs import Outputs
from lelp_jax.projection.base import Projector

# The student's logit of a column that does not exist. Finite: 0 * -inf is NaN.
_ABSENT = -1e9


def log_targets(
    teacher_logits: jax.Array,
    scores: jax.Array,
    label: jax.Array,
    hyperparameters: Hyperparameters,
) -> jax.Array:
    """Computes log target probabilities, [heads, classes, subclasses, batch] float32 (eq. 5).

    Each class's probability is divided among its pseudo-subclasses, and they sum to it. An
    infinite score difference is a hard split.

    Args:
        teacher_logits: [batch, classes].
        scores: [batch, classes, subclasses], or [batch, heads, classes, subclasses] for several
            splits of the same classes; -inf where a row cannot belong.
        label: [batch] int32; -1 where unknown.
        hyperparameters: `temperature` softens the classes, `beta` the split; `hard_mixing`.
    """
    of_class = jax.nn.log_softmax(
        teacher_logits.astype(jnp.float32) / hyperparameters["temperature"], axis=-1
    )
    of_class = base.mix_in_label(of_class, label, hyperparameters).T
    return of_class[:, None] + jax.nn.log_softmax(_soften(scores, hyperparameters), axis=2)


def compute_targets(rows: TeacherRows, hyperparameters: Hyperparameters) -> jax.Array:
    """Computes target probabilities, the exponential of `log_targets`, [rows, outputs] float32.

    Without logarithms, and with the rows last throughout: where a step has to compute them, that
    of a student of the demo takes 8 % less time.

    Args:
        rows: The teacher's outputs.
        hyperparameters: As for `log_targets`.
    """
    of_class = jax.nn.softmax(
        rows.teacher_logits.T.astype(jnp.float32) / hyperparameters["temperature"], axis=0
    )
    share = hyperparameters["hard_mixing"]
    own = jnp.arange(len(of_class))[:, None] == rows.label
    of_class = jnp.where(rows.label >= 0, (1 - share) * of_class + share * own, of_class)
    split = jax.nn.softmax(_soften(rows.scores, hyperparameters), axis=2)
    return (of_class[:, None] * split).reshape(-1, len(rows.label)).T


def _soften(scores: jax.Array, hyperparameters: Hyperparameters) -> jax.Array:
    """Divides scores by beta, [heads, classes, subclasses, batch] float32."""
    several = scores.reshape(len(scores), -1, *scores.shape[-2:]).astype(jnp.float32)
    return jnp.moveaxis(several, 0, -1) / hyperparameters["beta"]


def scale_logits(logits: jax.Array, constants: Constants, temperature: jax.Array) -> jax.Array:
    """Computes `g / tau`, [heads, classes, subclasses, batch] float32.

    The batch comes last so that reductions over the few subclasses are vectorised over it.

    Args:
        logits: [batch, outputs], head-major and within a head class-major.
        constants: `column_mask`, [classes, subclasses] or [heads, classes, subclasses] bool.
        temperature: [].
    """
    mask = constants["column_mask"]
    mask = mask.reshape(-1, *mask.shape[-2:], 1)
    grouped = logits.astype(jnp.float32).T.reshape(*mask.shape[:3], -1)
    return jnp.where(mask, grouped, _ABSENT) / temperature


def readout(
    outputs: Outputs, extra: Params, constants: Constants, hyperparameters: Hyperparameters
) -> jax.Array:
    """Computes class logits `tau * logsumexp_s(g / tau)`, the mean over heads, [batch, classes].

    A student that matches the targets exactly gives back the teacher's class logits up to a
    constant per row; plain logsumexp would favour the class with the sharper split at tau != 1.
    """
    del extra
    temperature = hyperparameters["temperature"]
    of_class = jax.nn.logsumexp(scale_logits(outputs.logits, constants, temperature), axis=2)
    return temperature * of_class.mean(axis=0).T


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes `tau^2 CE(p, softmax(g / tau))`, the mean over heads, mixed with the label's loss.

    With `a_c = logsumexp_s(g_cs / tau)` the log-probability of a column is
    `g_cs / tau - logsumexp_c(a_c)`, and the class logits are `tau a_c`: both losses share the one
    reduction over the columns. A mixing changes the log-probability of every column of a class
    alike, as `slam` derives.
    """
    assert inputs.target is not None
    temperature = hyperparameters["temperature"]
    logits = scale_logits(inputs.logits, constants, temperature)
    target = inputs.target.T.reshape(logits.shape)
    of_class = jax.nn.logsumexp(logits, axis=2)
    total = jax.nn.logsumexp(of_class, axis=1, keepdims=True)
    log_probability = logits - total[:, None]
    if inputs.mixing is not None:
        class_probability = jnp.moveaxis(of_class - total, 1, -1)
        change = slam.mix(class_probability, inputs.mixing) - class_probability
        log_probability += jnp.moveaxis(change, -1, 1)[:, :, None]
    soft = -(temperature**2) * jnp.sum(target * log_probability, axis=(1, 2)).mean(axis=0)
    return combine_with_label_loss(
        inputs, hyperparameters, soft, temperature * of_class.mean(axis=0).T
    )


def build_method(
    name: str,
    reference: str,
    projector: Projector,
    *,
    pinned: Mapping[str, Hyperparameter] | None = None,
) -> Method:
    """Builds the method that distils the pseudo-subclasses of a projector.

    Args:
        name: The method's name.
        reference: Where it was published.
        projector: Splits the classes.
        pinned: Hyperparameters that differ from the common ones and the projector's, or are added:
            `{"beta": HARD_SPLIT}` for a split without softness.
    """
    return Method(
        name=name,
        reference=reference,
        search_space={
            **COMMON,
            "temperature": search_space.TEMPERATURE,
            "beta": search_space.BETA,
            **projector.search_space,
            **(pinned or {}),
        },
        loss=loss,
        corrigible=True,
        projector=projector,
        targets=compute_targets,
        readout=readout,
    )


# Hard scores do not depend on beta.
HARD_SPLIT = search_space.BETA.fix_to(1.0, "as the split is hard")
