"""The rules that size fleets and dispatches."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.train import plan

SIZES = st.integers(1, 40)


def by_member(coordinates: list, trials: dict, capacity: dict) -> dict:
    """Returns each member's block."""
    return {
        coordinates[position]: block
        for block, positions in plan.divide_into_fleets(coordinates, trials, capacity).items()
        for position in positions
    }


def grid(trials: int, replicates: int) -> list[tuple[str, int, int]]:
    return [(key, t, r) for key in ("a", "b") for t in range(trials) for r in range(replicates)]


@given(trials=st.integers(1, 12), replicates=st.integers(1, 12), a=SIZES, b=SIZES, data=st.data())
def test_other_members_do_not_change_a_block(trials, replicates, a, b, data):
    coordinates = grid(trials, replicates)
    number, capacity = {"a": trials, "b": trials}, {"a": a, "b": b}
    whole = by_member(coordinates, number, capacity)
    missing = data.draw(st.lists(st.sampled_from(coordinates), unique=True))
    left = data.draw(st.permutations([x for x in coordinates if x not in missing]))
    assert by_member(left, number, capacity) == {x: whole[x] for x in left}
    extended = by_member(grid(trials, replicates + 5), number, capacity)
    assert {x: extended[x] for x in coordinates} == whole


@given(trials=st.integers(1, 40), replicates=st.integers(1, 12), a=SIZES, b=SIZES)
def test_blocks_hold_every_member_once_and_never_too_many(trials, replicates, a, b):
    coordinates, capacity = grid(trials, replicates), {"a": a, "b": b}
    blocks = plan.divide_into_fleets(coordinates, {"a": trials, "b": trials}, capacity)
    assert sorted(p for block in blocks.values() for p in block) == list(range(len(coordinates)))
    for (key, _, _), block in blocks.items():
        assert {coordinates[position][0] for position in block} == {key}
        assert 1 <= len(block) <= capacity[key]


@given(trials=st.integers(1, 12), replicates=st.integers(1, 12), capacity=SIZES)
def test_blocks_are_no_smaller_than_half_the_capacity_can_hold(trials, replicates, capacity):
    coordinates = [("a", t, r) for t in range(trials) for r in range(replicates)]
    blocks = plan.divide_into_fleets(coordinates, {"a": trials}, {"a": capacity})
    wide, tall = min(trials, capacity), max(1, capacity // min(trials, capacity))
    assert len(blocks) == math.ceil(trials / wide) * math.ceil(replicates / tall)


def test_more_trials_than_capacity_are_split():
    coordinates = [("a", t, 0) for t in range(10)]
    blocks = plan.divide_into_fleets(coordinates, {"a": 10}, {"a": 4})
    assert list(blocks.values()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_trials_come_together_before_replicates():
    coordinates = [("a", t, r) for t in range(3) for r in range(4)]
    blocks = plan.divide_into_fleets(coordinates, {"a": 3}, {"a": 6})
    members = [[coordinates[p][1:] for p in block] for block in blocks.values()]
    assert members == [
        [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)],
        [(0, 2), (0, 3), (1, 2), (1, 3), (2, 2), (2, 3)],
    ]


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@given(
    work=st.integers(1, 10**12),
    members=st.integers(1, 256),
    steps=st.integers(1, 10**6),
)
def test_dispatches_cover_the_steps(platform, work, members, steps):
    each = plan.steps_per_dispatch(work, members, steps, platform, 0, 0)
    assert 1 <= each <= min(steps, 1000)
    dispatches = math.ceil(steps / each)
    # Equally long: the last one wastes less than one step per dispatch.
    assert dispatches * each - steps < dispatches
    if each > 1:
        limit = 2e10 if platform == "cpu" else 2e13
        assert work * members * each <= limit


@given(
    work=st.integers(1, 10**9),
    steps=st.integers(1, 10**6),
    spacing=st.integers(0, 10**4),
    run=st.sampled_from([0, 1, 4, 12]),
)
def test_dispatches_end_where_rows_of_another_length_or_evaluations_come(work, steps, spacing, run):
    free = plan.steps_per_dispatch(work, 3, steps, "cpu", 0, 0)
    each = plan.steps_per_dispatch(work, 3, steps, "cpu", spacing, run)
    for border in (spacing, run):
        assert border % each == 0
    if spacing or run:
        # As long as they may be otherwise.
        longer = range(each + 1, free + 1)
        assert all(spacing % size or run % size for size in longer)


def test_short_training_is_one_dispatch():
    assert plan.steps_per_dispatch(192_000, 4, 700, "cpu", 0, 0) == 700
    assert plan.steps_per_dispatch(192_000, 4, 1500, "cpu", 0, 0) == 750


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_fleets_shrink_with_the_size_of_a_member(platform):
    sizes = [plan.members_per_program(10**power, 1, platform) for power in range(11)]
    assert sizes[0] == (32 if platform == "cpu" else 256)
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    for power, size in enumerate(sizes):
        assert size == 1 or size * 10**power * 4 * 6 <= 2 << 30


def test_fleets_shrink_with_the_work_of_a_member():
    sizes = [plan.members_per_program(1, 10**power, "cpu") for power in range(12)]
    assert sizes[:8] == [32] * 8
    assert sizes[8:] == [20, 2, 1, 1]


def test_best_parameters_take_room():
    alone, beside = (
        plan.members_per_program(3 * 10**6, 1, "cpu", keeps_best=keeps) for keeps in (False, True)
    )
    assert (alone, beside) == (29, 25)


def test_activations_take_room():
    def size(platform: str, activations: int) -> int:
        return plan.members_per_program(1000, 1, platform, activations=activations)

    # 2 GiB are 2**29 numbers.
    assert [size("gpu", 2**power) for power in (0, 20, 25, 29, 40)] == [256, 256, 15, 1, 1]


def test_convolutional_networks_train_alone_sooner():
    def size(platform: str, work: int, activations: int) -> int:
        return plan.members_per_program(1, work, platform, activations=activations)

    assert [size("cpu", 10**8, activations) for activations in (0, 1)] == [20, 2]
    assert [size("cpu", 4 * 10**8, activations) for activations in (0, 1)] == [5, 1]
    assert [size("cpu", 10**6, activations) for activations in (0, 1)] == [32, 32]
    assert [size("gpu", 10**8, activations) for activations in (0, 1)] == [256, 256]
