"""Steps of convolutional networks against PyTorch, and which members keep their averages."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from lelp_jax.models.pixels import scale_pixels
from lelp_jax.train import early_stopping
from lelp_jax.train.predict import predict
from lelp_jax.train.step import update_average
from tests.helpers.fleets import GROUPS, ROWS, compiled, compiled_init, members_of, order_of
from tests.helpers.image_fleets import IMAGES, convolve, rows_of, run, spec_of
from tests.helpers.trees import assert_close, assert_equal, select

STEPS = 3
WEIGHT = np.random.default_rng(6).uniform(0.2, 3, (GROUPS, ROWS)).astype(np.float32)


def to_torch(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: torch.tensor(np.float64(leaf)), tree)


def to_numpy(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.detach().numpy(), tree)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_fleet_trains_as_pytorch_does(parts: int) -> None:
    """Parameters, running averages and losses; parts hand their running averages on."""
    spec = spec_of(steps=STEPS, accumulate=parts)
    members = members_of(2, learning_rate=np.array([0.02, 0.1]), label_smoothing=0.1)
    rows, order = rows_of(WEIGHT), order_of(STEPS, 2)
    start, end, log = run(spec, members, rows, order)
    for index in range(2):
        rate, decay = (
            float(members.hyperparameters[name][index])
            for name in ("learning_rate", "weight_decay")
        )
        params, kept = (
            to_torch(select(tree, index))
            for tree in (start.members.params.network, start.members.params.statistics)
        )
        leaves = [leaf.requires_grad_() for leaf in jax.tree.leaves(params)]
        groups = [
            {"params": [leaf for leaf in leaves if (leaf.ndim > 1) == decayed], "weight_decay": wd}
            for decayed, wd in ((True, decay), (False, 0.0))
        ]
        rule = torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
        for step in range(STEPS):
            for group in rule.param_groups:
                group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * step / STEPS))
            rule.zero_grad()
            seen, total = order[step, index], 0.0
            own = members.group[index]
            for part in range(parts):
                picked = seen[part::parts]
                pixels = torch.tensor(scale_pixels(IMAGES[rows.row[own, picked]])).double()
                logits, _, kept = convolve(params, kept, pixels, train=True)
                label = torch.tensor(rows.label[own, picked]).long()
                losses = functional.cross_entropy(
                    logits, label, reduction="none", label_smoothing=0.1
                )
                total = total + (losses * torch.tensor(WEIGHT[own, picked])).sum()
            (total / WEIGHT[own, seen].sum()).backward()
            rule.step()
            np.testing.assert_allclose(log.total[step, index], total.item(), rtol=1e-5)
            np.testing.assert_allclose(log.weight[step, index], WEIGHT[own, seen].sum(), rtol=1e-6)
        trained = select(end.members.params, index)
        assert_close(trained.network, to_numpy(params), 1e-4)
        assert_close(trained.statistics, to_numpy(kept), 1e-5)
        moved = jax.tree.map(
            lambda a, b: np.abs(a - b).max(), select(start.members.params, index), trained
        )
        assert min(jax.tree.leaves(moved)) > 1e-3
        # Prediction takes the running averages, and pixels as they are stored.
        pixels = torch.tensor(scale_pixels(IMAGES)).double()
        logits, embedding, _ = convolve(params, kept, pixels, train=False)
        stacked = jax.tree.map(lambda leaf: leaf[None], trained)
        found = predict(spec, stacked, {}, {}, IMAGES)
        np.testing.assert_allclose(found[0][0], logits.detach(), atol=1e-4)
        np.testing.assert_allclose(found[1][0], embedding.detach(), atol=1e-4)


def test_averages_of_members_that_diverged_stopped_or_are_done_stay() -> None:
    """The moving average is NumPy's, with running averages in it."""
    spec = spec_of(steps=STEPS, average=0.3)
    members = members_of(3, learning_rate=0.1, label_smoothing=np.array([0.1, np.nan, 0.1]))
    state = jax.jit(functools.partial(early_stopping.add_best, None))(
        compiled_init(spec)(IMAGES[:1], members.seed)
    )
    stopped = jnp.array([False, False, True])
    best = state.members.best._replace(stopped=stopped)
    states = [state._replace(members=state.members._replace(best=best))]
    for position in order_of(STEPS + 2, 3):
        states.append(compiled(spec)(states[-1], members, rows_of(), IMAGES, position[None])[0])
    first, *trained = (each.members for each in states)
    assert trained[-1].diverged.tolist() == [False, True, False]
    for still in (1, 2):
        for name in ("params", "opt_state", "average"):
            before, after = (select(getattr(each, name), still) for each in (first, trained[-1]))
            assert_equal(after, before)
    # Beyond the end nothing changes.
    assert_equal(trained[STEPS + 1], trained[STEPS - 1])
    wanted = select(first.params, 0)
    for step, each in enumerate(trained[:STEPS]):
        now = select(each.params, 0)
        share = min(0.3, (1 + step) / (10 + step))
        wanted = jax.tree.map(lambda old, new, s=share: s * old + (1 - s) * new, wanted, now)
        assert_close(select(each.average, 0), wanted, 1e-5)
        before = select(states[step].members.params, 0)
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), now, before)
        assert min(jax.tree.leaves(moved)) > 1e-5
    assert_equal(trained[-1].evaluated, trained[-1].average)


def test_the_decay_of_the_moving_average_rises() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 3))
    wanted, average = values[0], {"w": jnp.asarray(values[0])}
    for step, value in enumerate(values):
        share = min(0.8, (1 + step) / (10 + step))
        wanted = share * wanted + (1 - share) * value
        average = update_average(0.8, average, {"w": jnp.asarray(value)}, jnp.int32(step))  # type: ignore[arg-type, assignment]
    np.testing.assert_allclose(average["w"], wanted, rtol=1e-5)
    assert update_average(0.8, None, {}, jnp.int32(0)) is None  # type: ignore[arg-type]
