"""Losses, targets and readouts against float64 references and their defining properties."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.methods import METHODS, kd, labels, pseudo_subclass
from lelp_jax.methods.base import LossInputs
from lelp_jax.models.outputs import Outputs
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import GroupRows, Members, StepSpec
from lelp_jax.train.step import init_fleet, train_fleet
from tests.helpers.logit_references import make_target
from tests.helpers.softmax import log_softmax, softmax

ROWS, DIMS = 48, 14
CLASSES = (2, 3, 10)
# The methods of these losses; several heads, and other losses on one head, have tests of their own.
LOSSES = (labels.loss, kd.loss, pseudo_subclass.loss)
# Those that share loss and kind of scores with another one.
ALIKE = ("agglomerative", "tsne_kmeans", "lelp_unrotated", "pca", "random_projection")
DIFFERENT = [
    name
    for name in METHODS
    if METHODS[name].loss in LOSSES and name not in (*ALIKE, "lelp_ensemble")
]
DIFFERENT_SPLITTERS = [name for name in DIFFERENT if METHODS[name].projector]
SEARCH_SPACE = {
    "num_subclasses": 2,
    "num_components": 3,
    "null_space": True,
    "rotate": True,
    "center": True,
    "standardize": True,
    "solver": "covariance",
    "assignment": "hard",
    "sample_size": 60,
}


class Problem(NamedTuple):
    logits: np.ndarray
    label: np.ndarray
    teacher_logits: np.ndarray
    scores: np.ndarray | None
    constants: dict[str, np.ndarray]
    inputs: np.ndarray


@functools.cache
def problem(name: str, classes: int) -> Problem:
    """Returns a batch in which scores come from the method's own projection."""
    random = np.random.default_rng(classes)
    count = ROWS * (1 + classes // 5)
    label = (np.arange(count) % classes).astype(np.int32)
    # Class c has 2 or 3 fine labels: unequal numbers.
    fine = (3 * label + random.integers(0, 2 + label % 2)).astype(np.int32)
    inputs = random.normal(size=(count, DIMS)).astype(np.float32)
    weights = random.normal(size=(DIMS, classes)).astype(np.float32)
    projector = METHODS[name].projector
    teacher_logits = (inputs @ weights).astype(np.float32)
    scores, constants, outputs = None, {}, classes
    if projector is not None:
        rows = EmbeddedRows(inputs, np.arange(count), label, fine)
        projection = projector.fit(rows, weights, SEARCH_SPACE, 5)
        scores = np.asarray(projection.scores(rows))[:ROWS]
        constants = {"column_mask": projection.column_mask}
        outputs = projection.column_mask.size
    label = np.where(np.arange(count) % 7 == 3, -1, label)[:ROWS]
    logits = random.normal(size=(ROWS, outputs)).astype(np.float32) * 2
    return Problem(logits, label, teacher_logits[:ROWS], scores, constants, inputs[:ROWS])


def hyperparameters(
    temperature: float = 1.0, beta: float = 1.0, alpha: float = 0.0, **others: float
) -> dict[str, Any]:
    values = {
        "temperature": temperature,
        "beta": beta,
        "alpha": alpha,
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "hard_mixing": 0.0,
        "warmup": 0.0,
    }
    return {key: jnp.float32(value) for key, value in (values | others).items()}


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradient(name, logits, label, teacher_logits, scores, constants, values):
    def total(logits):
        target = make_target(name, label, teacher_logits, scores, values)
        result = METHODS[name].loss(
            LossInputs(logits, label, teacher_logits, target), constants, values
        )
        return result.per_example.sum(), result

    (_, result), gradient = jax.value_and_grad(total, has_aux=True)(logits)
    return result.per_example, result.terms, gradient


def evaluate(name: str, case: Problem, values: dict[str, Any], logits: Any = None) -> Any:
    logits = case.logits if logits is None else logits
    per_example, terms, gradient = loss_and_gradient(
        name, logits, case.label, case.teacher_logits, case.scores, case.constants, values
    )
    return np.asarray(per_example), terms, np.asarray(gradient.astype(jnp.float32))


@functools.partial(jax.jit, static_argnums=0)
def jitted_readout(name, logits, constants, values):
    return METHODS[name].readout(Outputs(logits, logits), None, constants, values)


def readout(name: str, logits: Any, constants: Any, values: dict[str, Any]) -> np.ndarray:
    return np.asarray(jitted_readout(name, np.float32(logits), constants, values))


@jax.jit
def targets(teacher_logits, scores, temperature, beta):
    values = {"temperature": temperature, "beta": beta, "hard_mixing": 0.0}
    label = jnp.full(len(teacher_logits), -1)
    [single] = pseudo_subclass.log_targets(teacher_logits, scores, label, values)
    return jnp.exp(single)


def reference(name: str, case: Problem, values: dict[str, Any], logits: np.ndarray) -> np.ndarray:
    """Returns the loss of every row with explicit softmaxes over all columns, in float64."""
    tau, beta, alpha = (float(values[key]) for key in ("temperature", "beta", "alpha"))
    logits, teacher = logits.astype(np.float64), case.teacher_logits.astype(np.float64)
    rows = np.arange(len(logits))
    labelled = case.label >= 0
    class_logits = logits
    if name == "labels":
        tau, alpha = 1.0, 1.0
    share, smoothing = float(values["hard_mixing"]), float(values["label_smoothing"])
    onehot = np.eye(case.teacher_logits.shape[1])[case.label]
    target = softmax(teacher / tau)
    target = np.where(labelled[:, None], (1 - share) * target + share * onehot, target)
    if case.scores is not None:
        mask = case.constants["column_mask"]
        split = softmax(case.scores.astype(np.float64) / beta)
        target = (target[:, :, None] * split).reshape(len(logits), -1)
        logits = np.where(mask.reshape(-1), logits, -np.inf)
        grouped = logits.reshape(-1, *mask.shape)
        class_logits = tau * np.log(np.exp(grouped / tau).sum(axis=-1))
    log_probability = log_softmax(logits / tau)
    soft = -np.where(target > 0, target * np.where(target > 0, log_probability, 0), 0).sum(axis=1)
    log_class = log_softmax(class_logits)
    smoothed = (1 - smoothing) * log_class[rows, case.label] + smoothing * log_class.mean(axis=1)
    hard = np.where(labelled, -smoothed, 0)
    return (1 - alpha) * tau**2 * soft + alpha * hard


def finite_differences(name: str, case: Problem, values: dict[str, Any]) -> np.ndarray:
    step = 1e-5
    gradient = np.zeros(case.logits.shape)
    for column in range(case.logits.shape[1]):
        moved = np.zeros(case.logits.shape)
        moved[:, column] = step
        above = reference(name, case, values, case.logits + moved)
        below = reference(name, case, values, case.logits - moved)
        gradient[:, column] = (above - below) / (2 * step)
    return gradient


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("name", DIFFERENT)
def test_loss_and_gradient_match_a_float64_reference(name, classes):
    case = problem(name, classes)
    for values in (
        hyperparameters(2.5, 0.7, 0.3, hard_mixing=0.4, label_smoothing=0.2),
        hyperparameters(1.0, 0.2),
        hyperparameters(8.0, 3.0),
    ):
        loss, _, gradient = evaluate(name, case, values)
        np.testing.assert_allclose(
            loss, reference(name, case, values, case.logits), rtol=2e-5, atol=1e-5
        )
        wanted = finite_differences(name, case, values)
        assert np.abs(wanted).max() > 0.1
        np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_row_with_a_target_moves_the_logits(name):
    case = problem(name, 3)
    _, _, gradient = evaluate(name, case, hyperparameters(2.0))
    moved = np.abs(gradient).max(axis=1) > 1e-4
    wanted = case.label >= 0 if name == "labels" else np.ones(ROWS, bool)
    np.testing.assert_array_equal(moved, wanted)


@pytest.mark.parametrize("name", DIFFERENT)
def test_training_moves_every_parameter_and_lowers_the_loss(name):
    case = problem(name, 3)
    spec = StepSpec(
        models.build({"name": "mlp", "hidden": (5,)}, case.logits.shape[1]),
        METHODS[name].loss,
        METHODS[name].readout,
        OptimizerConfig("constant"),
        steps=12,
        targets=METHODS[name].targets,
    )
    uses_teacher = METHODS[name].uses_teacher
    rows = GroupRows(
        row=np.arange(ROWS, dtype=np.int32)[None],
        label=case.label[None],
        weight=np.ones((1, ROWS), np.float32),
        teacher_logits=case.teacher_logits[None] if uses_teacher else None,
        scores=None if case.scores is None else case.scores[None],
        constants={key: value[None] for key, value in case.constants.items()},
    )
    members = Members(
        {key: value[None] for key, value in hyperparameters(2.0, 0.5).items()},
        np.array([3], np.uint32),
        np.array([0], np.int32),
    )
    start = init_fleet(spec, case.inputs[:1], members.seed)
    order = np.broadcast_to(np.arange(ROWS, dtype=np.int32), (12, 1, ROWS))
    step = jax.jit(functools.partial(train_fleet, spec))
    end, log = step(start, members, rows, case.inputs, order)
    for before, after in zip(
        jax.tree.leaves(start.members.params), jax.tree.leaves(end.members.params), strict=True
    ):
        used = np.ones(before.shape[-1], bool)
        if "column_mask" in case.constants and before.shape[-1] == used.size:
            mask = case.constants["column_mask"].reshape(-1)
            used = mask if mask.size == used.size else used
        moved = np.abs(np.asarray(after - before)).reshape(-1, before.shape[-1]).max(axis=0)
        np.testing.assert_array_equal(moved > 1e-4, used)
    assert not end.members.diverged.any()
    mean = np.asarray(log.total / log.weight)[:, 0]
    assert mean[-1] < mean[0] - 1e-3


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("name", DIFFERENT_SPLITTERS)
def test_targets_sum_to_the_class_probability_and_keep_its_argmax(name, classes):
    case = problem(name, classes)
    for tau, beta in ((1.0, 1.0), (4.0, 0.05), (0.5, 20.0)):
        target = np.asarray(targets(case.teacher_logits, case.scores, tau, beta))
        assert target.shape[0] == classes
        assert target.shape[2] == ROWS
        of_class = target.sum(axis=1).T
        wanted = softmax(case.teacher_logits.astype(np.float64) / tau)
        np.testing.assert_allclose(of_class, wanted, atol=1e-6)
        np.testing.assert_array_equal(of_class.argmax(axis=1), case.teacher_logits.argmax(axis=1))
        absent = ~case.constants["column_mask"]
        assert (target[absent] == 0).all()


def test_entropy_of_the_targets_at_both_ends_of_beta():
    random = np.random.default_rng(0)
    logits, scores = random.normal(size=(20, 3)), random.normal(size=(20, 3, 4))
    of_class = softmax(logits / 2.0)
    class_entropy = -(of_class * np.log(of_class)).sum(axis=1)

    def entropy(beta: float) -> np.ndarray:
        p = np.asarray(targets(jnp.asarray(logits), jnp.asarray(scores), 2.0, beta), np.float64)
        return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=(0, 1))

    np.testing.assert_allclose(entropy(1e6), class_entropy + np.log(4), atol=1e-5)
    np.testing.assert_allclose(entropy(1e-6), class_entropy, atol=1e-5)
    middle = entropy(1.0)
    assert (middle > class_entropy + 0.1).all()
    assert (middle < class_entropy + np.log(4) - 1e-3).all()


