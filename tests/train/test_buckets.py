"""Length buckets: little padding, every row as often as any other, the same whenever asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.models.tokens import PAD
from lelp_jax.train import buckets

RANDOM = np.random.default_rng(0)
# As the sentences of SST-2 are: 25 tokens in the mean, some at the limit.
LENGTHS = np.clip(RANDOM.gamma(5.5, 4.6, size=4000).round().astype(int), 3, 64)
# That of an encoder's fine-tuning.
WORK = 1e13


def least_tokens(lengths: np.ndarray, count: int, least: int) -> float:
    """Returns the fewest tokens, padding included, of so many buckets, by trying all divisions."""
    import itertools

    values = np.unique(lengths)
    best = np.inf
    for cuts in itertools.combinations(values[:-1], count - 1):
        places = np.searchsorted(lengths_sorted := np.sort(lengths), [*cuts, values[-1]], "right")
        sizes = np.diff([0, *places])
        if (sizes >= least).all():
            best = min(best, float((sizes * lengths_sorted[places - 1]).sum()))
    return best


def test_padding_is_little() -> None:
    shares = buckets.find_ends(LENGTHS, 32 / len(LENGTHS), WORK)
    order = buckets.sort_groups(shares, [LENGTHS], 0)
    steps, batch = range(5 * len(LENGTHS) // 32), 32
    seen = sum(LENGTHS[order.positions(step, 1, batch, 7, 0)].sum() for step in steps)
    given = sum(batch * order.length(step) for step in steps)
    assert 0.1 < 1 - seen / given < 0.15
    # One fewer would leave too much.
    assert len(shares) == 6


def test_light_training_has_few_programs() -> None:
    counts = [len(buckets.find_ends(LENGTHS, 0.01, 10.0**power)) for power in range(9, 15)]
    assert counts[0] == 1
    assert counts == sorted(counts)
    assert counts[-1] == 6


@given(
    st.lists(st.integers(1, 9), min_size=4, max_size=40),
    st.integers(1, 4),
)
def test_no_division_has_less_padding(values: list[int], least: int) -> None:
    lengths = np.array(values)
    shares = buckets.find_ends(lengths, least / len(lengths), WORK)
    stops = np.round(np.array(shares) * len(lengths)).astype(int)
    sizes = np.diff([0, *stops])
    assert (sizes >= least).all()
    tokens = float((sizes * np.sort(lengths)[stops - 1]).sum())
    assert tokens == least_tokens(lengths, len(shares), least)


def made(groups: int = 2) -> tuple[buckets.Buckets, list[np.ndarray]]:
    lengths = [RANDOM.permutation(LENGTHS)[: 3000 - 7 * g] for g in range(groups)]
    return buckets.sort_groups(buckets.find_ends(LENGTHS, 0.01, WORK), lengths, 3), lengths


def test_rows_fit_into_their_bucket() -> None:
    order, lengths = made()
    seen = set()
    for step in range(0, 240, 2):
        seen.add(order.length(step))
        for group, own in enumerate(lengths):
            positions = order.positions(step, 2, 16, 5, group)
            assert positions.shape == (2, 16)
            assert own[positions].max() <= order.length(step)
    assert seen == set(order.lengths)


def test_every_row_is_seen_as_often_as_any_other() -> None:
    order, lengths = made()
    rows, epochs, batch = len(lengths[0]), 12, 20
    steps = range(epochs * rows // batch)
    positions = np.concatenate([order.positions(step, 1, batch, 5, 0)[0] for step in steps])
    counts = np.bincount(positions, minlength=rows)
    # Within each bucket, epochs; among the buckets, in proportion up to a few batches.
    assert counts.min() >= epochs - 2
    assert counts.max() <= epochs + 2


def test_an_order_does_not_depend_on_when_it_is_asked_for() -> None:
    order, _ = made()
    late = order.positions(40, 4, 8, 11, 1)
    early = [order.positions(step, 1, 8, 11, 1) for step in range(44)]
    np.testing.assert_array_equal(np.concatenate(early[40:]), late)
    long, short = order.sequence(500), order.sequence(50)
    np.testing.assert_array_equal(long[:50], short)


def test_members_and_buckets_have_orders_of_their_own() -> None:
    order, _ = made()
    assert (order.positions(0, 1, 16, 5, 0) != order.positions(0, 1, 16, 6, 0)).any()
    shifted = buckets.Buckets(order.ends, order.lengths, order.orders, 4)
    assert (order.sequence(100) != shifted.sequence(100)).any()


def test_numbers_are_seen_whole_and_in_the_order_of_the_loader() -> None:
    from lelp_jax.data import loader

    table = np.zeros((50, 3), np.float32)
    assert buckets.choose_ends(table, 8, 50, WORK) == (1.0,)
    order = buckets.make_buckets(table, [np.arange(50)], (1.0,), 0)
    assert order.length(9) == 0
    np.testing.assert_array_equal(
        order.positions(12, 9, 8, 77, 0), loader.batch_positions(77, 12, 9, 8, 50)
    )


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_rows_leave_no_bucket_empty(rows: int) -> None:
    shares = buckets.find_ends(LENGTHS, 0.01, WORK)
    order = buckets.sort_groups(shares, [LENGTHS[:rows]], 0)
    for step in range(99):
        positions = order.positions(step, 1, 4, 0, 0)
        assert ((positions >= 0) & (positions < rows)).all()


def test_tokens_are_measured_to_their_end() -> None:
    table = np.full((6, 5), PAD, np.int32)
    for row, length in enumerate([1, 2, 5, 2, 1, 5]):
        table[row, :length] = row
    order = buckets.make_buckets(table, [np.arange(6)], (1 / 3, 2 / 3, 1.0), 0)
    assert order.lengths == (1, 2, 5)
