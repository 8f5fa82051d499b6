"""The contrast of CRD: its negatives, its memory, and the loss of both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.methods import crd, features
from lelp_jax.methods.base import Dims
from tests.helpers.feature_references import (
    CAPACITY,
    ROWS,
    first_normalizer,
    hyperparameters,
    problem,
)

KEY = jax.random.key(3)
draw = jax.jit(crd.draw)


def constants(**changes):
    seen = problem("crd", 3).seen._replace(**changes)
    return seen, jax.tree.map(jnp.asarray, crd.prepare(seen, {"negatives": "other_class"}))


@jax.jit
def step(inputs, values, rule):
    return crd.loss(inputs, rule, values)


@pytest.mark.parametrize(("number", "expected"), [(16384, 10.7041), (255, 6.5432)])
def test_the_loss_where_data_and_noise_are_alike(number, expected):
    log_chance = np.log(np.float32(1 / 5000))
    value = crd.noise_contrast(
        jnp.full(1, log_chance),
        jnp.full((1, 10), log_chance),
        jnp.full((1, 10), number / 10),
        jnp.log(number / 5000),
    )
    closed = np.log1p(number) + number * np.log((number + 1) / number)
    np.testing.assert_allclose(value, closed, rtol=1e-5)
    np.testing.assert_allclose(value, expected, atol=1e-4)


def test_negatives_are_all_rows_of_other_classes_and_no_others():
    seen, rule = constants()
    guess = np.where(seen.label >= 0, seen.label, seen.teacher_logits.argmax(axis=1))
    # Rows 3, 10, 17, ... have no label.
    position = np.array([0, 1, 2, 3, 39])
    drawn = np.concatenate(
        [draw(jax.random.key(seed), position, rule) for seed in range(20)], axis=1
    )
    for row, negatives in zip(position, drawn, strict=True):
        assert set(negatives) == set(np.flatnonzero(guess != guess[row]))
    # Evenly: with 860 draws of some 27 rows, within five standard deviations.
    for negatives in drawn:
        counts = np.unique_counts(negatives).counts
        mean = len(negatives) / len(counts)
        assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)


def test_any_other_row_may_be_a_negative():
    seen = problem("crd", 3).seen
    rule = jax.tree.map(jnp.asarray, crd.prepare(seen, {"negatives": "any"}))
    position = np.array([0, 1, 20, 39])
    drawn = np.concatenate(
        [draw(jax.random.key(seed), position, rule) for seed in range(20)], axis=1
    )
    for row, negatives in zip(position, drawn, strict=True):
        assert set(negatives) == set(range(ROWS)) - {row}


def test_a_key_gives_its_negatives():
    _, rule = constants()
    position = np.arange(5)
    first, again, other = (draw(key, position, rule) for key in (KEY, KEY, jax.random.key(4)))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.parametrize(("rows", "number"), [(2, 1), (1000, 999), (16385, 16384), (10**6, 16384)])
def test_the_data_set_caps_the_negatives(rows, number):
    assert crd.num_negatives(rows) == number


def test_rows_without_a_negative_are_refused():
    with pytest.raises(UserError, match=r"all 40 rows .* are of class 1; set it to 'any'"):
        constants(label=np.ones(ROWS, np.int32))
    seen = problem("crd", 3).seen
    one = seen._replace(**{part: getattr(seen, part)[:1] for part in ("label", "teacher_logits")})
    with pytest.raises(UserError, match=r"one row only.* add rows"):
        crd.prepare(one, {"negatives": "any"})


def test_the_memory_after_a_batch():
    case = problem("crd", 3)
    values = hyperparameters()
    result = step(case.inputs, values, case.constants)
    seen = case.inputs.position
    others = np.setdiff1d(np.arange(CAPACITY), seen)
    new_rows = {
        "student": jnp.asarray(case.inputs.embedding),
        "teacher": features.standardize_embedding(case.inputs, case.constants),
    }
    for name, rows in new_rows.items():
        old, new = case.inputs.state[name], result.state[name]
        np.testing.assert_array_equal(new[others], old[others])
        np.testing.assert_allclose(np.linalg.norm(new[seen], axis=1), 1, rtol=1e-6)
        vectors = features.apply_linear_map(case.inputs.extra[name], rows)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        expected = (old[seen] + vectors) / 2
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(new[seen], expected, rtol=1e-4, atol=1e-6)


def test_the_first_batch_sets_the_normalizers_for_good():
    case = problem("crd", 3)
    values = hyperparameters()
    first = step(case.inputs, values, case.constants).state
    expected = np.log([first_normalizer(case, name) for name in ("student", "teacher")])
    np.testing.assert_allclose(first["log_normalizer"], expected, rtol=1e-5)
    other = case.inputs._replace(state=first, key=KEY, embedding=-case.inputs.embedding)
    second = step(other, values, case.constants).state
    np.testing.assert_array_equal(second["log_normalizer"], first["log_normalizer"])


def test_no_gradient_goes_through_the_memory():
    case = problem("crd", 3)

    def remembered(extra):
        state = crd.loss(case.inputs._replace(extra=extra), case.constants, hyperparameters()).state
        return sum(leaf.sum() for leaf in jax.tree.leaves(state))

    def compared(state):
        inputs = case.inputs._replace(state=state)
        return crd.loss(inputs, case.constants, hyperparameters()).per_example.sum()

    both = jax.jit(lambda extra, state: (jax.grad(remembered)(extra), jax.grad(compared)(state)))
    slopes = both(case.inputs.extra, case.inputs.state)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes))


def test_a_row_twice_in_a_batch_moves_once():
    random = np.random.default_rng(0)
    memory, vectors = (
        features.normalize_rows(jnp.float32(random.normal(size=(n, 128)))) for n in (6, 3)
    )
    new = jax.jit(crd.remember)(memory, jnp.array([4, 1, 4]), vectors)
    expected = memory[4] + (vectors[0] + vectors[2]) / 2
    np.testing.assert_allclose(new[4], expected / np.linalg.norm(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(new[np.array([0, 2, 3, 5])], memory[np.array([0, 2, 3, 5])])


def test_the_memory_is_bounded_like_a_unit_vector():
    state = crd.init_state(KEY, Dims(2, 5, 7, 500))
    assert state["student"].shape == state["teacher"].shape == (500, 128)
    assert np.abs(state["student"]).max() <= np.sqrt(3 / 128)
    np.testing.assert_allclose(np.square(state["teacher"]).sum(axis=1).mean(), 1, rtol=0.05)
    assert np.any(state["student"] != state["teacher"])


def test_few_and_many_remembered_rows_give_one_loss(monkeypatch):
    case = problem("crd", 3)
    values = hyperparameters()

    def value_and_slope():
        def total(embedding):
            inputs = case.inputs._replace(embedding=embedding)
            return crd.loss(inputs, case.constants, values).per_example.sum()

        return jax.jit(jax.value_and_grad(total))(jnp.asarray(case.inputs.embedding))

    dense = value_and_slope()
    monkeypatch.setattr(crd, "_DENSE", 0)
    listed = value_and_slope()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), listed, dense)