@pytest.mark.parametrize("classes", CLASSES)
def test_one_subclass_per_class_is_plain_distillation(classes):
    case = problem("kd", classes)
    random = np.random.default_rng(1)
    split = case._replace(
        scores=random.normal(size=(ROWS, classes, 1)).astype(np.float32) * 5,
        constants={"column_mask": np.ones((classes, 1), bool)},
    )
    for values in (hyperparameters(1.0), hyperparameters(4.0, 0.3, 0.25)):
        plain, plain_terms, plain_gradient = evaluate("kd", case, values)
        loss, terms, gradient = evaluate("lelp", split, values)
        np.testing.assert_allclose(loss, plain, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(gradient, plain_gradient, atol=1e-5)
        for term in ("soft", "hard"):
            np.testing.assert_allclose(terms[term], plain_terms[term], rtol=1e-5, atol=1e-5)
        read = readout("lelp", split.logits, split.constants, values)
        np.testing.assert_allclose(
            read, readout("kd", case.logits, {}, values), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 8.0])
def test_readout_of_a_perfect_student_is_the_teacher(temperature):
    random = np.random.default_rng(2)
    mask = np.array([[True, True, False, False], [True, True, True, True]])
    teacher = random.normal(size=(30, 2)).astype(np.float32) * 3
    scores = np.where(mask, random.normal(size=(30, 2, 4)) * 2, -np.inf).astype(np.float32)
    target = np.asarray(targets(teacher, scores, temperature, 0.6), np.float64)
    # Whatever an absent column holds is ignored.
    logits = np.where(mask[:, :, None], temperature * np.log(np.where(target, target, 1)), 37.0)
    logits = np.moveaxis(logits, -1, 0).reshape(30, 8)
    read = readout("oracle", logits, {"column_mask": mask}, hyperparameters(temperature))
    offset = read - teacher
    np.testing.assert_allclose(offset[:, 0], offset[:, 1], atol=5e-5 * temperature)
    np.testing.assert_array_equal(read.argmax(axis=1), teacher.argmax(axis=1))


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_loss_is_least_at_the_targets(temperature):
    case = problem("lelp", 3)
    values = hyperparameters(temperature, 0.6)
    target = targets(case.teacher_logits, case.scores, temperature, 0.6)
    perfect = np.moveaxis(temperature * np.log(np.asarray(target)), -1, 0).reshape(ROWS, -1)
    loss, _, gradient = evaluate("lelp", case, values, perfect)
    np.testing.assert_allclose(gradient, 0, atol=1e-5 * temperature**2)
    other, _, _ = evaluate("lelp", case, values)
    assert (other > loss).all()


