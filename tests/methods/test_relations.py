"""The terms of a whole batch, RKD and CKA: what they do not depend on, and rows that are equal."""

import jax
import numpy as np
import pytest

from lelp_jax.methods import cka, rkd
from tests.helpers.feature_references import BATCH, TEACHER, feature, problem


def similar_copy(rows: np.ndarray, dims: int) -> np.ndarray:
    """Returns the rows scaled, turned into a space of more dims, and shifted."""
    random = np.random.default_rng(1)
    turn = np.linalg.qr(random.normal(size=(dims, dims)))[0][: rows.shape[1]]
    return np.float32(3 * rows @ turn + random.normal(size=dims))


@pytest.mark.parametrize("name", ["rkd", "cka"])
def test_batch_terms_know_no_scale_turn_shift_or_order(name):
    inputs = problem(name, 2).inputs
    # The student's embedding and its copy in more dims, as the teacher's.
    copy = similar_copy(inputs.embedding, TEACHER)
    np.testing.assert_allclose(feature(name, teacher_embedding=copy), 0, atol=1e-6)
    before = feature(name)
    assert before.min() > 0.01
    order = np.random.default_rng(0).permutation(BATCH)
    shuffled = feature(
        name,
        embedding=inputs.embedding[order],
        teacher_embedding=inputs.teacher_embedding[order],
    )
    np.testing.assert_allclose(shuffled, before, rtol=1e-5)
    stretched = inputs.embedding * np.float32([1, 1, 1, 1, 9])
    assert np.abs(feature(name, embedding=stretched) - before).min() > 0.01


def test_rows_that_are_equal_up_to_rounding_have_no_distance():
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(3, 64)) + 50, 2, axis=0)
    rows = np.float32(rows + 5e-4 * random.normal(size=rows.shape))
    found = jax.jit(rkd.geometry)(rows)
    same = np.arange(6)[:, None] // 2 == np.arange(6) // 2
    np.testing.assert_array_equal(found.distance == 0, same)
    np.testing.assert_array_equal(found.inverse == 0, same)


def test_angles_of_many_vertices_are_those_of_few(monkeypatch):
    # 12 rows in groups of 8: the last group is not full.
    inputs = problem("rkd", 2).inputs

    def angles():
        def of(first, second):
            return rkd.angle_loss(rkd.geometry(first), rkd.geometry(second))

        return jax.jit(of)(inputs.embedding, inputs.teacher_embedding)

    grouped = angles()
    monkeypatch.setattr(rkd, "_VERTICES", BATCH)
    np.testing.assert_allclose(grouped, angles(), rtol=1e-6)


def test_a_point_is_aligned_with_nothing():
    rows = problem("cka", 2).inputs.embedding
    point = np.full((BATCH, 5), 0.1, np.float32)
    alignment = jax.jit(cka.alignment)
    assert alignment(point, rows) == 0
    np.testing.assert_allclose(alignment(rows, rows), 1, rtol=1e-6)


def test_the_square_root_of_the_alignment_is_what_the_authors_code_takes():
    inputs = problem("cka", 2).inputs
    first, second = (
        np.asarray(rows, np.float64) - np.asarray(rows, np.float64).mean(axis=0)
        for rows in (inputs.embedding, inputs.teacher_embedding)
    )
    within = [np.linalg.norm(rows.T @ rows) for rows in (first, second)]
    theirs = np.linalg.norm(first.T @ second) / np.sqrt(within[0] * within[1])
    ours = jax.jit(cka.alignment)(inputs.embedding, inputs.teacher_embedding)
    np.testing.assert_allclose(ours, theirs**2, rtol=1e-5)
