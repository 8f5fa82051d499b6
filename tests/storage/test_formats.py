"""What is written is read back, in every format and in whatever order rows are asked for."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lelp_jax.storage import indexing
from tests.helpers import stored

TYPES = ["f2", "f4", "f8", stored.BFLOAT16, "i4", "i8", "?", "u1", "U3"]


@st.composite
def tables(draw: st.DrawFn, kinds: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Returns arrays with equally many rows."""
    rows = draw(st.integers(1, 30))
    arrays = {}
    for name in draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True)):
        dtype = np.dtype(draw(st.sampled_from(TYPES)))
        text = dtype.kind == "U"
        inner = () if text else tuple(draw(st.lists(st.integers(1, 5), max_size=1)))
        generator = np.random.default_rng(draw(st.integers(0, 99)))
        values = generator.integers(-99, 99, (rows, *inner))
        if dtype.kind in "fV":
            values = values / 8
            values.flat[:: max(2, math.prod(values.shape) // 3)] = np.nan
        elif dtype.kind in "u?":
            values = abs(values)
        arrays[name] = values.astype(dtype)
    return arrays


def holds_texts(arrays: dict[str, np.ndarray]) -> bool:
    return any(values.dtype.kind == "U" for values in arrays.values())


@pytest.mark.parametrize("second", stored.ENDINGS)
@pytest.mark.parametrize("first", stored.ENDINGS)
@settings(max_examples=8)
@given(arrays=tables(), step=st.integers(1, 40), chunk=st.integers(1, 20), data=st.data())
def test_a_copy_of_a_copy_holds_the_same_rows(
    first: str,
    second: str,
    arrays: dict[str, np.ndarray],
    step: int,
    chunk: int,
    data: st.DataObject,
) -> None:
    if ".zarr" in (first, second) and holds_texts(arrays):
        arrays = {k: v for k, v in arrays.items() if v.dtype.kind != "U"} or {"a": np.arange(3)}
    with tempfile.TemporaryDirectory() as folder:
        one = stored.read(stored.write(f"{folder}/one{first}", arrays, step, chunk))
        opened = {name: one.array(name) for name in one.names()}
        two = stored.read(stored.write(f"{folder}/two{second}", opened, chunk, step))
        assert one.names() == two.names() == sorted(arrays)
        rows = len(next(iter(arrays.values())))
        positions = data.draw(st.lists(st.integers(-rows, rows - 1), max_size=2 * rows))
        start, stop = data.draw(st.tuples(*[st.integers(-rows - 2, rows + 2)] * 2))
        for bundle in (one, two):
            for name, values in arrays.items():
                array = bundle.array(name)
                assert array.shape == values.shape
                assert len(array) == rows
                stored.same(array[:], values)
                stored.same(np.asarray(array), values)
                stored.same(array[np.array(positions, int)], values[np.array(positions, int)])
                stored.same(array[start:stop], values[start:stop])
                stored.same(array[start:], values[start:])


@pytest.mark.parametrize("ending", stored.ENDINGS)
def test_texts_numbers_and_several_matrices(ending: str) -> None:
    arrays = {
        "embeddings": np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32),
        "logits": np.random.default_rng(1).normal(size=(50, 3)).astype(np.float64),
        "label": np.arange(50),
    }
    if ending != ".zarr":
        arrays["name"] = np.array([f"näme {i}" for i in range(50)])
    bundle = stored.read(stored.write(f"bundle{ending}", arrays))
    for name, values in arrays.items():
        assert name in bundle
        stored.same(bundle.array(name)[:], values)
    assert "other" not in bundle
    assert bundle.place("label", 3) == f"{Path.cwd() / f'bundle{ending}'}, array 'label', row 3"
    assert sorted(path.name for path in Path().iterdir()) == [f"bundle{ending}"]


@pytest.mark.parametrize("ending", [".npz", "", ".zarr"])
def test_rows_may_have_several_axes(ending: str) -> None:
    values = np.arange(120.0).reshape(10, 3, 4)
    array = stored.read(stored.write(f"bundle{ending}", {"x": values})).array("x")
    stored.same(array[2:7], values[2:7])
    stored.same(array[[9, 0, 9]], values[[9, 0, 9]])


@pytest.mark.parametrize("ending", stored.ENDINGS)
@pytest.mark.parametrize(
    "rows", [[5], [-6], slice(0, 4, 2), [0.5], [True, False, True, True, False], [[1, 2]], "name"]
)
def test_what_are_no_rows_of_the_array_is_an_index_error(ending: str, rows: object) -> None:
    array = stored.read(stored.write(f"bundle{ending}", {"x": np.eye(5)})).array("x")
    with pytest.raises(IndexError):
        array[rows]


@given(positions=st.lists(st.integers(0, 50)), gap=st.integers(0, 5), longest=st.integers(1, 20))
def test_runs_cover_the_positions_in_short_stretches(
    positions: list[int], gap: int, longest: int
) -> None:
    wanted = np.array(positions, np.int64)
    values = np.full(len(wanted), -1)
    read = []
    for places, start, stop in indexing.runs(wanted, gap, longest):
        assert 0 < stop - start <= longest
        values[places] = np.arange(start, stop)[wanted[places] - start]
        read.append(stop - start)
    np.testing.assert_array_equal(values, wanted)
    assert sum(read) <= len(set(positions)) * (gap + 1)
