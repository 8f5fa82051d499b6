"""Frozen teachers in the step, and what students must learn from them, computed apart."""

import functools
from typing import Any

import jax
import numpy as np

from lelp_jax import models
from lelp_jax.methods import METHODS
from lelp_jax.projection.base import arrays_of
from lelp_jax.projection.centers import Centers
from lelp_jax.projection.linear import LinearProjection
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import Frozen, GroupRows, Members, StepSpec
from lelp_jax.train.step import init_fleet, train_fleet

GROUPS, ROWS, BATCH, CLASSES, SUBCLASSES, DIMS = 2, 12, 8, 2, 3, 7
INPUTS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
STUDENT: dict[str, Any] = {"name": "mlp", "hidden": (5,)}
TEACHER = models.build({"name": "mlp", "hidden": (DIMS,), "dropout": 0.5}, CLASSES)
WHOLE = np.ones((CLASSES, SUBCLASSES), bool)
PARTLY = np.array([[True, True, True], [True, True, False]])
EMBEDDED = ("lelp", "soft_kmeans")
DISTILLING = ("kd", *EMBEDDED, "oracle")
STILL = {"learning_rate": 1e-12, "weight_decay": 0.0}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(GROUPS, *shape)).astype(np.float32)


TEACHERS = {
    "Dense_0": {"kernel": normal(1, 4, DIMS), "bias": normal(2, DIMS)},
    "head": {"kernel": normal(3, DIMS, CLASSES), "bias": normal(4, CLASSES)},
}
PROJECTIONS = {
    "lelp": LinearProjection(
        basis=normal(5, CLASSES, DIMS, SUBCLASSES),
        mean=normal(6, CLASSES, DIMS),
        scale=1 + np.abs(normal(7, CLASSES)),
        explained_variance=np.ones((GROUPS, CLASSES, SUBCLASSES), np.float32),
        column_mask=np.ones((GROUPS, CLASSES, SUBCLASSES), bool),
    ),
    "soft_kmeans": Centers(
        basis=normal(8, CLASSES, DIMS, 2),
        mean=normal(9, CLASSES, DIMS),
        centers=normal(10, CLASSES, SUBCLASSES, 2),
        spread=1 + np.abs(normal(11, CLASSES)),
        soft=np.ones(GROUPS, bool),
        column_mask=np.ones((GROUPS, CLASSES, SUBCLASSES), bool),
    ),
}


