"""Length buckets: little padding, every row once per epoch, the same whenever asked."""

import numpy as np
import pytest
from hypothesis import given, settings
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
    division = buckets.divide(LENGTHS, 32, len(LENGTHS), WORK)
    order = buckets.sort_groups(division, [LENGTHS], 0)
    steps, batch = range(5 * len(LENGTHS) // 32), 32
    seen = sum(LENGTHS[order.positions(step, 1, batch, 7, 0)].sum() for step in steps)
    given = sum(batch * order.length(step) for step in steps)
    assert 0.1 < 1 - seen / given < 0.15
    # One fewer would leave too much.
    assert len(division.shares) == 6


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
    return buckets.sort_groups(buckets.divide(LENGTHS, 16, 3000, WORK), lengths, 3), lengths


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


def count_rows(order: buckets.Buckets, batch: int, steps: int, seed: int, group: int) -> np.ndarray:
    """Returns how often each row of a group is seen in so many steps."""
    seen = [order.positions(step, 1, batch, seed, group)[0] for step in range(steps)]
    return np.bincount(np.concatenate(seen), minlength=len(order.orders[group]))


@given(
    rows=st.integers(1, 3000),
    batch=st.integers(1, 64),
    epochs=st.integers(1, 5),
    spread=st.floats(0, 3),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=200)
def test_every_epoch_shows_every_row_once(rows, batch, epochs, spread, seed) -> None:
    random = np.random.default_rng(seed)
    lengths = np.ceil(5 * np.exp(spread * random.normal(size=rows)).clip(0, 100)).astype(int)
    order = buckets.sort_groups(buckets.divide(lengths, batch, rows, WORK), [lengths], seed)
    steps = max(1, round(epochs * rows / batch))
    counts = count_rows(order, batch, steps, 5, 0)
    # Of the rows that do not fill the last batch some are left out, or some of it come again.
    assert np.abs(counts - epochs).sum() == abs(steps * batch - epochs * rows)
    assert np.abs(counts - epochs).max() <= max(1, batch // rows + 1)


@pytest.mark.parametrize(("rows", "epochs", "batch"), [(200, 3, 16), (1000, 1, 32), (900, 2, 13)])
def test_short_trainings_leave_no_row_unseen(rows, epochs, batch) -> None:
    lengths = LENGTHS[:rows]
    order = buckets.sort_groups(buckets.divide(lengths, batch, rows, WORK), [lengths], 1)
    assert len(order.lengths) > 1
    counts = count_rows(order, batch, -(-epochs * rows // batch), 5, 0)
    assert counts.min() >= epochs


def test_members_with_fewer_rows_see_each_as_often() -> None:
    order, lengths = made()
    assert len(lengths[0]) > len(lengths[1])
    counts = count_rows(order, 16, 12 * 3000 // 16, 5, 1)
    assert counts.min() >= 11
    assert counts.max() <= 13


@given(
    runs=st.lists(st.integers(1, 9), max_size=7),
    rows=st.integers(1, 300),
    more=st.integers(0, 5000),
    epochs=st.integers(1, 20),
)
def test_every_epoch_deals_its_runs(runs, rows, more, epochs) -> None:
    division = buckets.Division(tuple(runs), rows, (sum(runs) + 1) * rows + more)
    order = buckets.Buckets(division, (0,) * (len(runs) + 1), (), 9)
    count = division.first_run(epochs)
    places = [order._place(run) for run in range(count)]
    seen = [0] * (len(runs) + 1)
    for run, (bucket, before) in enumerate(places):
        assert before == seen[bucket]
        seen[bucket] += 1
        assert division.first_run(division.epoch_of(run)) <= run
        assert division.first_run(division.epoch_of(run) + 1) > run
    assert seen[:-1] == [epochs * own for own in runs]
    assert 0 <= count * rows - epochs * division.seen < rows
    assert places[-1][0] == len(runs)


def test_an_order_does_not_depend_on_when_it_is_asked_for() -> None:
    order, _ = made()
    late = order.positions(40, 4, 8, 11, 1)
    early = [order.positions(step, 1, 8, 11, 1) for step in range(44)]
    np.testing.assert_array_equal(np.concatenate(early[40:]), late)


def test_members_and_buckets_have_orders_of_their_own() -> None:
    order, _ = made()
    assert (order.positions(0, 1, 16, 5, 0) != order.positions(0, 1, 16, 6, 0)).any()
    shifted = buckets.Buckets(order.division, order.lengths, order.orders, 4)
    steps = range(0, 400, buckets.RUN)
    assert [order.length(step) for step in steps] != [shifted.length(step) for step in steps]
    # Epochs are dealt anew, too.
    epoch = sum(order.division.runs) * buckets.RUN
    first, second = (
        [order.length(start + step) for step in range(0, epoch, buckets.RUN)]
        for start in (0, order.division.first_run(1) * buckets.RUN)
    )
    assert first != second


def test_numbers_are_seen_whole_and_in_the_order_of_the_loader() -> None:
    from lelp_jax.data import loader

    table = np.zeros((50, 3), np.float32)
    division = buckets.choose_ends(table, 8, 50, WORK)
    assert division.shares == (1.0,)
    order = buckets.make_buckets(table, [np.arange(50)], division, 0)
    assert order.length(9) == 0
    np.testing.assert_array_equal(
        order.positions(12, 9, 8, 77, 0), loader.batch_positions(77, 12, 9, 8, 50)
    )


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_rows_leave_no_bucket_empty(rows: int) -> None:
    division = buckets.divide(LENGTHS, 10, 4000, WORK)
    order = buckets.sort_groups(division, [LENGTHS[:rows]], 0)
    for step in range(99):
        positions = order.positions(step, 1, 4, 0, 0)
        assert ((positions >= 0) & (positions < rows)).all()


def test_tokens_are_measured_to_their_end() -> None:
    table = np.full((6, 5), PAD, np.int32)
    for row, length in enumerate([1, 2, 5, 2, 1, 5]):
        table[row, :length] = row
    order = buckets.make_buckets(table, [np.arange(6)], buckets.Division((1, 1), 2, 6), 0)
    assert order.lengths == (1, 2, 5)
