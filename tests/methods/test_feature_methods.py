"""The feature methods: against float64 references, at their limits, and what each promises."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.core import search_space
from lelp_jax.core.errors import UserError
from lelp_jax.methods import METHODS, features, simkd, vid
from lelp_jax.models.outputs import Outputs
from tests.helpers.feature_references import (
    BATCH,
    NAMES,
    NUMERIC,
    STATIC,
    STUDENT,
    TEACHER,
    evaluate,
    feature,
    float64,
    hyperparameters,
    problem,
    reference,
    run,
)
from tests.helpers.trees import assert_equal

METHODS_AND_CLASSES = [(name, classes) for name in NAMES for classes in (2, 3)]


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_knows_each_with_valid_defaults(name):
    assert METHODS[name].name == name
    assert search_space.check(name, {}, METHODS[name].search_space)


@pytest.mark.parametrize(("name", "classes"), METHODS_AND_CLASSES)
def test_loss_and_gradients_are_those_of_the_formula(name, classes):
    case = problem(name, classes)
    moved = float64({part: getattr(case.inputs, part) for part in ("logits", "embedding", "extra")})
    result, gradient = run(name, classes)
    np.testing.assert_allclose(result.per_example, reference(name, case, moved), rtol=2e-5)

    assert not np.any(gradient["teacher_embedding"])
    leaves, structure = jax.tree.flatten(moved)
    slopes = jax.tree.leaves(float64({part: gradient[part] for part in moved}))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(moved)]
    random = np.random.default_rng(0)
    for index, (path, slope) in enumerate(zip(paths, slopes, strict=True)):
        if name == "simkd" and "logits" in path:
            assert not np.any(slope), "the student's own output layer is not used"
            continue
        # Half along the gradient, so that the derivative is far from 0.
        step = random.normal(size=slope.shape)
        step = step / np.linalg.norm(step) + slope / np.linalg.norm(slope)

        def at(size, index=index, step=step):
            shifted = [*leaves]
            shifted[index] = leaves[index] + size * step
            return reference(name, case, jax.tree.unflatten(structure, shifted)).sum()

        expected = (at(1e-6) - at(-1e-6)) / 2e-6
        assert abs(expected) > 1e-4, path
        np.testing.assert_allclose((slope * step).sum(), expected, rtol=2e-3, err_msg=path)


def all_finite(tree: Any) -> bool:
    keys = jax.dtypes.prng_key
    arrays = [leaf for leaf in jax.tree.leaves(tree) if not jnp.issubdtype(leaf.dtype, keys)]
    return all(bool(jnp.isfinite(leaf.astype(jnp.float32)).all()) for leaf in arrays)


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_stay_finite(name):
    inputs = problem(name, 2).inputs
    signs = np.where(np.arange(2 * BATCH).reshape(BATCH, 2) % 3, 1e4, -1e4).astype(np.float32)
    twice = np.arange(BATCH) // 2
    cases = {
        "bfloat16": {
            part: jnp.asarray(getattr(inputs, part), jnp.bfloat16)
            for part in ("logits", "embedding", "teacher_logits", "teacher_embedding")
        },
        "extreme logits": {"logits": signs, "teacher_logits": -signs},
        "large embedding": {"embedding": 1e4 * inputs.embedding},
        "duplicates": {
            part: getattr(inputs, part)[twice]
            for part in ("embedding", "teacher_embedding", "position")
        },
        "one point": {
            "embedding": np.full((BATCH, STUDENT), 0.3, np.float32),
            "teacher_embedding": np.full((BATCH, TEACHER), 0.7, np.float32),
        },
        "zeros": {
            "embedding": np.zeros((BATCH, STUDENT), np.float32),
            "teacher_embedding": np.zeros((BATCH, TEACHER), np.float32),
        },
    }
    for kind, changes in cases.items():
        assert all_finite(run(name, **changes)), kind


@pytest.mark.parametrize("name", ["vid", "rkd", "crd"])
def test_members_of_a_fleet_do_not_mix(name):
    case = problem(name, 2)
    members = [
        case.inputs._replace(embedding=scale * case.inputs.embedding, key=jax.random.key(seed))
        for seed, scale in enumerate((1.0, np.float32(0.5) ** np.arange(STUDENT, dtype=np.float32)))
    ]
    together = jax.tree.map(lambda *leaves: jnp.stack(list(map(jnp.asarray, leaves))), *members)
    loss = functools.partial(
        METHODS[name].loss, constants=case.constants, hyperparameters=hyperparameters()
    )
    vectorised = jax.jit(jax.vmap(loss))(together)
    for index, member in enumerate(members):
        alone, _ = evaluate(name, member, case.constants, hyperparameters())
        # Sums in another order.
        jax.tree.map(
            lambda many, one, index=index: np.testing.assert_allclose(
                many[index], one, rtol=1e-4, atol=1e-5
            ),
            vectorised,
            alone,
        )
    assert np.abs(vectorised.per_example[0] - vectorised.per_example[1]).max() > 1e-3


def test_center_and_spread_are_read_in_parts(monkeypatch):
    seen = problem("vid", 2).seen
    monkeypatch.setattr(features, "_PART", 7)
    constants = features.prepare(seen, {})
    np.testing.assert_allclose(constants["center"], seen.teacher_embedding.mean(axis=0), rtol=1e-6)
    variance = seen.teacher_embedding.astype(np.float64).var(axis=0).mean()
    np.testing.assert_allclose(constants["spread"], np.sqrt(variance), rtol=1e-6)
    point = seen._replace(teacher_embedding=np.full((40, TEACHER), 0.1, np.float32))
    assert features.prepare(point, {})["spread"] == 1


def test_a_linear_map_reaches_the_least_squares_residual():
    case = problem("embedding_mse", 2)
    rows = np.c_[float64(case.inputs.embedding), np.ones(BATCH)]
    wanted = float64(features.standardize_embedding(case.inputs, case.constants))
    best, residual, *_ = np.linalg.lstsq(rows, wanted, rcond=None)
    extra = {"kernel": np.float32(best[:-1]), "bias": np.float32(best[-1])}
    found = feature("embedding_mse", extra=extra).mean()
    np.testing.assert_allclose(found, residual.sum() / wanted.size, rtol=1e-5)


def test_only_the_cosine_is_blind_to_the_teachers_scale():
    case = problem("embedding_cosine", 2)
    center = np.asarray(case.constants["center"])
    scaled = center + 3 * (case.inputs.teacher_embedding - center)
    before, after = (
        {name: feature(name, **change) for name in ("embedding_cosine", "embedding_mse")}
        for change in ({}, {"teacher_embedding": scaled})
    )
    np.testing.assert_allclose(
        after["embedding_cosine"], before["embedding_cosine"], rtol=1e-4, atol=1e-6
    )
    assert np.abs(after["embedding_mse"] - before["embedding_mse"]).min() > 0.1


@pytest.mark.parametrize("progress", [0.0, 0.2, 0.9])
def test_one_stage_of_hints_is_regression(progress):
    hints, regression = (run(name, progress=progress) for name in ("fitnet", "embedding_mse"))
    assert_equal(hints, regression)


def test_two_stages_learn_the_hint_and_then_the_answer():
    values = hyperparameters(hint_share=0.3, warmup=0.0)
    (first, early), (second, late) = (
        run("fitnet", values=values, progress=progress) for progress in (0.29, 0.31)
    )
    np.testing.assert_allclose(
        first.per_example, NUMERIC["loss_weight"] * first.terms["feature"], rtol=1e-6
    )
    assert not np.any(early["logits"])
    assert np.any(early["embedding"])
    alpha = NUMERIC["alpha"]
    answer = (1 - alpha) * second.terms["soft"] + alpha * second.terms["hard"]
    np.testing.assert_allclose(second.per_example, answer, rtol=1e-6)
    assert np.any(late["logits"])
    assert not np.any(late["embedding"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(late["extra"]))


def test_a_feature_term_is_warmed_up_and_the_rest_is_not():
    start, _ = run("embedding_mse", progress=0.0)
    end, _ = run("embedding_mse", progress=0.9)
    growth = end.per_example - start.per_example
    np.testing.assert_allclose(growth, NUMERIC["loss_weight"] * end.terms["feature"], rtol=1e-5)


def test_the_variance_of_vid():
    extra = problem("vid", 2).inputs.extra
    raw = extra["raw_variance"]
    assert extra["mean"]["Dense_0"]["kernel"].shape == (STUDENT, 4 * STUDENT)
    wanted = np.zeros((BATCH, TEACHER), np.float32)
    perfect = vid.negative_log_likelihood(wanted, wanted, raw)
    np.testing.assert_allclose(perfect, 0.5 * np.log(5), rtol=1e-6)
    assert raw.ndim == 1, "matrices are decayed"

    # With its variance at the mean squared residual a dim has no slope, and else it has.
    residual = np.random.default_rng(0).normal(size=(BATCH, TEACHER)).astype(np.float32)
    best = np.log(np.expm1(np.square(residual, dtype=np.float64).mean(axis=0) - 1e-5))

    def mean(raw):
        return vid.negative_log_likelihood(residual, wanted, raw).mean()

    np.testing.assert_allclose(jax.grad(mean)(jnp.float32(best)), 0, atol=1e-7)
    assert np.abs(jax.grad(mean)(jnp.float32(best + 0.1))).min() > 1e-4
    # Gradients in the mean are those of the squared error over twice the variance.
    constant = vid.negative_log_likelihood(residual, wanted, raw)
    expected = np.square(residual).mean(axis=1) / 10 + 0.5 * np.log(5)
    np.testing.assert_allclose(constant, expected, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_reused_layer_gives_the_teachers_logits(classes):
    case = problem("simkd", classes)
    exact = features.standardize_embedding(case.inputs, case.constants)
    found = simkd.class_logits(exact, case.constants)
    np.testing.assert_allclose(found, case.inputs.teacher_logits, rtol=1e-4, atol=1e-4)


def test_labels_teach_what_is_read_out():
    case = problem("simkd", 3)
    outputs = Outputs(jnp.asarray(case.inputs.logits), jnp.asarray(case.inputs.embedding))
    logits = METHODS["simkd"].readout(outputs, case.inputs.extra, case.constants, hyperparameters())
    assert logits.shape == (BATCH, 3)
    label = logits.argmax(axis=1)
    taught, _ = run("simkd", 3, values=hyperparameters(label_smoothing=0.0), label=label)
    expected = -jax.nn.log_softmax(logits)[np.arange(BATCH), label]
    np.testing.assert_allclose(taught.terms["hard"], expected, rtol=1e-5)


def test_a_layer_that_does_not_make_the_logits_is_refused(monkeypatch):
    monkeypatch.setattr(features, "_PART", 7)
    seen = problem("simkd", 2).seen
    random = np.random.default_rng(0)
    # A constant per row changes no probability: log-probabilities are welcome.
    shifted = seen.teacher_logits + random.normal(size=(40, 1))
    assert set(simkd.prepare(seen._replace(teacher_logits=shifted), STATIC)) >= {"weights", "bias"}
    noisy = seen.teacher_logits + random.normal(size=(40, 2))
    with pytest.raises(UserError, match=r"leave \d+% of the variance .* leave simkd out or bring"):
        simkd.prepare(seen._replace(teacher_logits=noisy), STATIC)
