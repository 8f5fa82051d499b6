"""The feature methods written plainly in NumPy and float64, and a problem to compare them on."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.methods import METHODS, crd
from lelp_jax.methods.base import Dims, LossInputs, Seen
from tests.helpers.softmax import log_softmax

NAMES = ("embedding_mse", "embedding_cosine", "fitnet", "vid", "rkd", "crd", "cka", "simkd")
ROWS, CAPACITY, BATCH, STUDENT, TEACHER = 40, 44, 12, 5, 7
# The warm-up is over by two fifths.
PROGRESS = 0.2
NUMERIC = {
    "temperature": 2.0,
    "alpha": 0.3,
    "label_smoothing": 0.1,
    "hard_mixing": 0.2,
    "warmup": 0.5,
    "loss_weight": 1.7,
    "hint_share": 0.0,
    "contrast_temperature": 0.07,
}
STATIC = {"negatives": "other_class"}


class Problem(NamedTuple):
    inputs: LossInputs
    constants: dict[str, np.ndarray]
    seen: Seen


@functools.cache
def problem(name: str, classes: int) -> Problem:
    """Returns the first batch of a student whose teacher is linear in its embedding."""
    random = np.random.default_rng(classes)
    embedding = (3 + 2 * random.normal(size=(ROWS, TEACHER))).astype(np.float32)
    weights = random.normal(size=(TEACHER, classes)).astype(np.float32)
    label = np.where(np.arange(ROWS) % 7 == 3, -1, np.arange(ROWS) % classes).astype(np.int32)
    logits = embedding @ weights + np.arange(classes, dtype=np.float32)
    seen = Seen(label, logits, embedding, weights, classes, CAPACITY, label, logits)
    method = METHODS[name]
    dims = Dims(classes, STUDENT, TEACHER, CAPACITY)
    key = jax.random.key(classes)
    position = random.choice(ROWS, BATCH, replace=False).astype(np.int32)
    inputs = LossInputs(
        logits=random.normal(size=(BATCH, classes)).astype(np.float32),
        label=label[position],
        teacher_logits=logits[position],
        embedding=random.normal(size=(BATCH, STUDENT)).astype(np.float32),
        teacher_embedding=embedding[position],
        extra=None if method.init is None else jax.jit(method.init, static_argnums=1)(key, dims),
        state=None if method.init_state is None else method.init_state(key, dims),
        position=position,
        progress=PROGRESS,
        key=key,
    )
    constants = {} if method.prepare is None else method.prepare(seen, STATIC)
    return Problem(inputs, jax.tree.map(jnp.asarray, dict(constants)), seen)


def hyperparameters(**changes: float) -> dict[str, jax.Array]:
    return {name: jnp.float32(value) for name, value in {**NUMERIC, **changes}.items()}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(name: str, inputs: LossInputs, constants: Any, values: Any) -> Any:
    """Returns the loss's output, and the gradient of its sum in everything that could be moved."""

    def total(moved: dict[str, Any]) -> Any:
        result = METHODS[name].loss(inputs._replace(**moved), constants, values)
        return result.per_example.sum(), result

    moved = {
        part: getattr(inputs, part)
        for part in ("logits", "embedding", "extra", "teacher_embedding")
    }
    (_, result), gradient = jax.value_and_grad(total, has_aux=True)(moved)
    return result, gradient


def run(name: str, classes: int = 2, values: Any = None, **changes: Any) -> Any:
    case = problem(name, classes)
    changes = jax.tree.map(jnp.asarray, changes)
    return evaluate(
        name, case.inputs._replace(**changes), case.constants, values or hyperparameters()
    )


def feature(name: str, **changes: Any) -> np.ndarray:
    return np.asarray(run(name, **changes)[0].terms["feature"])


