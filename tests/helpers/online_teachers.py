"""Frozen teachers in the step, and what students must learn from them, computed apart."""

from typing import Any

import jax
import numpy as np

from lelp_jax import models
from lelp_jax.methods import METHODS
from lelp_jax.models.variables import Variables
from lelp_jax.projection.base import arrays_of
from lelp_jax.projection.centers import Centers
from lelp_jax.projection.linear import LinearProjection
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import Frozen, GroupRows, StepSpec
from tests.helpers.fleets import BATCH, GROUPS, INPUTS, ROWS
from tests.helpers.softmax import log_softmax
from tests.helpers.trees import select

CLASSES, SUBCLASSES, DIMS = 2, 3, 7
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
        radius=1 + np.abs(normal(11, CLASSES)),
        soft=np.ones(GROUPS, bool),
        column_mask=np.ones((GROUPS, CLASSES, SUBCLASSES), bool),
    ),
}


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
    return -distance / (2 * np.square(arrays["radius"])[:, None])


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
        targets=chosen.targets,
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
        frozen=Frozen(Variables(TEACHERS), PROJECTIONS.get(method)) if online else None,
    )


def noise_of(seed: int, step: int, deviation: float) -> np.ndarray:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(np.uint32(seed)), 2), step)
    return deviation * np.float64(jax.random.normal(key, (BATCH, *INPUTS.shape[1:])))


def loss_of(
    logits: np.ndarray,
    label: np.ndarray,
    told: tuple[np.ndarray, np.ndarray | None],
    mask: np.ndarray,
    hyperparameters: dict[str, float],
) -> np.ndarray:
    """Returns the losses of a batch by the formula, [batch], in float64."""
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
    return (1 - alpha) * soft.sum(axis=1) + alpha * hard
