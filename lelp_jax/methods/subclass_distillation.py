"""Subclass Distillation (Müller, Kornblith and Hinton, arXiv 2002.03936).

The teacher is trained anew with several outputs per class, class-major: column c * S + s, and
invents subclasses of its own; the student learns them all.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Hyperparameter, Value
from lelp_jax.methods import base
from lelp_jax.methods.base import (
    COMMON,
    Constants,
    Hyperparameters,
    LossInputs,
    LossOutput,
    Method,
    OwnTeacher,
    Params,
    Seen,
    combine_with_label_loss,
    label_cross_entropy,
)
from lelp_jax.models.outputs import Outputs

_EPSILON = 1e-9
SEARCH_SPACE: Mapping[str, Hyperparameter] = {
    **COMMON,
    # The authors' code gives label and teacher the same weight, at temperature 4.
    "alpha": search_space.ALPHA.replace_default(0.0, 0.5),
    "temperature": search_space.TEMPERATURE,
    "num_subclasses": search_space.NUM_SUBCLASSES,
    "auxiliary_weight": search_space.AUXILIARY_WEIGHT,
    "auxiliary_temperature": search_space.AUXILIARY_TEMPERATURE,
}


def class_logits(logits: jax.Array, constants: Constants) -> jax.Array:
    """Computes `logsumexp_s z_cs`, whose softmax sums the subclasses' probabilities (section 3).

    Args:
        logits: [batch, classes * subclasses].
        constants: `column_mask` [classes, subclasses], for its shape.
    """
    grouped = logits.astype(jnp.float32).reshape(len(logits), *constants["column_mask"].shape)
    return jax.nn.logsumexp(grouped, axis=-1)


def readout(
    outputs: Outputs, extra: Params, constants: Constants, hyperparameters: Hyperparameters
) -> jax.Array:
    """Computes class logits at temperature 1, of teacher and student alike, [batch, classes]."""
    del extra, hyperparameters
    return class_logits(outputs.logits, constants)


def spread_loss(logits: jax.Array, temperature: jax.Array) -> jax.Array:
    """Computes the auxiliary loss of every row, [batch]: low when rows differ from one another.

    `log mean_j exp(<z_i, z_j> / (K T)) - 1 / T` of rows standardised over their K logits, between
    about -1 / T and 0, which is reached when all rows are alike (section 3.1).

    Args:
        logits: [batch, outputs].
        temperature: [], the paper's T of this loss.
    """
    wide = logits.astype(jnp.float32)
    # Divided first: the squares of very large logits are beyond float32.
    wide = wide / jnp.maximum(jnp.abs(wide).max(axis=-1, keepdims=True), 1.0)
    wide = wide - wide.mean(axis=-1, keepdims=True)
    rows = wide * jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + _EPSILON)
    alike = rows @ rows.T / (logits.shape[-1] * temperature)
    return jax.nn.logsumexp(alike, axis=-1) - 1 / temperature - jnp.log(float(len(logits)))


def teacher_loss(
    inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters
) -> LossOutput:
    """Computes the label's cross-entropy plus the weighted auxiliary loss, [batch]."""
    hard = label_cross_entropy(
        class_logits(inputs.logits, constants), inputs.label, hyperparameters["label_smoothing"]
    )
    apart = spread_loss(inputs.logits, hyperparameters["auxiliary_temperature"])
    return LossOutput(
        hard + hyperparameters["auxiliary_weight"] * apart, {"hard": hard, "auxiliary": apart}
    )


def loss(inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters) -> LossOutput:
    """Computes `T^2 CE(softmax(z_t / T), softmax(z_s / T))` over all subclasses, mixed, [batch]."""
    assert inputs.teacher_logits is not None
    temperature = hyperparameters["temperature"]
    shape = (len(inputs.logits), *constants["column_mask"].shape)
    teacher = inputs.teacher_logits.astype(jnp.float32) / temperature
    target = jax.nn.log_softmax(teacher).reshape(shape)
    # A label names a class and no subclass: it is mixed into the class, whose split stays.
    of_class = jax.nn.logsumexp(target, axis=-1)
    given_class = target - of_class[..., None]
    target = base.mix_in_label(of_class, inputs.label, hyperparameters)[..., None] + given_class
    soft = temperature**2 * base.cross_entropy(
        jnp.exp(target).reshape(len(inputs.logits), -1), inputs.logits / temperature
    )
    return combine_with_label_loss(
        inputs, hyperparameters, soft, class_logits(inputs.logits, constants)
    )


def teacher_constants(classes: int, static: Mapping[str, Value]) -> Mapping[str, np.ndarray]:
    """Makes the teacher's `column_mask`, [classes, subclasses]."""
    return {"column_mask": np.ones((classes, int(static["num_subclasses"])), bool)}


def prepare(seen: Seen, static: Mapping[str, Value]) -> Mapping[str, np.ndarray]:
    """Makes the student's `column_mask`, the same."""
    return teacher_constants(seen.classes, static)


def make_own_teacher(*, frozen_trunk: bool) -> OwnTeacher:
    """Builds the teacher that has subclasses.

    Args:
        frozen_trunk: Whether it is a new output layer on the experiment's teacher.
    """
    return OwnTeacher(
        hyperparameters=("num_subclasses", "auxiliary_weight", "auxiliary_temperature"),
        loss=teacher_loss,
        readout=readout,
        num_outputs=lambda classes, static: classes * int(static["num_subclasses"]),
        constants=teacher_constants,
        frozen_trunk=frozen_trunk,
    )


SUBCLASS_DISTILLATION = Method(
    name="subclass_distillation",
    reference="Müller, Kornblith and Hinton, Subclass Distillation, arXiv 2002.03936, 2020",
    search_space=SEARCH_SPACE,
    loss=loss,
    prepare=prepare,
    readout=readout,
    teacher=make_own_teacher(frozen_trunk=False),
)

# From the very teacher that the other methods have: only a new output layer is trained on its
# embedding, so that what the student gains comes from the subclasses, not from another teacher.
SUBCLASS_MATCHED = Method(
    name="subclass_matched",
    reference="Müller, Kornblith and Hinton, arXiv 2002.03936, with the teacher's trunk kept",
    search_space=SEARCH_SPACE,
    loss=loss,
    prepare=prepare,
    readout=readout,
    teacher=make_own_teacher(frozen_trunk=True),
)