def test_readout_follows_the_temperature():
    logits = [[2.0, 2.0, 2.5, -50.0]]
    constants = {"column_mask": np.ones((2, 2), bool)}
    read = {tau: readout("lelp", logits, constants, hyperparameters(tau))[0] for tau in (0.1, 1.0)}
    np.testing.assert_allclose(read[1.0], [2 + np.log(2), 2.5], atol=1e-5)
    np.testing.assert_allclose(read[0.1], [2 + 0.1 * np.log(2), 2.5], atol=1e-5)


def test_columns_are_class_major():
    # Three pseudo-subclasses: column 3 c + s belongs to class c.
    constants = {"column_mask": np.ones((2, 3), bool)}
    logits = [[9, 0, 0, 1, 1, 1], [0, 0, 5, 6, 0, 0]]
    read = readout("lelp", logits, constants, hyperparameters())
    np.testing.assert_allclose(
        read,
        [
            [np.log(np.exp(9) + 2), np.log(3 * np.e)],
            [np.log(np.exp(5) + 2), np.log(np.exp(6) + 2)],
        ],
        rtol=1e-5,
    )
    case = Problem(
        np.zeros((1, 6), np.float32),
        np.array([0], np.int32),
        np.array([[0.0, np.log(3.0)]], np.float32),
        np.array([[[0, 0, 90], [90, 0, 0]]], np.float32),
        constants,
        np.zeros((1, 1), np.float32),
    )
    _, _, gradient = evaluate("lelp", case, hyperparameters())
    target = np.array([0, 0, 0.25, 0.75, 0, 0])
    np.testing.assert_allclose(gradient[0], 1 / 6 - target, atol=1e-6)


