"""What a distillation method is: split x loss x readout.

A method answers three questions: into which outputs the teacher's knowledge is divided (split),
how the student learns them (loss), and how classes are read out of the student again (readout).
LELP with C classes and S pseudo-subclasses of each, for a row with the teacher's logits z [C] and
embedding h:

    split     r = projector(h), scores [C, S]
              p_cs = softmax(z / tau)_c  softmax(r_c / beta)_s          targets, [C, S]
    loss      g = student(x), logits [C, S]
              (1 - alpha) tau^2 CE(p, softmax(g / tau)) + alpha CE(label, softmax(readout(g)))
    readout   tau logsumexp_s(g_cs / tau)                               class logits, [C]

Each factor is exchanged on its own, and most methods are a choice of three:

    method                 split              loss                      readout
    lelp                   LELP's directions  cross-entropy             logsumexp
    soft_kmeans, oracle    another projector  the same                  the same
    lelp_dist              LELP's directions  relations (DIST)          the same
    lelp_standardized      LELP's directions  of standardised logits    of standardised logits
    subclass_distillation  a teacher's own    cross-entropy             logsumexp at tau = 1
    kd                     none (S = 1)       cross-entropy             identity
    dkd, ttm, dist, ...    none               another of z and g        identity
    fitnet, rkd, crd, ...  none               kd, and a term of h       identity
    simkd                  none               regression of h           the teacher's output layer
    labels                 none               cross-entropy with label  identity

A teacher that errs can be corrected for in every method whose loss is a cross-entropy of class
probabilities: `slam` changes the student's probabilities before they are compared, `weighted` the
weight of each row. Both make a method of a method ("lelp_slam"), whose split and readout stay.

With S = 1 the inner softmax is 1 and the logsumexp the logit itself: LELP becomes kd. That is why a
split is compared with kd at equal loss, and with `random_split` at equal loss, readout and width.

In code a split is `Method.projector` (a room of its own, lelp_jax/projection), and loss and readout
are pure functions of one batch of one student; `train` vectorises them over the members of a fleet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import search_space
from lelp_jax.core.search_space import Hyperparameter, Value
from lelp_jax.models.outputs import Outputs
from lelp_jax.projection.base import Projector

Hyperparameters = Mapping[str, Any]
Constants = Mapping[str, Any]
Params = Mapping[str, Any]


class TeacherRows(NamedTuple):
    """What targets are computed from: the teacher's outputs for some rows.

    Attributes:
        label: Class, [rows] int32; -1 where unknown.
        teacher_logits: [rows, classes].
        scores: Pseudo-subclass scores, [rows, classes, subclasses], for several splits at once
            [rows, heads, classes, subclasses]; -inf where a row cannot belong.
    """

    label: jax.Array
    teacher_logits: jax.Array
    scores: jax.Array


class Mixing(NamedTuple):
    """How the answers of a teacher that errs follow from the truth; see `slam`.

    Attributes:
        trust: Probability that the teacher is right about a row, [batch] float32 in (0, 1].
        candidates: Classes that are the truth if it is not, [batch, classes] bool.
        divisor: Divides the probability of the other candidates, [] float32.
    """

    trust: jax.Array
    candidates: jax.Array
    divisor: jax.Array


class LossInputs(NamedTuple):
    """What a loss sees of one batch of one student.

    Attributes:
        logits: Student's output layer, [batch, outputs].
        label: Class, [batch] int32; -1 where unknown.
        teacher_logits: [batch, classes], or as many as the method's own teacher has outputs; None
            for methods without a teacher.
        target: What the method's `targets` computed for these rows, [batch, outputs]; None for
            methods without.
        embedding: What the student's output layer sees, [batch, dims].
        teacher_embedding: [batch, teacher dims]; None unless the method uses it.
        extra: The method's own parameters, as its `init` made them.
        state: The method's own state, as its `init_state` made it or the step before left it.
        position: Which of the rows that the student may see, [batch] int32.
        progress: Share of the training that is done, [] in [0, 1).
        key: Random key of this step.
        mixing: Turns the student's class probabilities into those of the teacher's answer before
            they are compared; None compares them as they are.
    """

    logits: jax.Array
    label: jax.Array
    teacher_logits: jax.Array | None = None
    target: jax.Array | None = None
    embedding: jax.Array | None = None
    teacher_embedding: jax.Array | None = None
    extra: Params | None = None
    state: Any = None
    position: jax.Array | None = None
    progress: jax.Array | float = 0.0
    key: jax.Array | None = None
    mixing: Mixing | None = None


class LossOutput(NamedTuple):
    """An unreduced loss.

    Attributes:
        per_example: What is minimised, [batch]; a term of the whole batch is repeated.
        terms: Its named parts for the log, each [batch].
        state: The method's own state after this step.
    """

    per_example: jax.Array
    terms: Mapping[str, jax.Array]
    state: Any = None


class Dims(NamedTuple):
    """Sizes that a method's own parameters and state may depend on.

    Attributes:
        classes: Number of classes.
        embedding: Dims of the student's embedding.
        teacher_embedding: Dims of the teacher's embedding, 0 where the method does not use it.
        rows: How many rows a student may see, at most.
    """

    classes: int
    embedding: int
    teacher_embedding: int
    rows: int


class Seen(NamedTuple):
    """What a method may prepare its constants from: the rows that one student may see.

    Attributes:
        label: Class, [rows] int32; -1 where unknown.
        teacher_logits: [rows, teacher outputs].
        teacher_embedding: [rows, teacher dims]; None unless the method uses it.
        output_weights: Weights of the teacher's output layer, [teacher dims, teacher outputs].
        classes: Number of classes.
        capacity: The most rows that a student of the fleet may see; arrays with one entry per row
            are padded to it.
        validation_label: Class of the validation rows, [validation rows] int32.
        validation_logits: The teacher's logits of these, [validation rows, teacher outputs].
    """

    label: np.ndarray
    teacher_logits: np.ndarray
    teacher_embedding: np.ndarray | None
    output_weights: np.ndarray
    classes: int
    capacity: int
    validation_label: np.ndarray
    validation_logits: np.ndarray


class Verdict(NamedTuple):
    """What is known of a method before it is trained.

    Attributes:
        kind: "ok"; "refused" where it cannot teach anything; "same_as" where it is another method.
        method: That other method.
        note: The reason.
    """

    kind: Literal["ok", "refused", "same_as"]
    method: str | None
    note: str

    @property
    def status(self) -> str:
        """The status in results.jsonl: "ok", "refused" or "equals:METHOD"."""
        return f"equals:{self.method}" if self.kind == "same_as" else self.kind


Loss = Callable[[LossInputs, Constants, Hyperparameters], LossOutput]
Targets = Callable[[TeacherRows, Hyperparameters], jax.Array]
Readout = Callable[[Outputs, Params, Constants, Hyperparameters], jax.Array]


def identity_readout(
    outputs: Outputs, extra: Params, constants: Constants, hyperparameters: Hyperparameters
) -> jax.Array:
    """Reads out the logits: one output per class."""
    del extra, constants, hyperparameters
    return outputs.logits


@dataclasses.dataclass(frozen=True)
class OwnTeacher:
    """A teacher that a method trains for itself.

    Attributes:
        hyperparameters: Those of the method's static ones that it depends on. Numbers among them
            are passed to its loss.
        loss: Unreduced loss of a batch, without a teacher of its own.
        readout: Turns its outputs into class logits.
        num_outputs: Width of its output layer, of the number of classes and the static
            hyperparameters.
        constants: The arrays that loss and readout take, of the same.
        frozen_trunk: Whether it is a new output layer on the embedding of the experiment's
            teacher, and not a network trained anew.
    """

    hyperparameters: tuple[str, ...]
    loss: Loss
    readout: Readout
    num_outputs: Callable[[int, Mapping[str, Value]], int]
    constants: Callable[[int, Mapping[str, Value]], Mapping[str, np.ndarray]]
    frozen_trunk: bool


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train a student.

    Attributes:
        name: The name in configs and results.
        reference: Where it was published.
        search_space: Every hyperparameter with its default values to try.
        loss: Unreduced loss of a batch.
        uses_teacher: Whether it reads the bank.
        uses_labels: Whether rows without a label are of no use to it.
        uses_embedding: Whether its loss reads the teacher's embedding.
        corrigible: Whether corrections for a teacher that errs are defined for it: its loss is a
            cross-entropy with the teacher's class probabilities that passes the student's through
            `slam.mix`.
        projector: Splits classes into pseudo-subclasses, for the methods that do.
        targets: Computes the loss's `target` of each row, [rows, outputs], for the methods that
            split classes. It is no part of the loss so that the targets of rows that a fleet sees
            many times are computed once.
        prepare: `(seen, static hyperparameters) -> constants`, arrays of the same shapes for all
            students of a fleet, besides the projection's `column_mask`. Never trained or decayed.
        init: `(key, dims) -> extra`, parameters of its own, trained with the student.
        init_state: `(key, dims) -> state`, state of its own, which its loss hands on.
        readout: Turns the student's outputs into class logits, [batch, classes]; used for
            prediction, metrics and export alike. If it is not the identity, `extra` and the
            constants are part of the exported student.
        teacher: The teacher that the method trains for itself, if it does.
        verdict: What is known of it for a number of classes; None says it is an ordinary method.
        loss_constants: Names of the constants that the loss alone reads; exports leave them out.
        first: The method whose selected student of the same replicate is trained before, and says
            how much each row weighs in the loss (`weighted`); None weighs all rows alike.
        corrects: Name of the method that it corrects, whose trials it repeats; "" for a plain one.
    """

    name: str
    reference: str
    search_space: Mapping[str, Hyperparameter]
    loss: Loss
    uses_teacher: bool = True
    uses_labels: bool = False
    uses_embedding: bool = False
    corrigible: bool = False
    projector: Projector | None = None
    targets: Targets | None = None
    prepare: Callable[[Seen, Mapping[str, Value]], Mapping[str, np.ndarray]] | None = None
    init: Callable[[jax.Array, Dims], Params] | None = None
    init_state: Callable[[jax.Array, Dims], Any] | None = None
    readout: Readout = identity_readout
    teacher: OwnTeacher | None = None
    verdict: Callable[[int], Verdict | None] = lambda classes: None
    loss_constants: tuple[str, ...] = ()
    first: Method | None = None
    corrects: str = ""


