"""What is written is read back, in every format, and in little memory where it may be large."""

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lelp_jax.storage import zarr
from tests.helpers import stored
from tests.helpers.paths import ROOT

TYPES = ["f2", "f4", "f8", "i4", "i8", "?", "u1", "U3"]


@st.composite
def tables(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Returns arrays with equally many rows."""
    rows = draw(st.integers(1, 30))
    arrays = {}
    for name in draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True)):
        dtype = np.dtype(draw(st.sampled_from(TYPES)))
        text = dtype.kind == "U"
        inner = () if text else tuple(draw(st.lists(st.integers(1, 5), max_size=1)))
        generator = np.random.default_rng(draw(st.integers(0, 99)))
        values = generator.integers(-99, 99, (rows, *inner))
        if dtype.kind == "f":
            values = values / 8
            values.flat[:: max(2, math.prod(values.shape) // 3)] = np.nan
        elif dtype.kind in "u?":
            values = abs(values)
        arrays[name] = values.astype(dtype)
    return arrays


@pytest.mark.parametrize("ending", stored.ENDINGS)
@settings(max_examples=20)
@given(arrays=tables(), chunk=st.sampled_from([1, 2, 4, 16]), data=st.data())
def test_rows_are_read_as_they_were_written(
    ending: str, arrays: dict[str, np.ndarray], chunk: int, data: st.DataObject
) -> None:
    if ending == ".zarr":
        arrays = {k: v for k, v in arrays.items() if v.dtype.kind != "U"} or {"a": np.arange(3)}
    rows = len(next(iter(arrays.values())))
    positions = np.array(data.draw(st.lists(st.integers(-rows, rows - 1), max_size=2 * rows)), int)
    start, stop = data.draw(st.tuples(*[st.integers(-rows - 2, rows + 2)] * 2))
    with tempfile.TemporaryDirectory() as folder:
        bundle = stored.read(stored.write(f"{folder}/one{ending}", arrays, chunk))
        assert bundle.names() == sorted(arrays)
        for name, values in arrays.items():
            array = bundle.array(name)
            assert array.shape == values.shape
            assert len(array) == rows
            stored.same(array[:], values)
            stored.same(np.asarray(array), values)
            stored.same(array[positions], values[positions])
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


@pytest.mark.parametrize("ending", stored.ENDINGS)
@pytest.mark.parametrize(
    "rows", [[5], [-6], slice(0, 4, 2), [0.5], [True, False, True, True, False], [[1, 2]], "name"]
)
def test_what_are_no_rows_of_the_array_is_an_index_error(ending: str, rows: object) -> None:
    array = stored.read(stored.write(f"bundle{ending}", {"x": np.eye(5)})).array("x")
    with pytest.raises(IndexError):
        array[rows]


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_what_a_caller_does_to_rows_changes_nothing_for_the_next(ending: str) -> None:
    array = stored.read(stored.write(f"bundle{ending}", {"x": np.eye(5)})).array("x")
    array[:][...] = 7
    array[[0, 1]][...] = 7
    stored.same(array[:], np.eye(5))


ROWS, WIDTH = 50_000, 1000  # 200 MB
# TensorStore frees what it reads, but its allocator keeps some of it for each thread: an amount
# that does not grow with the array.
LIMIT_MB = 120

MEASURED = """
import sys
import numpy as np
import tensorstore, ml_dtypes
from lelp_jax.storage.open import open_bundle
from lelp_jax.storage.write import ArraySpec, open_writer

task, location, rows, width = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
step = 1024
rows_of = np.random.default_rng(0).normal(size=(step, width)).astype(np.float32)

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))

# The highest so far is that of the imports; ru_maxrss would even be that of the parent.
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
if task == "write":
    with open_writer(location, {"x": ArraySpec((rows, width), np.float32)}, "--out") as writer:
        for start in range(0, rows, writer.chunk_rows):
            count = min(writer.chunk_rows, rows - start)
            writer.write(start, {"x": np.resize(rows_of, (count, width))})
else:
    array = open_bundle(location, "here").array("x")
    assert array.shape == (rows, width)
    for start in range(0, rows, step):
        values = array[start : start + step]
        assert values.shape == (min(step, rows - start), width)
        assert values[1, 2] == rows_of[1, 2]
    for offset in range(3):
        values = array[np.arange(rows - 1, 0, -997) - offset]
print(status("VmHWM") - before)
"""


def grown(task: str, location: str, tmp_path: Path) -> float:
    """Returns by how many MB the memory of a process grew that wrote or read an array."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, task, location, str(ROWS), str(WIDTH)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    return float(run.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of the memory")
@pytest.mark.parametrize("kind", ["npy", "npz", "zarr", "chunks of another size"])
def test_arrays_larger_than_memory(kind: str, tmp_path: Path) -> None:
    step = np.random.default_rng(0).normal(size=(1024, WIDTH)).astype(np.float32)
    values = np.resize(step, (ROWS, WIDTH))
    location = {"npz": "t.npz", "zarr": "t.zarr"}.get(kind, "t")
    if kind == "zarr":
        assert grown("write", location, tmp_path) < LIMIT_MB
    elif kind == "npz":
        np.savez(tmp_path / location, x=values, y=np.arange(ROWS))
    elif kind == "chunks of another size":
        zarr.create(tmp_path / location / "x", values.shape, np.float32, 1500).write(0, values)
    else:
        (tmp_path / location).mkdir()
        np.save(tmp_path / location / "x.npy", values)
    assert grown("read", location, tmp_path) < LIMIT_MB
