"""Arrays larger than what may be in memory are written and read in a few megabytes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lelp_jax.storage import zarr
from tests.helpers import stored

ROWS, WIDTH = 50_000, 1000  # 200 MB
# TensorStore and Arrow free what they read, but their allocators keep some of it for each thread:
# an amount that does not grow with the array.
LIMIT_MB = {".npz": 60, "": 60, ".zarr": 120, ".parquet": 120}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of the memory"),
]

MEASURED = """
import sys
import numpy as np
import lelp_jax.storage.parquet, lelp_jax.storage.zarr, lelp_jax.storage.npz, pyarrow.parquet
import tensorstore, ml_dtypes
from lelp_jax.storage.open import open_bundle
from lelp_jax.storage.open import open_writer
from lelp_jax.storage.writer import Spec

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
    specs = {"x": Spec((rows, width), np.float32), "y": Spec((rows,), np.int64)}
    with open_writer(location, specs) as writer:
        for start in range(0, rows, step):
            count = min(step, rows - start)
            writer.write(start, {"x": rows_of[:count], "y": np.arange(start, start + count)})
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
    )
    assert run.returncode == 0, run.stderr
    return float(run.stdout)


@pytest.mark.parametrize("ending", stored.ENDINGS)
def test_writing_and_reading_take_little_memory(ending: str, tmp_path: Path) -> None:
    assert grown("write", f"t{ending}", tmp_path) < LIMIT_MB[ending]
    assert grown("read", f"t{ending}", tmp_path) < LIMIT_MB[ending]


@pytest.mark.parametrize("kind", ["one row group", "columns first", "chunks of another size"])
def test_what_others_wrote_takes_little_memory(kind: str, tmp_path: Path) -> None:
    step = np.random.default_rng(0).normal(size=(1024, WIDTH)).astype(np.float32)
    values = np.resize(step, (ROWS, WIDTH))
    location = "t"
    if kind == "one row group":
        location = "t.parquet"
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), WIDTH)
        table = pa.table({"x": lists, "y": pa.array(np.arange(ROWS))})
        parquet.write_table(table, tmp_path / location, row_group_size=ROWS, compression="zstd")
    elif kind == "columns first":
        (tmp_path / location).mkdir()
        np.save(tmp_path / location / "x.npy", np.asfortranarray(values))
    else:
        zarr.create(tmp_path / location / "x", values.shape, np.float32, 1500).write(0, values)
    assert grown("read", location, tmp_path) < LIMIT_MB[".zarr"]