def hard_loss(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    classes = logits.shape[1]
    smoothing = NUMERIC["label_smoothing"]
    target = (1 - smoothing) * np.eye(classes)[label] + smoothing / classes
    return np.where(label >= 0, -(target * log_softmax(logits)).sum(axis=1), 0)


def soft_loss(logits: np.ndarray, teacher_logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    tau, share = NUMERIC["temperature"], NUMERIC["hard_mixing"]
    target = np.exp(log_softmax(teacher_logits / tau))
    mixed = (1 - share) * target + share * np.eye(target.shape[1])[label]
    target = np.where(label[:, None] >= 0, mixed, target)
    return -(tau**2) * (target * log_softmax(logits / tau)).sum(axis=1)


def linear(parameters: Any, rows: np.ndarray) -> np.ndarray:
    return rows @ parameters["kernel"] + parameters["bias"]


def regression(wanted: np.ndarray, rows: np.ndarray, extra: Any) -> np.ndarray:
    return ((linear(extra, rows) - wanted) ** 2).mean(axis=1)


def cosine(wanted: np.ndarray, rows: np.ndarray, extra: Any) -> np.ndarray:
    predicted = linear(extra, rows)
    lengths = np.linalg.norm(predicted, axis=1) * np.linalg.norm(wanted, axis=1)
    return 1 - (predicted * wanted).sum(axis=1) / lengths


def variational(wanted: np.ndarray, rows: np.ndarray, extra: Any) -> np.ndarray:
    hidden = np.maximum(linear(extra["mean"]["Dense_0"], rows), 0)
    mean = linear(extra["mean"]["Dense_1"], hidden)
    variance = np.log1p(np.exp(extra["raw_variance"])) + 1e-5
    return (((wanted - mean) ** 2 / variance + np.log(variance)) / 2).mean(axis=1)


def relational(wanted: np.ndarray, rows: np.ndarray) -> float:
    """Returns distance and angle terms from all differences, [batch, batch, dims]."""

    def huber(value: np.ndarray) -> np.ndarray:
        size = np.abs(value)
        return np.where(size < 1, size**2 / 2, size - 0.5).mean()

    def distances(points: np.ndarray) -> np.ndarray:
        found = np.linalg.norm(points[:, None] - points, axis=-1)
        return found / found[found > 0].mean()

    def cosines(points: np.ndarray) -> np.ndarray:
        difference = points - points[:, None]
        length = np.linalg.norm(difference, axis=-1, keepdims=True)
        unit = difference / np.where(length > 0, length, 1)
        return np.einsum("ijd,ikd->ijk", unit, unit)

    return huber(distances(rows) - distances(wanted)) + 2 * huber(cosines(rows) - cosines(wanted))


def alignment(wanted: np.ndarray, rows: np.ndarray) -> float:
    """Returns 1 - CKA from the products of features, [dims, other dims]."""
    rows, wanted = rows - rows.mean(axis=0), wanted - wanted.mean(axis=0)
    across = np.linalg.norm(rows.T @ wanted) ** 2
    return 1 - across / (np.linalg.norm(rows.T @ rows) * np.linalg.norm(wanted.T @ wanted))


def contrast(wanted: np.ndarray, rows: np.ndarray, extra: Any, case: Problem) -> np.ndarray:
    """Returns the loss of both sides with explicit lists of negatives and the first batch's Z."""
    position = case.inputs.position
    drawn = np.asarray(crd.draw(case.inputs.key, position, case.constants))
    listed = np.concatenate([position[:, None], drawn], axis=1)
    count, number = drawn.shape
    vectors = {
        "student": linear(extra["student"], rows),
        "teacher": linear(extra["teacher"], wanted),
    }
    result = np.zeros(count)
    for name, other in (("student", "teacher"), ("teacher", "student")):
        memory = np.asarray(case.inputs.state[other], np.float64)[listed]
        unit = vectors[name] / np.linalg.norm(vectors[name], axis=1, keepdims=True)
        score = np.exp(np.einsum("bd,bmd->bm", unit, memory) / NUMERIC["contrast_temperature"])
        chance = score / first_normalizer(case, name)
        noise = number / ROWS
        result -= np.log(chance[:, 0] / (chance[:, 0] + noise))
        result -= np.log(noise / (chance[:, 1:] + noise)).sum(axis=1)
    return result


@functools.cache
def _normalizers(classes: int) -> dict[str, float]:
    case = problem("crd", classes)
    position = case.inputs.position
    drawn = np.asarray(crd.draw(case.inputs.key, position, case.constants))
    listed = np.concatenate([position[:, None], drawn], axis=1)
    extra = float64(case.inputs.extra)
    sides = {"student": float64(case.inputs.embedding), "teacher": standardized(case)}
    found = {}
    for name, other in (("student", "teacher"), ("teacher", "student")):
        vectors = linear(extra[name], sides[name])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        memory = np.asarray(case.inputs.state[other], np.float64)[listed]
        score = np.einsum("bd,bmd->bm", vectors, memory) / NUMERIC["contrast_temperature"]
        found[name] = np.exp(score).mean() * ROWS
    return found


def first_normalizer(case: Problem, name: str) -> float:
    """Returns Z of a side; a constant, so it does not move with finite differences."""
    return _normalizers(case.seen.classes)[name]


def projected(rows: np.ndarray, extra: Any) -> np.ndarray:
    """Returns SimKD's prediction of the standardised embedding."""
    hidden = linear(extra["Dense_0"], rows)
    hidden = hidden - hidden.mean(axis=1, keepdims=True)
    hidden /= np.sqrt((hidden**2).mean(axis=1, keepdims=True) + 1e-6)
    hidden = hidden * extra["LayerNorm_0"]["scale"] + extra["LayerNorm_0"]["bias"]
    return linear(extra["Dense_1"], np.maximum(hidden, 0))


def float64(tree: Any) -> Any:
    return jax.tree.map(lambda array: np.asarray(array, np.float64), tree)


def standardized(case: Problem) -> np.ndarray:
    seen = float64(case.seen.teacher_embedding)
    spread = np.sqrt(seen.var(axis=0).mean())
    return (float64(case.inputs.teacher_embedding) - seen.mean(axis=0)) / spread


def reference(name: str, case: Problem, moved: dict[str, Any]) -> np.ndarray:
    """Returns the loss of every row.

    Args:
        name: The method.
        case: The problem.
        moved: `logits`, `embedding` and `extra` in float64.
    """
    inputs = case.inputs
    wanted, rows, extra = standardized(case), moved["embedding"], moved["extra"]
    alpha, rise = NUMERIC["alpha"], PROGRESS / NUMERIC["warmup"]
    if name == "simkd":
        predicted = projected(rows, extra)
        seen = float64(case.seen.teacher_embedding)
        embedding = predicted * np.sqrt(seen.var(axis=0).mean()) + seen.mean(axis=0)
        class_logits = embedding @ float64(case.seen.output_weights) + np.arange(case.seen.classes)
        soft = ((predicted - wanted) ** 2).mean(axis=1)
        return (1 - alpha) * rise * soft + alpha * hard_loss(class_logits, inputs.label)
    feature = {
        "embedding_mse": lambda: regression(wanted, rows, extra),
        "embedding_cosine": lambda: cosine(wanted, rows, extra),
        "fitnet": lambda: regression(wanted, rows, extra),
        "vid": lambda: variational(wanted, rows, extra),
        "rkd": lambda: relational(float64(inputs.teacher_embedding), rows),
        "crd": lambda: contrast(wanted, rows, extra, case),
        "cka": lambda: alignment(float64(inputs.teacher_embedding), rows),
    }[name]()
    soft = soft_loss(moved["logits"], float64(inputs.teacher_logits), inputs.label)
    hard = hard_loss(moved["logits"], inputs.label)
    return (1 - alpha) * soft + alpha * hard + rise * NUMERIC["loss_weight"] * feature
