"""SLaM: student-label mixing for teachers that err (Kontonis et al., arXiv 2302.03806).

The teacher is right about a row with probability alpha, the row's trust, and if not, the truth is
another one of its k most probable classes, the candidates. So its answer is not compared with the
student's probabilities f but with those that f gives the answer of such a teacher (remark B.1):

    mix(f) = alpha f + (1 - alpha) (1 - f) * candidates / (k - 1)

and the loss is the cross-entropy of the teacher's probabilities with mix(f). The student is
deployed with f itself. With alpha = 1 this is plain distillation, with two classes the forward
correction with the noise matrix [[alpha, 1 - alpha], [1 - alpha, alpha]] (Patrini et al., arXiv
1609.03683). The authors' experiments leave out the divisor, which changes nothing with two classes.

Trust and k are estimated on validation rows, for which the truth is known.

With pseudo-subclasses the correction acts on classes, of which alone it is known whether the
teacher is right. The student's log-probabilities `l_cs` are folded to `l_c = logsumexp_s l_cs`,
mixed to `m_c = log mix(exp l)_c`, and unfolded with each class's split as it is:
`l_cs + (m_c - l_c)`. Summed over s their exponentials are `exp(m_c)`. With LELP's targets
`p_c q_s|c` the loss `-sum p_c q_s|c (l_cs + m_c - l_c)` is then
`-sum_c p_c m_c - sum_cs p_c q_s|c log(f_cs / f_c)`: SLaM's loss of the classes, and that of the
split as without the correction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core.constraints import POSITIVE_SHARE
from lelp_jax.core.search_space import Hyperparameter, Value
from lelp_jax.methods.base import (
    Constants,
    Hyperparameters,
    Loss,
    LossInputs,
    LossOutput,
    Method,
    Mixing,
    Seen,
)

# The candidates are as few as hold the true class of this share of validation rows.
_TOP_ACCURACY = 0.95
_MARGIN, _TRUST = "slam_margin", "slam_trust"
CANDIDATES, _DIVISOR = "slam_candidates", "slam_divisor"
CONSTANTS = (_MARGIN, _TRUST, CANDIDATES, _DIVISOR)

SEARCH_SPACE: Mapping[str, Hyperparameter] = {
    "trust_floor": Hyperparameter(
        "Lower bound of the probability that the teacher is taken to be right about a row.",
        Annotated[float, POSITIVE_SHARE],
        (0.5,),
        traced=True,
    ),
    "normalize_mixing": Hyperparameter(
        "Divide the probability of the other candidates by how many there are.", bool, (True,)
    ),
}


def mix(log_probability: jax.Array, mixing: Mixing | None) -> jax.Array:
    """Mixes the student's log-probabilities; without a mixing they stay as they are.

    In log space throughout: probabilities of 0 and 1 in float32 give finite values and gradients.

    Args:
        log_probability: log f, [..., batch, classes] float32.
        mixing: Trust and candidates of the rows.

    Returns:
        The logarithm of the mixed probabilities, of the same shape.
    """
    if mixing is None:
        return log_probability
    # 1 - f of the most probable class is the sum of the others; any other f is at most 1/2.
    largest = jnp.argmax(log_probability, axis=-1, keepdims=True)
    largest = jnp.arange(log_probability.shape[-1]) == largest
    others = jax.nn.logsumexp(jnp.where(largest, -jnp.inf, log_probability), axis=-1, keepdims=True)
    # Both branches of `where` are differentiated, so each has to be finite everywhere.
    small = jnp.exp(jnp.where(largest, -1.0, log_probability))
    complement = jnp.where(largest, others, jnp.log1p(-small))
    wrong = complement + (jnp.log1p(-mixing.trust) - jnp.log(mixing.divisor))[:, None]
    wrong = jnp.where(mixing.candidates, wrong, -jnp.inf)
    return jnp.logaddexp(jnp.log(mixing.trust)[:, None] + log_probability, wrong)


@jax.jit
def find_margin(logits: jax.Array) -> jax.Array:
    """Computes the difference of the two largest probabilities of each row, [rows] float32.

    Args:
        logits: [rows, classes].
    """
    probability = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    largest = jnp.max(probability, axis=-1, keepdims=True)
    first = jnp.arange(logits.shape[-1]) == jnp.argmax(probability, axis=-1)[:, None]
    return largest[:, 0] - jnp.max(jnp.where(first, 0.0, probability), axis=-1)


def find_trust(
    teacher_logits: jax.Array | np.ndarray, constants: Constants, hyperparameters: Hyperparameters
) -> jax.Array:
    """Finds the probability that the teacher is right about each row, [rows] float32.

    Args:
        teacher_logits: [rows, classes].
        constants: Of `fit`: the trust is interpolated between the margins of validation rows.
        hyperparameters: `trust_floor`.
    """
    margin = find_margin(jnp.asarray(teacher_logits))
    trust = jnp.interp(margin, constants[_MARGIN], constants[_TRUST])
    return jnp.clip(trust, hyperparameters["trust_floor"], 1.0)


def find_mixing(
    teacher_logits: jax.Array, constants: Constants, hyperparameters: Hyperparameters
) -> Mixing:
    """Finds trust and candidates of rows.

    Args:
        teacher_logits: [batch, classes].
        constants: Of `fit`.
        hyperparameters: `trust_floor`.
    """
    trust = find_trust(teacher_logits, constants, hyperparameters)
    # Ranked by comparing all pairs, as classes are few; among equal logits the first class leads.
    logits, number = teacher_logits.astype(jnp.float32), jnp.arange(teacher_logits.shape[-1])
    above = logits[:, None, :] > logits[:, :, None]
    tied = (logits[:, None, :] == logits[:, :, None]) & (number[None, :] < number[:, None])
    candidates = jnp.sum(above | tied, axis=-1) < constants[CANDIDATES]
    return Mixing(trust, candidates, constants[_DIVISOR])


def fit(logits: np.ndarray, label: np.ndarray, *, normalize: bool) -> dict[str, np.ndarray]:
    """Fits the teacher's accuracy as a rising function of its margin, and finds k.

    Args:
        logits: The teacher's, of validation rows, [rows, classes].
        label: Their classes, [rows].
        normalize: Whether the mixing is divided by k - 1.

    Returns:
        Margins, rising, and the accuracy at each, [rows] float32, the last ones repeated; k, []
        int32, at least 2 and at most the number of classes; and the divisor, [] float32.
    """
    from sklearn.isotonic import IsotonicRegression

    margin = np.asarray(find_margin(jnp.asarray(logits)), np.float64)
    rank = (logits > np.take_along_axis(logits, label[:, None], axis=1)).sum(axis=1)
    right = logits.argmax(axis=1) == label
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(margin, right.astype(np.float64))
    # How many steps the function has differs from teacher to teacher, but members of a fleet share
    # all shapes.
    missing = (0, len(label) - len(fitted.X_thresholds_))
    accuracy = np.array([(rank < k).mean() for k in range(2, logits.shape[1] + 1)])
    candidates = 2 + int(np.argmax(accuracy >= _TOP_ACCURACY))
    return {
        _MARGIN: np.pad(fitted.X_thresholds_, missing, mode="edge").astype(np.float32),
        _TRUST: np.pad(fitted.y_thresholds_, missing, mode="edge").astype(np.float32),
        CANDIDATES: np.asarray(candidates, np.int32),
        _DIVISOR: np.asarray(candidates - 1 if normalize else 1, np.float32),
    }


@dataclasses.dataclass(frozen=True)
class _MixedLoss:
    """A method's loss, of the mixed probabilities. Equal ones share one compiled program."""

    plain: Loss

    def __call__(
        self, inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters
    ) -> LossOutput:
        assert inputs.teacher_logits is not None
        mixing = find_mixing(inputs.teacher_logits, constants, hyperparameters)
        return self.plain(inputs._replace(mixing=mixing), constants, hyperparameters)


def correct(method: Method) -> Method:
    """Builds the method that corrects another one for the errors of its teacher.

    Args:
        method: A method that matches class probabilities.
    """

    def prepare(seen: Seen, static: Mapping[str, Value]) -> Mapping[str, np.ndarray]:
        own = method.prepare(seen, static) if method.prepare else {}
        normalize = bool(static["normalize_mixing"])
        fitted = fit(seen.validation_logits, seen.validation_label, normalize=normalize)
        return {**own, **fitted}

    return dataclasses.replace(
        method,
        name=f"{method.name}_slam",
        reference=f"Kontonis et al., SLaM, arXiv 2302.03806, 2023; {method.reference}",
        search_space={**method.search_space, **SEARCH_SPACE},
        loss=_MixedLoss(method.loss),
        prepare=prepare,
        loss_constants=CONSTANTS,
        corrects=method.name,
    )
