"""Students that ask a frozen teacher in every step, with noise on what both of them see."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models.variables import Variables
from lelp_jax.train.gradients import ask_teacher
from lelp_jax.train.predict import predict
from tests.helpers.fleets import (
    BATCH,
    INPUTS,
    compiled,
    compiled_init,
    members_of,
    order_of,
    run,
)
from tests.helpers.online_teachers import (
    CLASSES,
    DISTILLING,
    PARTLY,
    STILL,
    SUBCLASSES,
    TEACHERS,
    WHOLE,
    embedded,
    forward,
    loss_of,
    noise_of,
    rows_of,
    spec_of,
    teach,
)
from tests.helpers.trees import select


@pytest.mark.parametrize("method", DISTILLING)
def test_without_noise_the_teacher_says_the_same_in_the_step_and_in_the_bank(method: str) -> None:
    ends = {}
    for online in (True, False):
        spec, rows = spec_of(method, online=online), rows_of(method, online=online)
        start, end, _ = run(spec, members_of(), rows, order_of(30))
        assert not end.members.diverged.any()
        ends[online] = end.members.params
    trees = map(jax.tree.leaves, (ends[True], ends[False], start.members.params))
    for one, other, first in zip(*trees, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        assert np.abs(one - first).max() > 1e-3


@pytest.mark.parametrize("online", [True, False], ids=["online", "bank"])
@pytest.mark.parametrize("method", DISTILLING)
def test_the_loss_is_that_of_the_noisy_inputs(method: str, online: bool) -> None:
    """Student and, online, teacher see the same noisy input; a bank answers for the clean row."""
    spec, rows = spec_of(method, online=online, noise=0.7), rows_of(method, online=online)
    members, order = members_of(**STILL), order_of(2)
    start, _, log = run(spec, members, rows, order)
    mask = PARTLY if method == "oracle" else WHOLE
    for step in range(2):
        for index in range(4):
            group, picked = members.group[index], order[step, index]
            row = rows.row[group, picked]
            x = INPUTS[row] + noise_of(members.seed[index], step, 0.7)
            logits, _ = forward(select(start.members.params, index).network, x)
            told = teach(method, group, row, x if online else INPUTS[row])
            hyperparameters = {
                name: float(value[index]) for name, value in members.hyperparameters.items()
            }
            loss = loss_of(logits, rows.label[group, picked], told, mask, hyperparameters)
            np.testing.assert_allclose(log.total[step, index], loss.sum(), rtol=2e-5)


def test_noise_follows_from_seed_and_step_alone() -> None:
    spec, rows = spec_of("labels", online=False, noise=0.5), rows_of("labels", online=False)
    members = members_of(3, **STILL)._replace(
        seed=np.array([10, 11, 10], np.uint32), group=np.zeros(3, np.int32)
    )
    order = np.broadcast_to(np.arange(BATCH, dtype=np.int32), (4, 3, BATCH))
    start = compiled_init(spec)(INPUTS[:1], np.ones(3, np.uint32))
    _, log = compiled(spec)(start, members, rows, INPUTS, order)
    losses = np.asarray(log.total)
    # Parameters hardly move and rows are the same, so that noise alone makes the difference.
    np.testing.assert_array_equal(losses[:, 0], losses[:, 2])
    assert len(np.unique(losses.round(4))) == 8
    half, first = compiled(spec)(start, members, rows, INPUTS, order[:2])
    _, second = compiled(spec)(half, members, rows, INPUTS, order[2:])
    np.testing.assert_allclose(np.concatenate([first.total, second.total]), losses, rtol=1e-4)


def test_dropout_is_the_same_with_noise_and_without() -> None:
    """A bias that only dropout can move shows which units were dropped."""
    moved = []
    for noise in (0.0, 1e-6):
        spec = spec_of("labels", online=False, noise=noise, hidden=(64,), dropout=0.5)
        start, end, _ = run(spec, members_of(), rows_of("labels", online=False), order_of(1))
        bias = np.asarray(end.members.params.network["Dense_0"]["bias"])
        moved.append(bias != np.asarray(start.members.params.network["Dense_0"]["bias"]))
    assert 0 < moved[0].mean() < 1
    np.testing.assert_array_equal(*moved)


@pytest.mark.parametrize("method", ["kd", "lelp"])
def test_no_gradient_reaches_the_teacher(method: str) -> None:
    spec, rows = spec_of(method, online=True, noise=0.1), rows_of(method, online=True)
    members, order = members_of(), order_of(1)
    start = compiled_init(spec)(INPUTS[:1], members.seed)

    def total(teacher: Any) -> jax.Array:
        seen = rows._replace(frozen=rows.frozen._replace(teacher=Variables(teacher)))
        return compiled(spec)(start, members, seen, INPUTS, order)[1].total.sum()

    for leaf in jax.tree.leaves(jax.grad(total)(TEACHERS)):
        np.testing.assert_array_equal(leaf, 0)
    # Its answers matter all the same.
    assert abs(total(jax.tree.map(lambda leaf: 2 * leaf, TEACHERS)) - total(TEACHERS)) > 0.1


def test_a_bank_and_a_teacher_who_sees_the_noise_differ() -> None:
    ends = []
    for online in (True, False):
        spec, rows = spec_of("lelp", online=online, noise=0.7), rows_of("lelp", online=online)
        ends.append(run(spec, members_of(), rows, order_of(30))[1].members.params)
    kernels = [np.asarray(end.network["head"]["kernel"]) for end in ends]
    assert np.abs(kernels[0] - kernels[1]).max(axis=(1, 2)).min() > 1e-3


def test_prediction_is_clean() -> None:
    members = members_of()
    noisy, plain = spec_of("lelp", online=True, noise=5.0), spec_of("lelp", online=False)
    params = compiled_init(plain)(INPUTS[:1], members.seed).members.params
    constants = {"column_mask": np.stack([WHOLE] * 4)}
    for one, other in zip(
        predict(noisy, params, members.hyperparameters, constants, INPUTS),
        predict(plain, params, members.hyperparameters, constants, INPUTS),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    logits, _ = forward(select(params, 0).network, INPUTS)
    wanted = np.log(np.exp(logits).reshape(30, CLASSES, SUBCLASSES).sum(axis=2))
    got = predict(noisy, params, members.hyperparameters, constants, INPUTS)[0][0]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_scores_that_overflow_leave_the_class_undivided() -> None:
    spec, rows = spec_of("soft_kmeans", online=True), rows_of("soft_kmeans", online=True)
    frozen, label = select(rows.frozen, 0), np.zeros(3, np.int32)
    far = np.stack([INPUTS[0], 1e24 * np.abs(INPUTS[0]), INPUTS[1]]).astype(np.float32)
    for mask in (WHOLE, PARTLY):
        masked = dataclasses.replace(frozen.projection, column_mask=mask)
        logits, _, scores = ask_teacher(spec, frozen._replace(projection=masked), far, label)
        assert scores.dtype == jnp.float32
        assert np.isfinite(logits).all()
        np.testing.assert_array_equal(scores[1], np.where(mask, 0, -np.inf))
        sound = embedded("soft_kmeans", 0, forward(select(TEACHERS, 0), far[[0, 2]])[1])
        np.testing.assert_allclose(np.asarray(scores)[[0, 2]], sound, rtol=1e-5)


@pytest.mark.parametrize("method", ["kd", "soft_kmeans"])
def test_a_teacher_that_is_not_finite_shows_as_divergence_of_its_own_group(method: str) -> None:
    rows = rows_of(method, online=True)
    spoiled = jax.tree.map(np.copy, TEACHERS)
    spoiled["Dense_0"]["bias"][1] = np.nan
    spec = spec_of(method, online=True, noise=0.1)
    bad = rows._replace(frozen=rows.frozen._replace(teacher=Variables(spoiled)))
    _, end, _ = run(spec, members_of(), bad, order_of(30))
    assert end.members.diverged.tolist() == [False, True, False, True]
    _, sound, _ = run(spec, members_of(), rows, order_of(30))
    jax.tree.map(
        np.testing.assert_array_equal,
        select(end.members.params, [0, 2]),
        select(sound.members.params, [0, 2]),
    )
