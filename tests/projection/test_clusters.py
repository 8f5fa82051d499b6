"""k-means of every class at once: against scikit-learn, float64, and itself on other devices."""

import sys

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from lelp_jax.core import seeds
from lelp_jax.projection.engine import clusters, kmeans, sample, stream
from lelp_jax.projection.engine.rows import EmbeddedRows
from tests.helpers.embeddings import SEEDS
from tests.helpers.processes import finish_all, launch_pair, run_script

# Shared by most tests, so that these share programs.
ROOM, DIMS, COUNT = 64, 4, 3


@pytest.fixture(autouse=True)
def _several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes blocks so small that the rows of most tests take several."""
    monkeypatch.setattr(kmeans, "_MOST_CACHED_ROWS", 16)


def packed(*groups: np.ndarray, room: int = ROOM) -> clusters.Points:
    """Returns points of classes with the rows given."""
    dims = groups[0].shape[1]
    room, _ = kmeans.padded_rows(room, dims)
    points = np.zeros((len(groups), room, dims), np.float32)
    for label, group in enumerate(groups):
        points[label, : len(group)] = group
    index = np.arange(points[..., 0].size).reshape(len(groups), room)
    size = np.array([len(group) for group in groups], np.int32)
    return clusters.Points(points, index, size, np.zeros(len(groups), np.float32))


def fit(points: clusters.Points, **changes: int) -> clusters.Clusters:
    settings = {"num_clusters": COUNT, "seed": 0, "restarts": 2}
    return clusters.fit_points(points, clusters.Options(**{**settings, **changes}))


def inertia(points: np.ndarray, centers: np.ndarray) -> float:
    """Returns the sum of squared distances to the nearest centre, in float64."""
    offset = points.astype(np.float64)[:, None] - centers.astype(np.float64)
    return float(np.square(offset).sum(axis=2).min(axis=1).sum())


def normal(seed: int, rows: int, dims: int = DIMS) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(rows, dims)).astype(np.float32)
    return points - points.mean(axis=0)


def in_order(centers: np.ndarray) -> np.ndarray:
    return centers[np.lexsort(centers.T)]


def kinds_of_data() -> list[np.ndarray]:
    """Returns data sets of 600 rows and 64 dims, of which most use few."""
    from sklearn.datasets import load_digits, make_blobs

    random = np.random.default_rng(0)
    blobs = make_blobs(600, 5, centers=8, cluster_std=1.5, random_state=0)[0]
    stretched = make_blobs(600, 6, centers=6, random_state=1)[0] @ random.normal(size=(6, 6))
    repeated = random.normal(size=(25, 4))[random.integers(0, 25, 600)]
    data = [blobs, random.uniform(size=(600, 3)), stretched, repeated, load_digits().data[:600]]
    wide = [np.pad(points, ((0, 0), (0, 64 - points.shape[1]))) for points in data]
    return [(points - points.mean(axis=0)).astype(np.float32) for points in wide]


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [1, 4])
def test_inertia_is_that_of_scikit_learn(restarts, monkeypatch):
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    monkeypatch.setattr(kmeans, "_MOST_CACHED_ROWS", 4096)

    data = kinds_of_data()
    rows = packed(*data, room=600)
    ours = [fit(rows, num_clusters=8, seed=seed, restarts=restarts).inertia for seed in range(30)]
    for own, points in zip(np.transpose(ours), data, strict=True):
        with threadpool_limits(limits=1):
            theirs = [
                KMeans(8, n_init=restarts, random_state=seed).fit(points).inertia_
                for seed in range(30)
            ]
        # Single fits of some sets differ by a tenth: beyond 1 %, what chance allows.
        error = np.sqrt((np.var(own) + np.var(theirs)) / 30)
        assert np.mean(own) <= 1.01 * np.mean(theirs) + 2 * error


def test_planted_clusters_are_found():
    random = np.random.default_rng(0)
    places = 20 * np.eye(COUNT, DIMS)
    owners = [random.integers(0, COUNT, 60) for _ in range(2)]
    groups = [places[owner] + 0.1 * random.normal(size=(60, DIMS)) for owner in owners]
    found = fit(packed(*groups))
    for label, (group, owner) in enumerate(zip(groups, owners, strict=True)):
        means = [group[owner == kind].mean(axis=0) for kind in range(COUNT)]
        np.testing.assert_allclose(
            in_order(found.centers[label]), in_order(np.array(means)), atol=1e-5
        )
    assert (found.distinct == COUNT).all()


@hypothesis.given(SEEDS)
def test_centres_are_means_and_the_inertia_is_exact(seed):
    group = normal(seed, 50)
    found = fit(packed(group, 100 * group), seed=seed)
    for label, points in enumerate((group, 100 * group)):
        centers = found.centers[label]
        assert found.inertia[label] == pytest.approx(inertia(points, centers), rel=1e-5)
        nearest = np.square(points[:, None] - centers).sum(axis=2).argmin(axis=1)
        means = [points[nearest == kind].mean(axis=0) for kind in range(COUNT)]
        # The last move may have changed a few rows' centres.
        moved = np.square(centers - means).sum()
        assert moved <= 1e-3 * points.var(axis=0).mean()
    assert found.mean_square[0] == pytest.approx(np.square(group).sum(axis=1).mean(), rel=1e-5)


@hypothesis.given(SEEDS, st.integers(1, ROOM))
def test_padding_and_other_classes_do_not_matter(seed, rows):
    points = packed(normal(seed, rows), normal(1, 20))
    found = fit(points)
    other = packed(normal(seed, rows), normal(2, 60), room=2 * ROOM)
    number = np.concatenate([points.number, points.number], axis=1)
    again = fit(other._replace(number=number))
    np.testing.assert_allclose(again.centers[0], found.centers[0], atol=1e-5)
    assert again.inertia[0] == pytest.approx(found.inertia[0], rel=1e-5, abs=1e-6)
    assert again.distinct[0] == found.distinct[0] == min(rows, COUNT)


@hypothesis.given(SEEDS)
def test_the_order_of_rows_does_not_matter(seed):
    rows = packed(normal(seed, 60), normal(seed + 1, 60))
    found = fit(rows, seed=seed)
    order = np.concatenate([np.random.default_rng(seed).permutation(60), np.arange(60, ROOM)])
    again = fit(
        rows._replace(points=rows.points[:, order], number=rows.number[:, order]), seed=seed
    )
    np.testing.assert_allclose(again.centers, found.centers, atol=1e-5)


@pytest.mark.parametrize(
    ("inertia", "best"),
    [([2, 1.000001, 1, 3], 1), ([2, 1.001, 1, 3], 2), ([0, 0], 0), ([1e-9, 0], 1)],
)
def test_rounding_does_not_choose_among_restarts_that_agree(inertia, best):
    assert kmeans.first_of_the_best(jnp.array(inertia, jnp.float32)) == best


@hypothesis.given(SEEDS, st.sampled_from([2.0**-20, 0.25, 2.0**20]))
def test_centres_go_with_turned_and_scaled_points(seed, scale):
    rows = packed(normal(seed, 60), normal(seed + 1, 40))
    found = fit(rows)
    scaled = fit(rows._replace(points=np.float32(scale) * rows.points))
    np.testing.assert_array_equal(scaled.centers, scale * found.centers)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(DIMS, DIMS)))[0]
    turned = fit(rows._replace(points=(rows.points @ turn).astype(np.float32)))
    np.testing.assert_allclose(turned.centers, found.centers @ turn, atol=1e-5)


def test_one_centre_is_the_mean():
    groups = [normal(0, 60) + 2, normal(1, 5) - 1]
    found = fit(packed(*groups), num_clusters=1)
    for label, group in enumerate(groups):
        np.testing.assert_allclose(found.centers[label, 0], group.mean(axis=0), atol=1e-6)


def test_as_many_centres_as_rows_are_the_rows():
    group = normal(0, COUNT)
    found = fit(packed(group, normal(1, 60)))
    np.testing.assert_allclose(in_order(found.centers[0]), in_order(group), atol=1e-6)
    assert found.inertia[0] == pytest.approx(0, abs=1e-9)


def test_few_distinct_rows_and_none_stay_finite():
    twice = np.repeat(normal(0, 2), 20, axis=0)
    found = fit(packed(twice, np.zeros((7, DIMS)), normal(1, 2), np.zeros((0, DIMS))))
    for field in found:
        assert np.isfinite(field).all()
    np.testing.assert_array_equal(found.distinct, [2, 1, 2, 0])
    np.testing.assert_allclose(found.inertia, 0, atol=1e-9)
    assert (found.radius > 0).all()


@pytest.mark.parametrize("kinds", [1, 2, 3, 5])
def test_rows_that_differ_by_rounding_are_counted_once(kinds):
    random = np.random.default_rng(kinds)
    different = random.normal(size=(kinds, DIMS))
    noise = 1e-7 * random.normal(size=(60, DIMS))
    group = (different[np.arange(60) % kinds] + noise).astype(np.float32)
    # Nearer to each other than the squares of their norms resolve, but no rounding.
    near = np.float32([[100, 0, 0, 0], [100, 0, 0, 0.01], [100, 0, 0.01, 0], [-300, 0, 0, 0]])
    for count in (3, 5):
        found = fit(packed(group, near[np.arange(60) % 4]), num_clusters=count)
        np.testing.assert_array_equal(found.distinct, [min(kinds, count), min(4, count)])
    coarse = fit(packed(group, group)._replace(rounding=np.array([0, 100], np.float32)))
    np.testing.assert_array_equal(coarse.distinct, [min(kinds, COUNT), 1])


def test_fits_are_repeatable_and_depend_on_the_seed():
    rows = packed(normal(0, 60), normal(0, 60))
    first, second = fit(rows, seed=5), fit(rows, seed=5)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    seen = {fit(rows, seed=seed).centers[0].tobytes() for seed in range(8)}
    assert len(seen) > 1
    # Classes of equal rows start from different ones, whatever their place in the data set.
    alike = rows._replace(number=0 * rows.number + rows.number[0])
    same = [fit(alike, seed=seed).centers for seed in range(8)]
    assert any((centers[0] != centers[1]).any() for centers in same)


def test_more_restarts_and_more_passes_are_no_worse():
    rows = packed(normal(0, 60), normal(1, 60))
    one, eight = (fit(rows, restarts=restarts, num_clusters=8) for restarts in (1, 8))
    assert (eight.inertia <= one.inertia).all()
    assert (eight.inertia < one.inertia).any()
    short = fit(rows, restarts=1, num_clusters=8, iterations=1)
    assert (short.iterations == 1).all()
    assert (short.inertia > one.inertia).any()
    assert (one.iterations > 1).all()


def const_of(group: np.ndarray) -> kmeans.Const:
    points, index, size, rounding = packed(group)
    words = seeds.hash_words(0, index[0]).view(np.uint32).reshape(ROOM, 2)
    return kmeans.describe(*map(jnp.asarray, (points[0], words, size[0], rounding[0])))


@jax.jit
def from_one_place(const: kmeans.Const) -> kmeans.Carry:
    """Starts all centres at one place far away."""
    return kmeans.iterate(const, jnp.full((COUNT, DIMS), 50.0), jnp.int32(100), 16)


def test_centres_without_rows_move_to_the_farthest_rows():
    random = np.random.default_rng(0)
    places = 20 * np.eye(COUNT, DIMS)
    planted = places[np.arange(60) % COUNT] + 0.1 * random.normal(size=(60, DIMS))
    found = from_one_place(const_of(planted))
    np.testing.assert_array_equal(np.bincount(found.label[:60], minlength=COUNT), [20, 20, 20])
    means = [planted[kind::COUNT].mean(axis=0) for kind in range(COUNT)]
    np.testing.assert_allclose(
        in_order(np.asarray(found.centers)), in_order(np.array(means)), atol=1e-5
    )
    assert found.iteration < 10
    # Rows of fewer kinds than centres have a centre each, and one that gets none stays.
    few = places[np.arange(10) % 2]
    assert inertia(few, np.asarray(from_one_place(const_of(few)).centers)) < 1e-6
    alike = from_one_place(const_of(np.full((4, DIMS), 7)))
    np.testing.assert_allclose(in_order(np.asarray(alike.centers))[:, 0], [7, 7, 50])
    assert alike.iteration < 10


@jax.jit
def draws(const: kmeans.Const) -> tuple[jax.Array, jax.Array]:
    weight = const.points[:, 0]
    return jax.lax.map(lambda number: kmeans.draw(const, weight, number, 3), jnp.arange(4000))


def test_rows_are_drawn_in_proportion_to_their_weight():
    weight = np.arange(12.0)
    rows, drawn = map(np.asarray, draws(const_of(weight[:, None])))
    assert drawn.all()
    share = weight / weight.sum()
    # The second is drawn without the first.
    rest = sum(
        share[i] * np.where(np.arange(12) == i, 0, share) / (1 - share[i]) for i in range(12)
    )
    for number, expected in enumerate((share, rest)):
        counts = np.bincount(rows[:, number], minlength=12)
        deviation = np.sqrt(4000 * expected * (1 - expected))
        assert (np.abs(counts - 4000 * expected) <= 4 * deviation).all()
    assert all(len(set(three)) == 3 for three in rows.tolist())


def test_parts_have_few_sizes(monkeypatch):
    monkeypatch.setattr(kmeans, "_MOST_CACHED_ROWS", 4096)
    for dims in (1, 20, 768, 100_000):
        sizes = [kmeans.padded_rows(rows, dims) for rows in range(1, 100_000, 37)]
        for rows, (size, block) in zip(range(1, 100_000, 37), sizes, strict=True):
            assert size % block == 0
            assert rows <= size <= max(1.125 * rows + block, 16)
        assert len(set(sizes)) < 100


def far_rows(size: int, far: float) -> tuple[EmbeddedRows, np.ndarray, np.ndarray]:
    """Returns rows of two classes around 8 places each, their means, and the rows in float64."""
    random = np.random.default_rng(0)
    label = random.choice([-1, 0, 1], size, p=[0.1, 0.7, 0.2]).astype(np.int32)
    places = random.normal(size=(3, 8, DIMS)) + far
    embedding = places[label, random.integers(0, 8, size)] + random.normal(size=(size, DIMS))
    rows = EmbeddedRows(embedding.astype(np.float32), 7 * np.arange(size), label)
    wide = rows.embedding.astype(np.float64)
    mean = np.stack([wide[label == kind].mean(axis=0) for kind in range(2)])
    return rows, mean.astype(np.float32), wide


def fit_rows(
    rows: EmbeddedRows, mean: np.ndarray, memory: int, **changes: int
) -> clusters.Clusters:
    options = clusters.Options(**{"num_clusters": 5, "seed": 1, "restarts": 2, **changes})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "MEMORY", memory)
        return clusters.fit(rows, mean, options)


@pytest.mark.parametrize("far", [0, 1e4])
def test_rows_far_from_the_origin_are_clustered(far):
    rows, mean, wide = far_rows(3000, far)
    found = fit_rows(rows, mean, 1 << 30)
    for kind in range(2):
        own = wide[rows.label == kind] - mean[kind].astype(np.float64)
        assert found.inertia[kind] == pytest.approx(inertia(own, found.centers[kind]), rel=1e-5)
        assert found.inertia[kind] < 0.8 * np.square(own).sum()
    sizes = np.bincount(rows.label[rows.label >= 0])
    np.testing.assert_allclose(found.radius**2, found.inertia / sizes, rtol=1e-6)


@pytest.mark.slow
def test_rows_beyond_the_memory_are_clustered_as_well(monkeypatch):
    monkeypatch.setattr(stream, "_MOST_ROWS", 256)
    rows, mean, wide = far_rows(8000, 1)
    whole = [fit_rows(rows, mean, 1 << 30, seed=seed).inertia for seed in range(5)]
    # 700 rows of each class: all of neither.
    few = 700 * 2 * 4 * DIMS
    some = [fit_rows(rows, mean, few, seed=seed) for seed in range(5)]
    assert (
        np.median([one.inertia for one in some], axis=0) <= 1.01 * np.median(whole, axis=0)
    ).all()
    for kind in range(2):
        own = wide[rows.label == kind] - mean[kind].astype(np.float64)
        measured = inertia(own, some[0].centers[kind])
        assert some[0].inertia[kind] == pytest.approx(measured, rel=1e-5)
    order = np.random.default_rng(0).permutation(len(rows))
    again = fit_rows(rows.part(order), mean, few, seed=0)
    np.testing.assert_allclose(again.centers, some[0].centers, atol=1e-4)
    assert (some[0].iterations <= clusters._MOST_PASSES).all()


def test_a_class_is_sampled_by_its_rows_alone():
    rows, _, _ = far_rows(3000, 0)
    drawn = [rows.index[own] for own in sample.draw(rows, [500, 500], 3)]
    assert [len(own) for own in drawn] == [500, 500]
    kept = rows.part(np.flatnonzero(rows.label != 0))
    alone = kept.index[sample.draw(kept, [0, 500], 3)[1]]
    np.testing.assert_array_equal(alone, drawn[1])
    other = rows.index[sample.draw(rows, [500, 500], 4)[1]]
    assert (other != drawn[1]).any()


def test_passes_over_rows_lower_the_inertia_and_leave_empty_centres():
    rows, mean, wide = far_rows(3000, 0)
    places = np.full((2, 3, DIMS), 99, np.float32)
    places[:, :2] = normal(0, 2)
    start = fit_rows(rows, mean, 1 << 30, num_clusters=3)._replace(centers=places)
    before = np.inf
    for passes in range(1, 5):
        found = clusters.refine(rows, mean, start, passes, None)
        assert (found.iterations == passes).all()
        assert (found.inertia < before).all()
        before = found.inertia
        np.testing.assert_array_equal(found.centers[:, 2], start.centers[:, 2])
    for kind in range(2):
        own = wide[rows.label == kind] - mean[kind].astype(np.float64)
        assert before[kind] == pytest.approx(inertia(own, found.centers[kind]), rel=1e-5)


SCRIPT = """
import json
import numpy as np
from lelp_jax.core import parallel
parallel.set_up()
parallel.join_processes()
import jax
from lelp_jax.projection.engine import stream
from tests.projection import test_clusters as tests
stream._MOST_ROWS = 64
rows, mean, _ = tests.far_rows(1000, 1)
# Processes read different numbers of rows of a class.
rows = rows.part(np.argsort(rows.label, kind="stable"))
result = {"devices": len(jax.devices()), "processes": jax.process_count()}
for name, memory in (("memory", 1 << 30), ("stream", 300 * 2 * 4 * tests.DIMS)):
    found = tests.fit_rows(rows, mean, memory)
    result[name] = [field.tolist() for field in (found.centers, found.inertia / 1000)]
few = tests.EmbeddedRows(rows.embedding[:40] // 2, rows.index[:40], rows.label[:40] * 0)
found = tests.fit_rows(few, mean, 1 << 30, num_clusters=30)
result["few"] = [found.distinct.tolist(), found.inertia.tolist()]
if parallel.is_first_process():
    print(json.dumps(result))
parallel.wait_for_processes("end")
"""


def agree(first: dict, second: dict) -> None:
    for name in ("memory", "stream", "few"):
        for one, two in zip(first[name], second[name], strict=True):
            np.testing.assert_allclose(two, one, atol=1e-4)


@pytest.fixture(scope="module")
def single() -> dict:
    return run_script(SCRIPT)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 8])
def test_several_devices_find_what_one_does(single, devices):
    several = run_script(SCRIPT, devices=devices)
    assert (single["devices"], several["devices"]) == (1, devices)
    agree(single, several)


@pytest.mark.slow
def test_two_processes_find_what_one_does(single):
    result, other = finish_all(launch_pair([sys.executable, "-c", SCRIPT]))
    assert other is None
    assert result is not None
    assert (result["devices"], result["processes"]) == (4, 2)
    agree(single, result)