# What every method that learns from a teacher's probabilities may be told.
COMMON: Mapping[str, Hyperparameter] = {
    "learning_rate": search_space.LEARNING_RATE,
    "weight_decay": search_space.WEIGHT_DECAY,
    "alpha": search_space.ALPHA,
    "label_smoothing": search_space.LABEL_SMOOTHING,
    "hard_mixing": search_space.HARD_MIXING,
    "warmup": search_space.WARMUP,
}


def mix_in_label(
    log_probability: jax.Array, label: jax.Array, hyperparameters: Hyperparameters
) -> jax.Array:
    """Gives the label a share of the teacher's probabilities, log [batch, classes].

    A row becomes `(1 - hard_mixing) p + hard_mixing onehot(label)`; without a label it stays.

    Args:
        log_probability: [batch, classes] float32.
        label: [batch] int32.
        hyperparameters: `hard_mixing`, in [0, 1).
    """
    share = hyperparameters["hard_mixing"]
    own = jnp.arange(log_probability.shape[-1]) == label[:, None]
    mixed = jnp.logaddexp(
        jnp.log1p(-share) + log_probability, jnp.where(own, jnp.log(share), -jnp.inf)
    )
    return jnp.where(label[:, None] >= 0, mixed, log_probability)


def cross_entropy(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Computes `-sum(target * log_softmax(logits))` over the last axis, in float32.

    Args:
        target: Probabilities, [batch, outputs].
        logits: [batch, outputs].
    """
    return -jnp.sum(target * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)


def label_cross_entropy(
    class_logits: jax.Array, label: jax.Array, smoothing: jax.Array | float = 0.0
) -> jax.Array:
    """Computes the cross-entropy with the label, [batch]; 0 where the label is -1.

    Args:
        class_logits: [batch, classes].
        label: [batch] int32.
        smoothing: Share of the target that is spread evenly over all classes, in [0, 1) (Szegedy
            et al., arXiv 1512.00567, section 7).
    """
    # The batch comes last, so that reductions over the few classes are vectorised over it.
    log_probability = jax.nn.log_softmax(class_logits.T.astype(jnp.float32), axis=0)
    own = jnp.arange(len(log_probability))[:, None] == label
    # Not one_hot(label) * log_probability: 0 * -inf is NaN on extreme logits.
    picked = jnp.where(own, log_probability, 0.0).sum(axis=0)
    smoothed = (1 - smoothing) * picked + smoothing * log_probability.mean(axis=0)
    return jnp.where(label >= 0, -smoothed, 0.0)


def warmup_weight(inputs: LossInputs, hyperparameters: Hyperparameters) -> jax.Array:
    """Computes the weight of what is warmed up: from 0 to 1 over the first `warmup` of training."""
    length = hyperparameters["warmup"]
    # Both branches of `where` are computed: the quotient has to be finite without a warm-up, too.
    return jnp.where(length > 0, jnp.minimum(inputs.progress / jnp.maximum(length, 1e-9), 1.0), 1.0)


def combine_with_label_loss(
    inputs: LossInputs,
    hyperparameters: Hyperparameters,
    soft: jax.Array,
    class_logits: jax.Array,
) -> LossOutput:
    """Computes `(1 - alpha) w soft + alpha hard` (LELP, eq. 1), with w the `warmup_weight`.

    Args:
        inputs: The batch.
        hyperparameters: `alpha`, the weight of the label in [0, 1], `label_smoothing` and `warmup`.
        soft: What is learnt from the teacher, [batch].
        class_logits: The student's, as its readout gives them, [batch, classes].
    """
    hard = label_cross_entropy(class_logits, inputs.label, hyperparameters["label_smoothing"])
    alpha = hyperparameters["alpha"]
    total = (1 - alpha) * warmup_weight(inputs, hyperparameters) * soft + alpha * hard
    return LossOutput(total, {"soft": soft, "hard": hard}, inputs.state)
