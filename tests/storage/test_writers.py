"""A file or folder appears when it is whole; until then the old one stays."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.storage import objects, zarr
from lelp_jax.storage import write as writing
from lelp_jax.storage.write import ArraySpec, check_destination, open_writer
from tests.helpers import stored
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_script

OLD = {"x": np.arange(12.0).reshape(6, 2), "y": np.arange(6)}
NEW = {"x": np.ones((9, 2)), "y": np.zeros(9, int)}
SPECS = {"x": ArraySpec((9, 2), float), "y": ArraySpec((9,), "int64")}
endings = pytest.mark.parametrize("ending", stored.ENDINGS)


def holds(location: str, arrays: dict[str, np.ndarray]) -> None:
    bundle = stored.read(location)
    for name, values in arrays.items():
        stored.same(bundle.array(name)[:], values)
    assert bundle.names() == sorted(arrays)
    # Nothing was left beside it.
    assert [path.name for path in Path().iterdir()] == [Path(location).name]


def interrupted(location: str) -> None:
    with open_writer(location, SPECS, "--out") as writer:
        writer.write(0, {name: values[:5] for name, values in NEW.items()})
        stored.same(stored.read(location).array("x")[:], OLD["x"])
        raise KeyboardInterrupt


@endings
def test_an_interrupted_writer_leaves_the_old_one_whole(ending: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    with pytest.raises(KeyboardInterrupt):
        interrupted(location)
    holds(location, OLD)
    stored.write(location, NEW)
    holds(location, NEW)


@endings
def test_nothing_appears_before_the_end(ending: str) -> None:
    location = f"bundle{ending}"
    with open_writer(location, SPECS, "--out") as writer:
        writer.write(0, NEW)
        assert not Path(location).exists()
    holds(location, NEW)


KILLED = """
import os
import sys
from unittest import mock
import numpy as np
from tests.helpers import stored
values = {"x": np.ones((9, 2)), "y": np.ones(9, int)}
with mock.patch(f"lelp_jax.storage.write.{sys.argv[2]}", lambda *_, **__: os._exit(9)):
    stored.write(sys.argv[1], values)
"""


@pytest.mark.parametrize(
    ("ending", "step"),
    [
        *((ending, "_replace_folder") for ending in ("", ".zarr")),
        (".npz", "numpy_parts.pack_npz"),
        (".parquet", "_save_parquet"),
    ],
)
def test_what_a_killed_writer_left_is_cleared_away(ending: str, step: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, location, step],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 9
    assert len(list(Path().iterdir())) > 1
    stored.same(stored.read(location).array("x")[:], OLD["x"])
    stored.write(location, NEW)
    holds(location, NEW)


@pytest.mark.parametrize("ending", ["", ".zarr"])
def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(ending: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if source.name.endswith(".tmp"):
            raise OSError(errno.EACCES, "no")
        rename(source, target)

    with mock.patch("os.rename", fail), pytest.raises(OSError, match="no"):
        stored.write(location, NEW)
    holds(location, OLD)


@pytest.mark.parametrize("ending", ["", ".zarr"])
def test_a_folder_whose_renaming_was_killed_is_put_back(ending: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    os.rename(location, f".{location}.old")
    with (
        mock.patch.object(writing, "_replace_folder", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        stored.write(location, NEW)
    holds(location, OLD)


@pytest.mark.parametrize("ending", ["", ".zarr"])
@pytest.mark.parametrize("other", ["thesis.txt", "photos/me.jpg", "x/y/zarr.json"])
def test_a_folder_that_holds_something_else_is_not_replaced(ending: str, other: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    Path(location, other).parent.mkdir(parents=True, exist_ok=True)
    if other.startswith("x/"):
        Path(location, "x/zarr.json").unlink(missing_ok=True)
    Path(location, other).write_text("mine")
    name = other.split("/")[0]
    with pytest.raises(UserError, match=f"also holds '{name}', which would be lost; give another"):
        stored.write(location, NEW)
    assert Path(location, other).read_text() == "mine"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("x.npy", "an .npy file holds one array; give a folder .* in config.to"),
        ("x.csv", "unknown ending '.csv'; give .npz, .parquet, .zarr or a folder"),
        ("absent/x.npz", "the folder .*/absent is missing; create it, or change config.to"),
        ("absent/x", "the folder .*/absent is missing; create it"),
        ("file", "/file is a file; give a folder in config.to, or remove the file"),
        ("folder.npz", "/folder.npz is a folder; give a file in config.to"),
        ("s3://b/x", "is not a supported address"),
        ("http://host/x", "http://host/x can only be read; give gs://bucket/folder"),
    ],
)
def test_where_nothing_can_be_written_is_said_at_once(location: str, words: str) -> None:
    Path("file").write_text("mine")
    Path("folder.npz").mkdir()
    with pytest.raises(UserError, match=words) as error:
        check_destination(location, "config.to")
    assert "\n" not in str(error.value)
    assert Path("file").read_text() == "mine"


def test_texts_are_not_written_to_zarr() -> None:
    with pytest.raises(UserError, match=r"array 'name' holds texts, .* write integers that stand"):
        stored.write("x.zarr", {"name": np.array(["a", "b"])})
    assert not list(Path().iterdir())


FULL = """
import resource
import sys
import numpy as np
from tests.helpers import stored
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    x = np.random.default_rng(0).normal(size=(500, 100))
    stored.write(sys.argv[1], {"x": x, "y": np.arange(500)}, 64)