@pytest.mark.parametrize("name", DIFFERENT)
def test_label_term_is_zero_without_a_label(name):
    case = problem(name, 3)
    _, terms, _ = evaluate(name, case, hyperparameters(2.0, alpha=0.5))
    unlabelled = case.label < 0
    assert unlabelled.any()
    assert (np.asarray(terms["hard"])[unlabelled] == 0).all()
    assert (np.asarray(terms["hard"])[~unlabelled] > 0).all()
    _, _, gradient = evaluate(name, case, hyperparameters(2.0, alpha=1.0))
    assert (gradient[unlabelled] == 0).all()


@pytest.mark.parametrize("name", [name for name in DIFFERENT if name != "labels"])
def test_alpha_of_one_is_cross_entropy_of_the_readout(name):
    case = problem(name, 3)
    values = hyperparameters(3.0, 0.5, 1.0)
    loss, _, _ = evaluate(name, case, values)
    read = readout(name, case.logits, case.constants, values)
    inputs = LossInputs(jnp.asarray(read), jnp.asarray(case.label))
    plain = METHODS["labels"].loss(inputs, {}, values).per_example
    np.testing.assert_allclose(loss, plain, rtol=1e-5, atol=1e-5)
    assert loss.max() > 0.5


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_gradient_of_distillation_in_closed_form(temperature, alpha):
    case = problem("kd", 3)._replace(label=np.full(ROWS, -1, np.int32))
    _, _, gradient = evaluate("kd", case, hyperparameters(temperature, alpha=alpha))
    student = softmax(case.logits.astype(np.float64) / temperature)
    teacher = softmax(case.teacher_logits.astype(np.float64) / temperature)
    wanted = (1 - alpha) * temperature * (student - teacher)
    np.testing.assert_allclose(gradient, wanted, atol=1e-5)