def select(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def forward(params: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits and embedding of a network with one hidden layer, in float64."""
    params = jax.tree.map(np.float64, params)
    hidden = np.maximum(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
    return hidden @ params["head"]["kernel"] + params["head"]["bias"], hidden


def splits(group: int, row: np.ndarray) -> np.ndarray:
    """Returns hard scores of rows of the table, [rows, classes, subclasses]."""
    chosen = (7 * row[:, None] + 3 * group + np.arange(CLASSES)) % 2
    return np.where(chosen[:, :, None] == np.arange(SUBCLASSES), 0.0, -np.inf)


def embedded(method: str, group: int, hidden: np.ndarray) -> np.ndarray:
    """Returns scores of embeddings, [rows, classes, subclasses], in float64."""
    arrays = {
        name: values.astype(np.float64)
        for name, values in arrays_of(select(PROJECTIONS[method], group)).items()
    }
    away = hidden[:, None] - arrays["mean"]
    coordinates = np.einsum("ncd,cds->ncs", away, arrays["basis"])
    if method == "lelp":
        return coordinates / arrays["scale"][:, None]
    distance = np.square(coordinates[:, :, None] - arrays["centers"]).sum(axis=-1)
    return -distance / (2 * arrays["spread"][:, None])


def teach(
    method: str, group: int, row: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns what the teacher of a group says of rows that are seen as x, in float64."""
    logits, hidden = forward(select(TEACHERS, group), x)
    if METHODS[method].projector is None:
        return logits, None
    return logits, embedded(method, group, hidden) if method in EMBEDDED else splits(group, row)


def spec_of(
    method: str, *, online: bool, noise: float = 0.0, steps: int = 30, **model: Any
) -> StepSpec:
    chosen = METHODS[method]
    return StepSpec(
        models.build(STUDENT | model, CLASSES * (SUBCLASSES if chosen.projector else 1)),
        chosen.loss,
        chosen.readout,
        OptimizerConfig(),
        steps,
        input_noise=noise,
        teacher=TEACHER if online else None,
    )


def rows_of(method: str, *, online: bool) -> GroupRows:
    random = np.random.default_rng(12)
    row = np.stack([random.permutation(30)[:ROWS] for _ in range(GROUPS)]).astype(np.int32)
    uses_teacher, projector = METHODS[method].uses_teacher, METHODS[method].projector
    told = [teach(method, group, row[group], INPUTS[row[group]]) for group in range(GROUPS)]
    scores = None
    if projector and not (online and method in EMBEDDED):
        scores = np.stack([scores for _, scores in told]).astype(np.float32)
    mask = PARTLY if method == "oracle" else WHOLE
    return GroupRows(
        row=row,
        label=random.integers(-1, 2, (GROUPS, ROWS)).astype(np.int32),
        weight=np.ones((GROUPS, ROWS), np.float32),
        teacher_logits=np.stack([logits for logits, _ in told]).astype(np.float32)
        if uses_teacher and not online
        else None,
        scores=scores,
        constants={"column_mask": np.stack([mask] * GROUPS)} if projector else {},
        frozen=Frozen(TEACHERS, PROJECTIONS.get(method)) if online else None,
    )


def members_of(count: int = 4, **hyperparameters: Any) -> Members:
    values = {
        "learning_rate": np.geomspace(1e-3, 3e-2, count),
        "weight_decay": np.linspace(0, 0.5, count),
        "temperature": np.linspace(1, 4, count),
        "beta": np.linspace(0.3, 1, count),
        "alpha": np.linspace(0, 0.8, count),
        "label_smoothing": 0.0,
        "hard_mixing": 0.0,
        "warmup": 0.0,
    } | hyperparameters
    return Members(
        {name: np.broadcast_to(v, count).astype(np.float32) for name, v in values.items()},
        np.arange(10, 10 + count, dtype=np.uint32),
        (np.arange(count) % GROUPS).astype(np.int32),
    )


def order_of(steps: int = 30, count: int = 4) -> np.ndarray:
    return np.random.default_rng(2).integers(0, ROWS, (steps, count, BATCH)).astype(np.int32)


@functools.cache
def compiled(spec: StepSpec) -> Any:
    return jax.jit(functools.partial(train_fleet, spec))


@functools.cache
def compiled_init(spec: StepSpec) -> Any:
    return jax.jit(functools.partial(init_fleet, spec))


def run(spec: StepSpec, members: Members, rows: GroupRows, order: np.ndarray) -> Any:
    start = compiled_init(spec)(INPUTS[:1], members.seed)
    end, log = compiled(spec)(start, members, rows, INPUTS, order)
    return start, end, log


def noise_of(seed: int, step: int, deviation: float) -> np.ndarray:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(np.uint32(seed)), 2), step)
    return deviation * np.float64(jax.random.normal(key, (BATCH, *INPUTS.shape[1:])))


def log_softmax(values: np.ndarray) -> np.ndarray:
    above = values - values.max(axis=1, keepdims=True)
    return above - np.log(np.exp(above).sum(axis=1, keepdims=True))


def loss_of(
    logits: np.ndarray,
    label: np.ndarray,
    told: tuple[np.ndarray, np.ndarray | None],
    mask: np.ndarray,
    hyperparameters: dict[str, float],
) -> float:
    """Returns the summed loss of a batch by the formula, in float64."""
    tau, alpha = hyperparameters["temperature"], hyperparameters["alpha"]
    teacher, scores = told
    target = np.exp(log_softmax(teacher / tau))
    if scores is None:
        scaled, classes = logits / tau, logits
    else:
        weights = np.exp((scores - scores.max(axis=2, keepdims=True)) / hyperparameters["beta"])
        target = (target[:, :, None] * weights / weights.sum(axis=2, keepdims=True)).reshape(
            len(logits), -1
        )
        scaled = np.where(mask.reshape(-1), logits / tau, -np.inf)
        grouped = np.exp(scaled).reshape(len(logits), *mask.shape)
        classes = tau * np.log(grouped.sum(axis=2))
    present = target > 0
    soft = -(tau**2) * np.where(present, target * np.where(present, log_softmax(scaled), 0), 0)
    hard = -log_softmax(classes)[np.arange(len(label)), np.maximum(label, 0)] * (label >= 0)
    return float(((1 - alpha) * soft.sum(axis=1) + alpha * hard).sum())
