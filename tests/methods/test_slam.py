"""SLaM against float64 references, and what its derivation promises."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.isotonic import IsotonicRegression

from lelp_jax import methods
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import check
from lelp_jax.methods import slam
from lelp_jax.methods.base import LossInputs, Mixing, TeacherRows
from tests.helpers.softmax import log_softmax, softmax

ROWS = 8
HYPERPARAMETERS = {
    "temperature": 2.5,
    "beta": 0.7,
    "alpha": 0.3,
    "label_smoothing": 0.1,
    "hard_mixing": 0.2,
    "warmup": 0.0,
    "loss_weight": 0.0,
    "hint_share": 0.0,
    "trust_floor": 0.6,
}
VALUES = {name: jnp.float32(value) for name, value in HYPERPARAMETERS.items()}


def log_mix(log_probability: np.ndarray, trust: Any, candidates: Any, divisor: float) -> np.ndarray:
    """Returns the formula of the paper in float64; the complement is summed over the others."""
    log_probability = np.asarray(log_probability, np.float64)
    others = np.where(np.eye(log_probability.shape[-1]), -np.inf, log_probability[..., None, :])
    wrong = np.logaddexp.reduce(others, axis=-1) - np.log(divisor)
    with np.errstate(divide="ignore"):
        share = np.log1p(-np.asarray(trust, np.float64))[:, None]
        wrong = np.where(candidates, wrong + share, -np.inf)
    return np.logaddexp(np.log(np.asarray(trust, np.float64))[:, None] + log_probability, wrong)


def top(logits: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(-logits, axis=1, kind="stable")
    return np.argsort(order, axis=1) < count


def draw(classes: int, subclasses: int = 0, heads: int = 1) -> dict[str, Any]:
    """Returns a batch and a method's constants; half of the rows have no label."""
    random = np.random.default_rng(classes)
    validation = 3 * random.normal(size=(40, classes)).astype(np.float32)
    truth = np.where(
        random.random(40) < 0.7, validation.argmax(1), random.integers(classes, size=40)
    )
    constants = slam.fit(validation, truth, normalize=True)
    outputs = classes
    scores = np.zeros((ROWS, classes, 1), np.float32)
    if subclasses:
        shape = (classes, subclasses) if heads == 1 else (heads, classes, subclasses)
        constants["column_mask"] = np.ones(shape, bool)
        scores = random.normal(size=(ROWS, *shape)).astype(np.float32)
        outputs = classes * subclasses * heads
    return {
        "logits": 2 * random.normal(size=(ROWS, outputs)).astype(np.float32),
        "label": np.where(np.arange(ROWS) % 2, -1, np.arange(ROWS) % classes).astype(np.int32),
        "teacher": 2 * random.normal(size=(ROWS, classes)).astype(np.float32),
        "scores": scores,
        "constants": constants,
    }