def test_distillation_is_a_divergence_plus_the_teachers_entropy():
    case = problem("kd", 3)
    teacher = softmax(case.teacher_logits.astype(np.float64))
    entropy = -(teacher * np.log(teacher)).sum(axis=1)
    random = np.random.default_rng(3)
    shifted = case.teacher_logits + random.normal(size=(ROWS, 1)).astype(np.float32)
    loss, _, gradient = evaluate("kd", case, hyperparameters(), shifted)
    np.testing.assert_allclose(loss, entropy, atol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    student = softmax(case.logits.astype(np.float64))
    divergence = (teacher * np.log(teacher / student)).sum(axis=1)
    loss, _, _ = evaluate("kd", case, hyperparameters())
    np.testing.assert_allclose(loss, divergence + entropy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DIFFERENT)
def test_loss_ignores_constants_added_to_rows(name):
    case = problem(name, 3)
    random = np.random.default_rng(4)
    values = hyperparameters(2.0, 0.5, 0.3)
    loss, _, gradient = evaluate(name, case, values)
    shift = random.normal(size=(2, ROWS, 1)).astype(np.float32) * 5
    moved = case._replace(teacher_logits=case.teacher_logits + shift[1])
    shifted, _, shifted_gradient = evaluate(name, moved, values, case.logits + shift[0])
    np.testing.assert_allclose(shifted, loss, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(shifted_gradient, gradient, atol=1e-4)


@pytest.mark.parametrize("name", ["kd", "lelp", "random_split"])
def test_gradient_has_the_same_size_at_every_temperature(name):
    case = problem(name, 3)
    norms = []
    for temperature in (1.0, 4.0, 8.0):
        _, _, gradient = evaluate(name, case, hyperparameters(temperature))
        norms.append(np.linalg.norm(gradient, axis=1).mean())
    if name == "kd":
        assert max(norms) < 5 * min(norms)
    # A split's gradient does not shrink with the temperature: only the classes are softened.
    assert min(norms) > 0.2 * norms[0]
    assert max(norms) < 20 * norms[0]


@pytest.mark.parametrize("temperature", [1.0, 8.0])
@pytest.mark.parametrize("name", DIFFERENT)
def test_extreme_logits_give_finite_losses_and_gradients(name, temperature):
    case = problem(name, 3)
    sign = np.where(np.random.default_rng(5).random(case.logits.shape) < 0.5, -1e4, 1e4)
    teacher = np.where(np.random.default_rng(6).random((ROWS, 3)) < 0.5, -1e4, 1e4)
    extreme = case._replace(teacher_logits=teacher.astype(np.float32))
    values = hyperparameters(temperature, 0.05, 0.5)
    loss, _, gradient = evaluate(name, extreme, values, sign.astype(np.float32))
    assert np.isfinite(loss).all()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    assert np.isfinite(readout(name, sign, case.constants, values)).all()


@pytest.mark.parametrize("name", DIFFERENT)
def test_bfloat16_logits_are_reduced_in_float32(name):
    case = problem(name, 3)
    values = hyperparameters(2.0, 0.5, 0.3)
    narrow = jnp.asarray(case.logits, jnp.bfloat16)
    loss, _, gradient = evaluate(name, case, values, narrow)
    wide, _, wide_gradient = evaluate(name, case, values, np.asarray(narrow, np.float32))
    assert loss.dtype == np.float32
    np.testing.assert_allclose(loss, wide, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, wide_gradient, rtol=1e-2, atol=1e-2)
    extreme, _, gradient = evaluate(name, case, values, narrow * 1e4)
    assert np.isfinite(extreme).all()
    assert np.isfinite(gradient).all()


def test_infinite_scores_split_hard():
    case = problem("lelp", 3)
    chosen = np.random.default_rng(7).integers(0, 2, (ROWS, 3))
    hard = np.where(chosen[:, :, None] == np.arange(2), 0, -np.inf).astype(np.float32)
    for beta in (0.05, 1.0, 50.0):
        values = hyperparameters(2.0, beta, 0.3)
        split = case._replace(scores=hard)
        loss, _, gradient = evaluate("lelp", split, values)
        np.testing.assert_allclose(
            loss, reference("lelp", split, values, case.logits), rtol=2e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            gradient, finite_differences("lelp", split, values), rtol=1e-3, atol=2e-4
        )


def test_absent_columns_get_no_gradient_and_no_probability():
    case = problem("oracle", 3)
    mask = case.constants["column_mask"]
    assert not mask.all()
    values = hyperparameters(2.0, 1.0, 0.4)
    loss, _, gradient = evaluate("oracle", case, values)
    assert (gradient[:, ~mask.reshape(-1)] == 0).all()
    raised = np.where(mask.reshape(-1), case.logits, 1e4).astype(np.float32)
    again, _, _ = evaluate("oracle", case, values, raised)
    np.testing.assert_array_equal(again, loss)


def test_terms_mix_to_the_loss():
    case = problem("lelp", 3)
    loss, terms, _ = evaluate("lelp", case, hyperparameters(2.0, 0.5, 0.3))
    np.testing.assert_allclose(loss, 0.7 * terms["soft"] + 0.3 * terms["hard"], rtol=1e-6)


def test_every_default_setting_is_in_its_own_range():
    for method in METHODS.values():
        assert "learning_rate" in method.search_space
        for setting in method.search_space.values():
            assert setting.default
            for value in setting.default:
                setting.check(value, method.name)


def test_kd_scales_with_the_square_of_the_temperature():
    # Two classes: CE of softmax((z, 0) / tau) at tau = 2 by hand.
    inputs = LossInputs(jnp.array([[1.0, 0.0]]), jnp.array([-1]), jnp.array([[3.0, 0.0]]))
    target, student = 1 / (1 + np.exp(-1.5)), 1 / (1 + np.exp(-0.5))
    wanted = -4 * (target * np.log(student) + (1 - target) * np.log(1 - student))
    loss = kd.loss(inputs, {}, hyperparameters(2.0)).per_example
    np.testing.assert_allclose(loss, [wanted], rtol=1e-6)