except OSError as error:
    sys.exit(error.strerror)
"""


@endings
def test_a_disk_that_takes_no_more_leaves_the_old_one_whole(ending: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    run = subprocess.run(
        [sys.executable, "-c", FULL, location],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    # NumPy does not tell why it wrote less than it should.
    assert run.stderr in ("File too large\n", "No space left on device\n")
    holds(location, OLD)


def test_numpy_reads_what_is_written() -> None:
    stored.write("x.npz", NEW)
    with zipfile.ZipFile("x.npz") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    with np.load("x.npz") as archive:
        np.testing.assert_array_equal(archive["x"], NEW["x"])


MEMORY = """
import resource
import sys
import numpy as np
from lelp_jax.storage.write import ArraySpec, open_writer
rows, dims = 1 << 17, 256
with open_writer(sys.argv[1], {"x": ArraySpec((rows, dims), np.float32)}, "--out") as writer:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, rows, writer.chunk_rows):
        writer.write(start, {"x": np.full((writer.chunk_rows, dims), start, np.float32)})
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print('{"grown": %d, "size": %d}' % (after - before, rows * dims * 4 // 1024))
"""


@pytest.mark.parametrize("ending", [".npz", ""])
def test_arrays_need_not_fit_into_memory(ending: str) -> None:
    kib = run_script(MEMORY, f"x{ending}")
    assert kib["grown"] < kib["size"] / 4
    values = stored.read(f"x{ending}").array("x")
    np.testing.assert_array_equal(values[70_000:70_001], 70_000 // 4096 * 4096)


def test_several_writers_share_a_zarr_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    stored.write("x.zarr", OLD)
    monkeypatch.setattr(writing, "_MAX_CHUNK_ROWS", 2)
    main = open_writer("x.zarr", SPECS, "--out")
    other = open_writer("x.zarr", SPECS, "--out", main=False)
    with main as first, other as second:
        assert first.chunk_rows == second.chunk_rows == 2
        for writer, start in ((second, 6), (second, 8), (second, 2), (first, 0), (first, 4)):
            writer.write(start, {name: values[start : start + 2] for name, values in NEW.items()})
        stored.same(stored.read("x.zarr").array("x")[:], OLD["x"])
    stored.same(stored.read("x.zarr").array("x")[:], NEW["x"])
    assert [path.name for path in Path().iterdir()] == ["x.zarr"]


def test_a_chunk_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write = zarr.ZarrArray.write

    def count(self: Any, start: int, values: np.ndarray) -> None:
        written.append((start, len(values)))
        write(self, start, values)

    monkeypatch.setattr(zarr.ZarrArray, "write", count)
    stored.write("x.zarr", {"x": np.arange(10)}, chunk_rows=4)
    assert written == [(0, 4), (4, 4), (8, 2)]


def test_an_address_is_marked_until_it_is_complete() -> None:
    address = "memory://unfinished"
    stored.write(address, OLD)
    with open_writer(address, SPECS, "--out") as writer:
        with pytest.raises(UserError, match="writing it was not finished; write it again, or"):
            stored.read(address)
        writer.write(0, NEW)
    stored.same(stored.read(address).array("x")[:], NEW["x"])
    objects.write_bytes(address, "thesis.txt", b"mine")
    with pytest.raises(UserError, match=r"also holds 'thesis.txt', which would be lost; give"):
        check_destination(address, "--out")
