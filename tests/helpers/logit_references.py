"""Small problems for the logit methods, and their losses in NumPy and float64."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.methods import METHODS
from lelp_jax.methods.base import LossInputs, TeacherRows
from tests.helpers.softmax import softmax

ROWS, SUBCLASSES = 8, 3
CLASSES = (2, 3, 10)
SPLITTING = ("lelp_dist", "lelp_standardized")
NAMES = ("dkd", "ttm", "wttm", "nkd", "dist", "logit_standardization", *SPLITTING)
EVERYTHING = {
    "temperature": 2.5,
    "beta": 0.7,
    "alpha": 0.3,
    "label_smoothing": 0.1,
    "hard_mixing": 0.2,
    "warmup": 0.5,
    "target_weight": 0.6,
    "nontarget_weight": 3.0,
    "inter_weight": 0.7,
    "intra_weight": 1.4,
}


class Problem(NamedTuple):
    logits: np.ndarray
    label: np.ndarray
    teacher_logits: np.ndarray
    scores: np.ndarray | None
    constants: dict[str, np.ndarray]


def problem(name: str, classes: int, subclasses: int = SUBCLASSES) -> Problem:
    random = np.random.default_rng(classes)
    teacher_logits = random.normal(size=(ROWS, classes)).astype(np.float32) * 2
    scores, constants, outputs = None, {}, classes
    if name in SPLITTING:
        scores = random.normal(size=(ROWS, classes, subclasses)).astype(np.float32)
        constants = {"column_mask": np.ones((classes, subclasses), bool)}
        outputs = classes * subclasses
    logits = random.normal(size=(ROWS, outputs)).astype(np.float32) * 2
    # Two rows have no label; most others have not the teacher's most probable class.
    label = np.where(np.arange(ROWS) % 4 == 3, -1, np.arange(ROWS) % classes).astype(np.int32)
    return Problem(logits, label, teacher_logits, scores, constants)


def hyperparameters(name: str, **given_values: float) -> dict[str, Any]:
    """Returns the method's own traced settings, and no other: a loss may read nothing else."""
    known = METHODS[name].search_space
    values = {key: setting.default[0] for key, setting in known.items() if setting.traced}
    values["alpha"] = 0.0
    values.update({key: value for key, value in given_values.items() if key in known})
    return {key: jnp.float32(value) for key, value in values.items()}


def make_target(name: str, label: Any, teacher_logits: Any, scores: Any, values: Any) -> Any:
    """Computes the targets of a method's loss, [rows, outputs]; None for methods without."""
    targets = METHODS[name].targets
    return targets and targets(TeacherRows(label, teacher_logits, scores), values)


@functools.partial(jax.jit, static_argnums=0)
def _loss_and_gradient(name, case, values, progress):
    def total(logits):
        target = make_target(name, case.label, case.teacher_logits, case.scores, values)
        batch = LossInputs(logits, case.label, case.teacher_logits, target, progress=progress)
        result = METHODS[name].loss(batch, case.constants, values)
        return result.per_example.sum(), result

    (_, result), gradient = jax.value_and_grad(total, has_aux=True)(case.logits)
    return result.per_example, result.terms, gradient.astype(jnp.float32)


