"""Random choices as pure functions of seeds, and the order of examples."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core import seeds
from lelp_jax.data import loader
from lelp_jax.data.loader import batch_positions

SEEDS = st.integers(0, 2**31 - 1)


def test_derived_seeds_depend_on_every_name():
    names = [(), ("a",), ("a", 1), ("a", "1"), ("b", 1), (1, "a"), ("a", 12), ("a", 1, 2)]
    found = {seeds.derive(root, *name) for root in (0, 1) for name in names}
    assert len(found) == 2 * len(names)
    assert all(0 <= seed < 2**31 for seed in found)
    assert seeds.derive(7, "replicate", 3) == seeds.derive(7, "replicate", 3)


def test_derived_seeds_are_the_same_in_every_version():
    assert seeds.derive(0, "replicate", 3) == 1941374620


def test_words_follow_splitmix64():
    mask = 2**64 - 1
    state = seeds.hash_seed(42)
    wanted = []
    for counter in range(5):
        word = (state + counter * 0x9E3779B97F4A7C15) & mask
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        wanted.append(word ^ (word >> 31))
    np.testing.assert_array_equal(seeds.hash_words(42, np.arange(5)), np.array(wanted, np.uint64))


@given(seed=SEEDS)
def test_words_are_a_pure_function_of_their_position(seed):
    words = seeds.hash_words(seed, np.arange(100))
    np.testing.assert_array_equal(seeds.hash_words(seed, np.array([[7], [93]])), words[[[7], [93]]])
    np.testing.assert_array_equal(seeds.hash_words(seed, np.arange(40, 60)), words[40:60])
    assert (seeds.hash_words(seed + 1, np.arange(100)) != words).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_words_are_uniform(seed):
    words = seeds.hash_words(seed, np.arange(20_000))
    assert len(np.unique(words)) == len(words)
    for counts in (
        np.bincount((words >> np.uint64(58)).astype(int), minlength=64),
        np.bincount((words % np.uint64(64)).astype(int), minlength=64),
    ):
        chi_squared = (np.square(counts - 312.5) / 312.5).sum()
        # 63 degrees of freedom: six standard deviations.
        assert 63 - 6 * 11.2 < chi_squared < 63 + 6 * 11.2
    bits = (words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=6 * 0.5 / np.sqrt(len(words)))
    other = seeds.hash_words(seed + 1, np.arange(20_000))
    signs = 2.0 * (words >> np.uint64(63)) - 1
    assert abs((signs * (2.0 * (other >> np.uint64(63)) - 1)).mean()) < 6 / np.sqrt(len(words))


@given(seed=SEEDS, population=st.integers(1, 200), share=st.floats(0, 1))
def test_subsets_are_sorted_and_distinct(seed, population, share):
    size = round(share * population)
    chosen = seeds.draw_subset(seed, size, population)
    assert chosen.shape == (size,)
    assert (np.diff(chosen) > 0).all()
    assert ((chosen >= 0) & (chosen < population)).all()
    np.testing.assert_array_equal(chosen, seeds.draw_subset(seed, size, population))
    smaller = seeds.draw_subset(seed, size // 2, population)
    assert np.isin(smaller, chosen).all()


def test_subsets_are_fair():
    counts = np.zeros(20)
    for seed in range(600):
        counts[seeds.draw_subset(seed, 5, 20)] += 1
    np.testing.assert_allclose(counts, 150, atol=6 * np.sqrt(600 * 0.25 * 0.75))


@given(
    seed=SEEDS,
    size=st.integers(1, 40),
    batch=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 50), max_size=4),
)
def test_any_cut_of_the_steps_gives_the_same_batches(seed, size, batch, cuts):
    whole = batch_positions(seed, 0, 50, batch, size)
    assert whole.shape == (50, batch)
    assert whole.dtype == np.int32
    ends = sorted({0, 50, *cuts})
    parts = [
        batch_positions(seed, start, end - start, batch, size)
        for start, end in itertools.pairwise(ends)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@given(seed=SEEDS, size=st.integers(1, 40), batch=st.integers(1, 60))
def test_every_epoch_shows_every_example_once(seed, size, batch):
    stream = batch_positions(seed, 0, 60, batch, size).reshape(-1)
    epochs = stream[: len(stream) // size * size].reshape(-1, size)
    np.testing.assert_array_equal(
        np.sort(epochs, axis=1), np.tile(np.arange(size), (len(epochs), 1))
    )


def test_epochs_and_seeds_differ():
    stream = batch_positions(3, 0, 4, 50, 50)
    assert len({tuple(epoch) for epoch in stream}) == 4
    assert (batch_positions(4, 0, 4, 50, 50) != stream).mean() > 0.9
    first = batch_positions(3, 0, 4000, 5, 5)[:, 0]
    np.testing.assert_allclose(np.bincount(first) / 4000, 0.2, atol=6 * 0.4 / np.sqrt(4000))


def test_batches_span_epochs_and_blocks(monkeypatch):
    in_one_block = batch_positions(5, 0, 90, 4, 7)
    loader._epochs.cache_clear()
    monkeypatch.setattr(loader, "_BLOCK", 21)
    whole = batch_positions(5, 0, 90, 4, 7)
    np.testing.assert_array_equal(whole, in_one_block)
    np.testing.assert_array_equal(batch_positions(5, 4, 3, 4, 7), whole[4:7])
    for step in (0, 5, 31, 89):
        np.testing.assert_array_equal(batch_positions(5, step, 1, 4, 7)[0], whole[step])
    epochs = whole.reshape(-1)[:357].reshape(-1, 7)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(7), (51, 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 45
    loader._epochs.cache_clear()


def test_late_steps_need_no_earlier_ones():
    late = batch_positions(1, 10**7, 2, 64, 1000)
    assert late.shape == (2, 64)
    np.testing.assert_array_equal(late[1], batch_positions(1, 10**7 + 1, 1, 64, 1000)[0])


def test_batches_handed_out_can_be_changed():
    first = batch_positions(2, 0, 3, 4, 9)
    first[:] = -1
    assert (batch_positions(2, 0, 3, 4, 9) >= 0).all()