def evaluate(name: str, case: dict[str, Any], **changed: float) -> tuple[np.ndarray, ...]:
    """Returns loss, its part of the teacher and its gradient by the logits."""
    method, values = methods.find(name), VALUES | {k: jnp.float32(v) for k, v in changed.items()}
    target = None
    if method.targets is not None:
        rows = TeacherRows(case["label"], case["teacher"], case["scores"])
        target = method.targets(rows, values)

    @jax.jit
    def compute(logits: jax.Array) -> Any:
        def total(logits: jax.Array) -> Any:
            inputs = LossInputs(logits, case["label"], case["teacher"], target)
            result = method.loss(inputs, case["constants"], values)
            return result.per_example.sum(), result

        (_, result), gradient = jax.value_and_grad(total, has_aux=True)(logits)
        return result.per_example, result.terms["soft"], gradient

    return tuple(np.asarray(each) for each in compute(case["logits"]))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("kd", (3,)), ("wttm", (3,)), ("lelp_ensemble", (3, 2, 2))],
)
def test_full_trust_is_the_plain_method(name: str, shape: tuple[int, ...]) -> None:
    case = draw(*shape)
    plain = evaluate(name, case)
    corrected = evaluate(f"{name}_slam", case, trust_floor=1.0)
    for one, other in zip(plain[:2], corrected[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(plain[2], corrected[2], atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_is_that_of_the_formula(classes: int, normalize: bool) -> None:
    case, tau = draw(classes), HYPERPARAMETERS["temperature"]
    random = np.random.default_rng(1)
    logits = random.normal(size=(30, classes)).astype(np.float32)
    truth = np.where(random.random(30) < 0.5, logits.argmax(1), random.integers(classes, size=30))
    case["constants"] = fitted = slam.fit(logits, truth, normalize=normalize)
    teacher = softmax(case["teacher"].astype(np.float64))
    first, second = np.sort(teacher, axis=1)[:, :-3:-1].T
    trust = np.interp(first - second, fitted["slam_margin"], fitted["slam_trust"]).clip(0.6, 1)
    count = int(fitted["slam_candidates"])
    mixed = log_mix(
        log_softmax(case["logits"].astype(np.float64) / tau),
        trust,
        top(case["teacher"], count),
        count - 1 if normalize else 1,
    )
    target = softmax(case["teacher"].astype(np.float64) / tau)
    onehot = np.eye(classes)[case["label"]]
    target = np.where(case["label"][:, None] >= 0, 0.8 * target + 0.2 * onehot, target)
    _, soft, _ = evaluate("kd_slam", case)
    np.testing.assert_allclose(soft, -(tau**2) * (target * mixed).sum(axis=1), rtol=2e-5)


def test_the_labels_loss_is_not_mixed() -> None:
    case = draw(3)
    np.testing.assert_array_equal(
        evaluate("kd_slam", case, alpha=1.0)[0], evaluate("kd", case, alpha=1.0)[0]
    )


def test_two_classes_are_forward_corrected() -> None:
    case = draw(2)
    _, soft, _ = evaluate("kd_slam", case, temperature=1.0, hard_mixing=0.0)
    trust = np.asarray(slam.find_trust(case["teacher"], case["constants"], VALUES), np.float64)
    noise = np.stack([np.stack([trust, 1 - trust], 1), np.stack([1 - trust, trust], 1)], 1)
    given = np.einsum("rij,rj->ri", noise, softmax(case["logits"].astype(np.float64)))
    target = softmax(case["teacher"].astype(np.float64))
    np.testing.assert_allclose(soft, -(target * np.log(given)).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("subclasses", "heads"), [(2, 1), (3, 2)])
def test_unfolded_classes_have_the_mixed_probability_and_the_split_that_they_had(
    subclasses: int, heads: int
) -> None:
    case, classes = draw(3, subclasses, heads), 3
    columns = classes * subclasses
    method = methods.find("lelp_slam")
    values = VALUES | {"temperature": jnp.float32(1), "alpha": jnp.float32(0)}

    def column_loss(target: jax.Array) -> jax.Array:
        inputs = LossInputs(case["logits"], case["label"], case["teacher"], target)
        return method.loss(inputs, case["constants"], values).per_example

    # With a target that is one column, the loss is the negative logarithm of its probability.
    ones = np.repeat(np.eye(heads * columns, dtype=np.float32)[:, None], ROWS, axis=1)
    found = np.exp(-heads * np.asarray(jax.jit(jax.vmap(column_loss))(ones)).T.astype(np.float64))
    mixing = slam.find_mixing(case["teacher"], case["constants"], values)
    for head in range(heads):
        part = slice(head * columns, (head + 1) * columns)
        given = softmax(case["logits"][:, part].astype(np.float64)).reshape(ROWS, classes, -1)
        unfolded = found[:, part].reshape(ROWS, classes, -1)
        mixed = np.exp(log_mix(np.log(given.sum(axis=2)), *mixing))
        np.testing.assert_allclose(unfolded.sum(axis=2), mixed, rtol=1e-5)
        split = given / given.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(unfolded / mixed[..., None], split, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_with_symmetric_noise_the_best_student_is_the_clean_posterior(classes: int) -> None:
    clean = np.random.default_rng(classes).dirichlet(np.ones(classes))
    answered = 0.7 * clean + 0.3 * (1 - clean) / (classes - 1)
    everything, trust = np.ones((1, classes), bool), np.array([0.7])

    def loss(logits: np.ndarray) -> float:
        mixed = log_mix(log_softmax(logits[None]), trust, everything, classes - 1)
        return -float(answered @ mixed[0])

    best = scipy.optimize.minimize(loss, np.zeros(classes), tol=1e-12)
    np.testing.assert_allclose(softmax(best.x[None])[0], clean, atol=1e-5)
    # There the gradient of what is trained vanishes; plain distillation would go on to the answers.
    mixing = Mixing(jnp.float32(trust), jnp.asarray(everything), jnp.float32(classes - 1))

    @jax.jit
    @jax.grad
    def gradient(logits: jax.Array, mixing: Mixing | None) -> jax.Array:
        return -jnp.sum(answered * slam.mix(jax.nn.log_softmax(logits[None]), mixing))

    at = jnp.log(jnp.float32(clean))
    assert np.abs(gradient(at, mixing)).max() < 1e-6
    assert np.abs(gradient(at, None)).max() > 1e-2


@jax.jit
@jax.value_and_grad
def mixed_loss(logits: jax.Array, target: jax.Array, mixing: Mixing) -> jax.Array:
    return -jnp.sum(target * slam.mix(jax.nn.log_softmax(logits), mixing))


@pytest.mark.parametrize("scale", [1.0, 30.0, 90.0, 1e5])
@pytest.mark.parametrize("classes", [2, 3])
def test_gradients_are_those_of_finite_differences_at_extreme_logits(
    scale: float, classes: int
) -> None:
    logits = np.array([[1.0, -1.0, 0.4], [-1.0, 0.9, 0.1], [0.5, 0.5, -1.0], [0.0, 0.0, 0.0]])
    logits = (scale * logits[:, :classes]).astype(np.float64)
    trust = np.array([0.5, 0.999, 0.8, 0.7])
    candidates = top(-logits, 2)
    target = softmax(-logits / scale)

    def reference(logits: np.ndarray) -> float:
        return -float((target * log_mix(log_softmax(logits), trust, candidates, 1.0)).sum())

    mixing = Mixing(jnp.float32(trust), jnp.asarray(candidates), jnp.float32(1))

    value, gradient = mixed_loss(jnp.float32(logits), jnp.float32(target), mixing)
    wanted = scipy.optimize.approx_fprime(
        logits.ravel(), lambda flat: reference(flat.reshape(logits.shape)), 1e-6
    )
    np.testing.assert_allclose(value, reference(logits), rtol=1e-5)
    tolerance = 1e-4 if scale < 1e4 else 5e-3
    np.testing.assert_allclose(gradient.ravel(), wanted, atol=tolerance)


@jax.jit
def mixed_probability(logits: jax.Array, mixing: Mixing) -> jax.Array:
    return slam.mix(jax.nn.log_softmax(logits), mixing)


@given(arrays(np.float32, (ROWS, 4), elements=st.floats(-80, 80, width=32)), st.floats(0.01, 1))
def test_with_all_classes_as_candidates_probabilities_sum_to_one(
    logits: np.ndarray, trust: float
) -> None:
    mixing = Mixing(jnp.full(ROWS, trust), jnp.ones((ROWS, 4), bool), jnp.float32(3))
    mixed = mixed_probability(logits, mixing)
    np.testing.assert_allclose(np.exp(mixed).sum(axis=1), 1, rtol=1e-5)


def test_trust_is_the_isotonic_regression_of_validation_rows() -> None:
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(300, 5)).astype(np.float32)
    probability = np.sort(softmax(logits.astype(np.float64)), axis=1)
    margin = probability[:, -1] - probability[:, -2]
    # Right more often where the margin is large.
    label = np.where(random.random(300) < margin, logits.argmax(axis=1), logits.argmin(axis=1))
    fitted = slam.fit(logits, label, normalize=False)
    assert all(fitted[name].shape == (300,) for name in ("slam_margin", "slam_trust"))
    other = 3 * random.normal(size=(50, 5)).astype(np.float32)
    probability = np.sort(softmax(other.astype(np.float64)), axis=1)
    regression = IsotonicRegression(out_of_bounds="clip").fit(margin, logits.argmax(1) == label)
    wanted = regression.predict(probability[:, -1] - probability[:, -2])
    for floor in (0.01, 0.5):
        found = slam.find_trust(other, fitted, {"trust_floor": floor})
        np.testing.assert_allclose(found, wanted.clip(floor, 1), atol=1e-4)
    assert wanted.min() < 0.5 < wanted.max()


@pytest.mark.parametrize(("second", "count"), [(0.97, 2), (0.9, 4)])
def test_candidates_are_as_few_as_hold_the_truth(second: float, count: int) -> None:
    # The truth is first in half of the rows, second up to the share given, then fourth.
    place = np.select([np.arange(200) < 100, np.arange(200) < 200 * second], [0, 1], 3)
    logits = np.tile(np.arange(6, 0, -1, dtype=np.float32), (200, 1))
    for normalize in (True, False):
        fitted = slam.fit(logits, place, normalize=normalize)
        assert fitted["slam_candidates"] == count
        assert fitted["slam_divisor"] == (count - 1 if normalize else 1)
    # Exactly so many, also among equal logits.
    ties = np.array([[1, 1, 1, 1, 1, 1], [0, 2, 2, 0, 2, 2]], np.float32)
    mixing = slam.find_mixing(ties, fitted, {"trust_floor": 0.5})
    np.testing.assert_array_equal(mixing.candidates, top(ties, count))


def test_two_classes_are_both_candidates() -> None:
    logits = np.array([[3, 1], [1, 2]], np.float32)
    assert slam.fit(logits, np.array([1, 0]), normalize=True)["slam_candidates"] == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("labels_slam", "'slam' is not defined for 'labels'"),
        ("simkd_weighted", "'weighted' is not defined for 'simkd'"),
        ("lelp_dist_slam", "not defined for 'lelp_dist'"),
        ("subclass_matched_slam", "not defined for 'subclass_matched'"),
        ("kd_slim", "unknown method config.methods: 'kd_slim'"),
        ("lepl_slam", "unknown method config.methods: 'lepl_slam'"),
    ],
)
def test_methods_that_cannot_be_corrected_are_refused(name: str, words: str) -> None:
    assert name not in methods.list_names()
    with pytest.raises(UserError) as refused:
        methods.find(name)
    assert words in str(refused.value)


@pytest.mark.parametrize("floor", [0, -0.5, 1.01, float("nan"), "high"])
def test_a_floor_outside_of_its_range_is_refused(floor: Any) -> None:
    with pytest.raises(UserError, match=r"config\.methods\.kd_slam\.trust_floor must be"):
        check("kd_slam", {"trust_floor": floor}, methods.find("kd_slam").search_space)


def test_every_corrected_method_has_its_name_and_the_plain_ones_hyperparameters() -> None:
    names = methods.list_names()
    assert len(names) == len(set(names)) > len(methods.METHODS)
    for name in set(names) - set(methods.METHODS):
        plain, _, correction = name.rpartition("_")
        method = methods.find(name)
        assert method.name == name
        more = set(method.search_space) - set(methods.METHODS[plain].search_space)
        assert more == ({"trust_floor", "normalize_mixing"} if correction == "slam" else set())
        # Equal losses share one compiled program.
        assert methods.find(name).loss == method.loss
