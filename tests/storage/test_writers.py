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
from lelp_jax.storage import npz_writer
from lelp_jax.storage.open import open_writer
from lelp_jax.storage.writer import Spec
from tests.helpers import stored
from tests.helpers.paths import ROOT

OLD = {"x": np.arange(12.0).reshape(6, 2), "y": np.arange(6)}
NEW = {"x": np.ones((9, 2)), "y": np.zeros(9, int)}
SPECS = {"x": Spec((9, 2), float), "y": Spec((9,), "int64")}
endings = pytest.mark.parametrize("ending", stored.ENDINGS)


def holds(location: str, arrays: dict[str, np.ndarray]) -> None:
    bundle = stored.read(location)
    for name, values in arrays.items():
        stored.same(bundle.array(name)[:], values)
    assert bundle.names() == sorted(arrays)
    # Nothing was left beside it.
    assert [path.name for path in Path().iterdir()] == [Path(location).name]


def interrupted(location: str) -> None:
    with open_writer(location, SPECS, chunk_rows=2) as writer:
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
    with open_writer(location, SPECS, chunk_rows=2) as writer:
        assert writer.chunk_rows == 2
        writer.write(0, NEW)
        assert not Path(location).exists()
    holds(location, NEW)


KILLED = """
import os
import sys
import numpy as np
from lelp_jax.storage.open import open_writer
from lelp_jax.storage.writer import Spec
specs = {"x": Spec((9, 2), float), "y": Spec((9,), int)}
with open_writer(sys.argv[1], specs, chunk_rows=2) as writer:
    writer.write(0, {"x": np.ones((5, 2)), "y": np.ones(5, int)})
    os._exit(9)
"""


@endings
def test_what_a_killed_writer_left_is_cleared_away(ending: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    assert subprocess.run([sys.executable, "-c", KILLED, location]).returncode == 9
    assert len(list(Path().iterdir())) > 1
    stored.same(stored.read(location).array("x")[:], OLD["x"])
    stored.write(location, NEW)
    holds(location, NEW)


@endings
def test_missing_rows_leave_the_old_one_whole(ending: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    for rows in (0, 5, 8):
        with (
            pytest.raises(ValueError, match="came"),
            open_writer(location, SPECS, chunk_rows=2) as writer,
        ):
            writer.write(0, {name: values[:rows] for name, values in NEW.items()})
    holds(location, OLD)


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
    with pytest.raises(KeyboardInterrupt):
        interrupted(location)
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
        open_writer(location, SPECS, "config.to")
    assert Path(location, other).read_text() == "mine"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("x.npy", "an .npy file holds one array; give a folder .* in config.to"),
        ("x.csv", "unknown ending '.csv'; give .npz, .parquet, .zarr or a folder"),
        ("absent/x.npz", "there is no folder .*/absent to write into; make it, or change"),
        ("absent/x", "there is no folder .*/absent to write into"),
        ("file", "/file is a file; give a folder in config.to, or remove the file"),
        ("folder.npz", "/folder.npz is a folder; give a file in config.to"),
        ("s3://b/x", "is no address that can be used"),
    ],
)
def test_where_nothing_can_be_written_is_said_at_once(location: str, words: str) -> None:
    Path("file").write_text("mine")
    Path("folder.npz").mkdir()
    with pytest.raises(UserError, match=words) as error:
        open_writer(location, SPECS, "config.to")
    assert "\n" not in str(error.value)
    assert Path("file").read_text() == "mine"


def test_what_a_format_does_not_hold_is_said_at_once() -> None:
    with pytest.raises(UserError, match=r"array 'name' holds texts, .* write integers that stand"):
        open_writer("x.zarr", {"name": Spec((3,), "U4")})
    with pytest.raises(UserError, match=r"array 'x' of shape \[3, 2, 2\] has more than two axes"):
        open_writer("x.parquet", {"x": Spec((3, 2, 2), "f4")})


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "all need as many"),
        ({"x": Spec((), float)}, "all need as many, and one at least"),
        ({"x": Spec((0, 3), float)}, "all need as many, and one at least"),
        ({"x": Spec((4, 3), float), "y": Spec((5,), int)}, r"arrays of \[4, 5\] rows"),
        ({"x/y": Spec((4, 3), float)}, "cannot be that of a file"),
        ({"x": Spec((4,), object)}, "array x of type object"),
        ({"x": Spec((4,), "U")}, "texts have one axis and a fixed width"),
    ],
)
def test_arrays_that_make_no_bundle(arrays: dict[str, Spec], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_writer("x.npz", arrays)


@endings
@pytest.mark.parametrize(
    ("start", "rows", "words"),
    [
        (3, {"x": np.ones((2, 2)), "y": np.ones(2, int)}, "rows from 3 on after row 0"),
        (0, {"x": np.ones((2, 2))}, r"rows of \['x'\] for the arrays \['x', 'y'\]"),
        (0, {"x": np.ones((2, 2)), "y": np.ones(3, int)}, r"\[2, 3\] rows from 0 on, of 9"),
        (0, {"x": np.ones((10, 2)), "y": np.ones(10, int)}, r"\[10\] rows from 0 on, of 9"),
        (0, {"x": np.ones((2, 3)), "y": np.ones(2, int)}, r"rows of x have shape \(3,\), not"),
        (0, {"x": np.ones((2, 2)), "y": np.ones(2)}, "rows of y are float64, not int64"),
    ],
)
def test_rows_that_do_not_fit(ending: str, start: int, rows: Any, words: str) -> None:
    with (
        pytest.raises(ValueError, match=words),
        open_writer(f"x{ending}", SPECS, chunk_rows=2) as writer,
    ):
        writer.write(start, rows)
    assert not list(Path().iterdir())


def test_a_text_is_not_shortened() -> None:
    with (
        pytest.raises(ValueError, match="a text of name is longer than <U3 holds"),
        open_writer("x.npz", {"name": Spec((2,), "U3")}) as writer,
    ):
        writer.write(0, {"name": np.array(["abc", "abcd"])})


FULL = """
import resource
import sys
import numpy as np
from tests.helpers import stored
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    stored.write(sys.argv[1], {"x": np.ones((500, 100)), "y": np.arange(500)}, 7, int(sys.argv[2]))
except OSError as error:
    sys.exit(error.strerror)
"""


@endings
def test_a_disk_that_takes_no_more_leaves_the_old_one_whole(ending: str) -> None:
    location = f"bundle{ending}"
    stored.write(location, OLD)
    # Small pieces wait in the files' buffers, and fail once more when the files are closed.
    chunk_rows = "1" if ending in (".npz", "") else "50"
    run = subprocess.run(
        [sys.executable, "-c", FULL, location, chunk_rows],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.stderr == "File too large\n"
    holds(location, OLD)


def test_the_largest_array_goes_straight_into_the_archive() -> None:
    arrays = {"small": np.arange(50), "big": np.ones((50, 30)), "middle": np.ones((50, 4))}
    specs = {name: Spec(values.shape, values.dtype) for name, values in arrays.items()}
    with open_writer("x.npz", specs, chunk_rows=10) as writer:
        assert isinstance(writer, npz_writer.NpzWriter)
        writer.write(0, {name: values[:40] for name, values in arrays.items()})
        assert Path(".x.npz.tmp").stat().st_size >= 40 * 30 * 8
        writer.write(40, {name: values[40:] for name, values in arrays.items()})
    holds("x.npz", arrays)
    with zipfile.ZipFile("x.npz") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    with np.load("x.npz") as archive:
        np.testing.assert_array_equal(archive["big"], arrays["big"])