def evaluate(
    name: str, case: Problem, progress: float = 0.0, **values: float
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    answer = _loss_and_gradient(name, case, hyperparameters(name, **values), jnp.float32(progress))
    return jax.tree.map(np.asarray, answer)


def divergence(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first * np.log(first / second)).sum(axis=-1)


def entropy(probability: np.ndarray) -> np.ndarray:
    return -(probability * np.log(probability)).sum(axis=-1)


def standard(values: np.ndarray) -> np.ndarray:
    deviation = values.std(axis=1, ddof=1, keepdims=True)
    return (values - values.mean(axis=1, keepdims=True)) / (1e-7 + deviation)


def relations(student: np.ndarray, teacher: np.ndarray, values: dict[str, float]) -> np.ndarray:
    def correlation(axis: int) -> np.ndarray:
        first, second = (p - p.mean(axis, keepdims=True) for p in (student, teacher))
        products = [(a * b).sum(axis) for a, b in ((first, second), (first, first), (second,) * 2)]
        return products[0] / np.sqrt(products[1] * products[2])

    rows, columns = correlation(1), correlation(0).mean()
    return values["inter_weight"] * (1 - rows) + values["intra_weight"] * (1 - columns)


def soft_reference(
    name: str, case: Problem, values: dict[str, float], student: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what is learnt from the teacher and the class logits, from probabilities."""
    tau, share = values["temperature"], values["hard_mixing"]
    teacher = case.teacher_logits.astype(np.float64)
    row = np.arange(len(student))
    label = np.where(case.label >= 0, case.label, teacher.argmax(axis=1))

    def with_label(probability: np.ndarray) -> np.ndarray:
        mixed = (1 - share) * probability + share * np.eye(teacher.shape[1])[label]
        return np.where(case.label[:, None] >= 0, mixed, probability)

    def others(probability: np.ndarray) -> np.ndarray:
        kept = probability[np.eye(teacher.shape[1])[label] == 0].reshape(len(label), -1)
        return kept / kept.sum(axis=1, keepdims=True)

    target, given_ = with_label(softmax(teacher / tau)), softmax(student / tau)
    if name == "dkd":
        binary = [np.stack([p[row, label], 1 - p[row, label]], 1) for p in (target, given_)]
        return tau**2 * (
            values["target_weight"] * divergence(*binary)
            + values["nontarget_weight"] * divergence(others(target), others(given_))
        ), student
    if name in ("ttm", "wttm"):
        weight = (softmax(teacher) ** (1 / tau)).sum(axis=1) if name == "wttm" else 1.0
        return -weight * (target * np.log(softmax(student))).sum(axis=1), student
    if name == "nkd":
        plain, own = with_label(softmax(teacher)), softmax(student)
        second = -(others(softmax(teacher / tau)) * np.log(others(given_))).sum(axis=1)
        first = -plain[row, label] * np.log(own[row, label])
        return first + values["nontarget_weight"] * tau**2 * second, student
    if name == "dist":
        return tau**2 * relations(given_, target, values), student
    if name == "logit_standardization":
        target = with_label(softmax(standard(teacher) / tau))
        return -(tau**2) * (target * np.log(softmax(standard(student) / tau))).sum(1), student
    assert case.scores is not None
    split = softmax(case.scores.astype(np.float64) / values["beta"])
    target = (target[:, :, None] * split).reshape(len(student), -1)
    if name == "lelp_dist":
        soft = tau**2 * relations(given_, target, values)
    else:
        student, target = standard(student), softmax(standard(np.log(target)) / tau)
        soft = -(tau**2) * (target * np.log(softmax(student / tau))).sum(axis=1)
    columns = student.reshape(split.shape) / tau
    return soft, tau * np.log(np.exp(columns).sum(axis=-1))


def loss_reference(
    name: str, case: Problem, values: dict[str, float], progress: float, logits: np.ndarray
) -> np.ndarray:
    soft, class_logits = soft_reference(name, case, values, logits)
    log_probability = np.log(softmax(class_logits))
    share = values["label_smoothing"]
    picked = log_probability[np.arange(len(logits)), case.label]
    hard = -(1 - share) * picked - share * log_probability.mean(axis=1)
    hard = np.where(case.label >= 0, hard, 0)
    rise = min(progress / values["warmup"], 1) if values["warmup"] else 1.0
    return (1 - values["alpha"]) * rise * soft + values["alpha"] * hard


def finite_differences(*arguments: Any, logits: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Returns the gradient of the summed `loss_reference`, of the same arguments but the last."""
    gradient = np.zeros(logits.shape)
    for place in np.ndindex(*logits.shape):
        moved = np.zeros(logits.shape)
        moved[place] = step
        above = loss_reference(*arguments, logits + moved).sum()
        gradient[place] = (above - loss_reference(*arguments, logits - moved).sum()) / (2 * step)
    return gradient
