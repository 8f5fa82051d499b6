"""Zarr arrays, made here and by others, whole and damaged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core.errors import UserError
from lelp_jax.storage import objects, zarr
from tests.helpers import stored

VALUES = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def foreign(location: str, driver: str, metadata: dict[str, Any], values: np.ndarray) -> Any:
    """Writes an array as another program would."""
    store = ts.open(
        {
            "driver": driver,
            "kvstore": {"driver": "file", "path": str(Path(location).absolute())},
            "metadata": metadata,
        },
        create=True,
        dtype=values.dtype,
        shape=values.shape,
    ).result()
    store.write(values).result()
    return location


def made(values: np.ndarray = VALUES, chunk_rows: int = 16) -> zarr.ZarrArray:
    array = zarr.create("x", values.shape, values.dtype, chunk_rows)
    array.write(0, values)
    return array


@pytest.mark.parametrize("chunks", [[40, 6], [7, 6], [16, 4], [1, 1], [100, 100]])
@pytest.mark.parametrize(
    ("driver", "metadata"),
    [
        ("zarr", {"compressor": None}),
        ("zarr", {"compressor": {"id": "zstd", "level": 1}}),
        ("zarr", {"compressor": {"id": "blosc"}, "order": "F", "dimension_separator": "/"}),
        ("zarr", {"compressor": {"id": "zlib", "level": 1}, "dtype": ">f4"}),
        ("zarr3", {}),
        ("zarr3", {"codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1}}]}),
        ("zarr3", {"codecs": [{"name": "bytes"}, {"name": "blosc", "configuration": {}}]}),
        ("zarr3", {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]}),
    ],
)
def test_arrays_of_others(driver: str, metadata: dict[str, Any], chunks: list[int]) -> None:
    if driver == "zarr":
        metadata = {**metadata, "chunks": chunks}
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
        metadata = {**metadata, "chunk_grid": grid}
    values = np.where(VALUES > 2, 0, VALUES)
    values[16:20] = 0  # chunks of zeros are left out
    foreign("group/x", driver, metadata, values)
    assert zarr.is_zarr("group/x")
    array = zarr.open("group/x")
    assert array.shape == values.shape
    assert 0 < array.chunk_rows <= chunks[0]
    stored.same(array[:], values)
    stored.same(array[5:23], values[5:23])
    stored.same(array[[39, 0, 17, 0]], values[[39, 0, 17, 0]])
    stored.same(stored.read("group").array("x")[:], values)


def test_sharded_arrays_of_others() -> None:
    sharding = {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": [5, 6], "codecs": [{"name": "bytes"}]},
    }
    grid = {"name": "regular", "configuration": {"chunk_shape": [20, 6]}}
    foreign("x", "zarr3", {"codecs": [sharding], "chunk_grid": grid}, VALUES)
    array = zarr.open("x")
    assert array.chunk_rows == 5
    stored.same(array[3:22], VALUES[3:22])


@pytest.mark.parametrize(
    "dtype", ["f4", stored.BFLOAT16, "i4", "i8", "u1", "?", "f2", "f8"], ids=str
)
def test_what_is_written_is_read(dtype: Any) -> None:
    values = VALUES.astype(dtype)
    array = made(values)
    assert array.chunk_rows == 16
    assert array.dtype == (np.float32 if values.dtype == stored.BFLOAT16 else values.dtype)
    stored.same(array[:], values)
    stored.same(zarr.open("x")[:], values)


@given(data=st.data(), chunk=st.integers(1, 50))
def test_rows_may_be_written_in_any_order(data: st.DataObject, chunk: int) -> None:
    array = zarr.create("x", VALUES.shape, np.float32, chunk)
    starts = range(0, 40, 5)
    for start in data.draw(st.permutations(starts)):
        array.write(start, VALUES[start : start + 5])
    stored.same(zarr.open("x")[:], VALUES)


def test_a_new_array_takes_the_place_of_the_old_one() -> None:
    made(np.ones((90, 3), np.int32), 10)
    made(VALUES, 16)
    stored.same(zarr.open("x")[:], VALUES)
    Path("x/zarr.json").write_text("{damaged")
    made(VALUES, 16)
    stored.same(zarr.open("x")[:], VALUES)


def test_making_an_array_deletes_nothing_but_an_array() -> None:
    stored.write("group.zarr", {"x": VALUES})
    with pytest.raises(UserError, match="holds a zarr group; give another location"):
        zarr.create("group.zarr", (4,), np.float32, 4)
    stored.same(stored.read("group.zarr").array("x")[:], VALUES)
    Path("folder").mkdir()
    Path("folder/notes").write_text("mine")
    zarr.create("folder", (4,), np.float32, 4)
    assert Path("folder/notes").read_text() == "mine"


@pytest.mark.parametrize(("start", "rows"), [(-1, 3), (38, 3), (0, 41)])
def test_rows_beyond_the_array_are_refused(start: int, rows: int) -> None:
    array = made()
    with pytest.raises(ValueError, match="into an array of"):
        array.write(start, np.zeros((rows, 6), np.float32))
    with pytest.raises(ValueError, match="into an array of"):
        array.write(0, np.zeros((3, 5), np.float32))


def test_processes_write_chunks_side_by_side() -> None:
    zarr.create("x", (64, 6), np.int64, 8)
    code = """
import sys
import numpy as np
from lelp_jax.storage import zarr
array = zarr.open("x")
for start in range(8 * int(sys.argv[1]), 64, 16):
    array.write(start, np.full((8, 6), start))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    np.testing.assert_array_equal(zarr.open("x")[:][:, 0], np.arange(64) // 8 * 8)


def test_a_lost_chunk_is_an_error_not_zeros() -> None:
    made()
    next(Path("x/c").glob("1/*")).unlink()
    array = zarr.open("x")
    stored.same(array[:16], VALUES[:16])
    with pytest.raises(UserError, match=r"/x cannot be read: .*is missing; it is damaged"):
        array[10:20]


@given(place=st.integers(0, 100_000), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_chunk_is_an_error(place: int, bit: int) -> None:
    made()
    chunk = Path("x/c/1/0")
    stored.flip(chunk, place % chunk.stat().st_size, bit)
    with pytest.raises(UserError, match=r"/x cannot be read: .*Digest mismatch") as error:
        zarr.open("x")[:]
    assert "\n" not in str(error.value)


@given(size=st.integers(0, 383))
def test_a_chunk_that_is_cut_off_is_an_error(size: int) -> None:
    made()
    stored.cut(Path("x/c/1/0"), size)
    with pytest.raises(UserError, match="/x cannot be read"):
        zarr.open("x")[[17, 20]]


@given(place=st.integers(0, 100_000), bit=st.integers(0, 7))
def test_flipped_metadata_is_an_error_or_harmless(place: int, bit: int) -> None:
    made()
    metadata = Path("x/zarr.json")
    stored.flip(metadata, place % metadata.stat().st_size, bit)
    stored.read_or_refused(lambda: zarr.open("x"), f"{Path.cwd()}/x")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("absent", "/absent: no zarr array there; check the path"),
        ("memory://absent", "memory://absent: no zarr array there"),
        ("group.zarr", "/group.zarr holds a zarr group, not one array"),
        ("x", "/x cannot be read: .*Invalid JSON.*; it is damaged"),
        ("complex", "/complex holds the type complex64; save plain numbers"),
        ("http://127.0.0.1:1:2/x", "cannot be read: .*; check the address, the connection"),
    ],
)
def test_what_is_no_array_is_named(location: str, words: str) -> None:
    made()
    stored.cut(Path("x/zarr.json"), 40)
    stored.write("group.zarr", {"x": VALUES})
    foreign("complex", "zarr", {}, np.zeros(4, np.complex64))
    with pytest.raises(UserError, match=words) as error:
        zarr.open(location)
    assert "\n" not in str(error.value)


def test_a_single_array_is_no_bundle() -> None:
    made()
    with pytest.raises(UserError, match="is one zarr array; give the folder that holds it"):
        stored.read("x")


def test_older_groups_and_folders_without_a_group() -> None:
    foreign("group/x", "zarr", {}, VALUES)
    foreign("group/y", "zarr3", {}, VALUES)
    Path("group/notes.txt").write_text("more")
    Path("group/.zgroup").write_text(json.dumps({"zarr_format": 2}))
    np.save("group/z.npy", VALUES)
    bundle = stored.read("group")
    assert bundle.names() == ["x", "y", "z"]
    for name in bundle.names():
        stored.same(bundle.array(name)[:], VALUES)
    np.save("group/x.npy", VALUES)
    with pytest.raises(
        UserError, match=r"holds array 'x' twice, as x\.npy and as zarr; remove one"
    ):
        stored.read("group")


def test_a_full_disk_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    array = made()
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="No space left on device"):
        zarr.create("y", (4, 2), np.float32, 2)
    with pytest.raises(OSError, match="No space left on device"):
        array.write(0, VALUES)


def test_a_folder_that_cannot_be_written_is_an_oserror() -> None:
    Path("file").write_text("no folder")
    with pytest.raises(OSError, match="Not a directory"):
        zarr.create("file/x", (4, 2), np.float32, 2)


def test_small_objects() -> None:
    for location in ("folder", "memory://small"):
        assert objects.read_bytes(location, "a/b.json") is None
        assert not objects.exists(location, "a/b.json")
        objects.write_bytes(location, "a/b.json", b"one")
        objects.write_bytes(location, "a/b.json", b"two")
        assert objects.read_bytes(location, "a/b.json") == b"two"
        assert objects.read_bytes(location, "a") is None
        assert objects.read_bytes(location, "a/b.json/c") is None
        assert objects.exists(location, "a/b.json")
        objects.write_bytes(f"{location}2", "a", b"neighbour")
        objects.delete_tree(location)
        objects.delete_tree(location)
        assert objects.read_bytes(location, "a/b.json") is None
        assert objects.read_bytes(f"{location}2", "a") == b"neighbour"
    assert [path.name for path in Path("folder2").iterdir()] == ["a"]


def test_a_whole_bucket_is_not_deleted() -> None:
    with pytest.raises(UserError, match="gs://bucket is a whole bucket; give a folder inside it"):
        objects.delete_tree("gs://bucket")


@pytest.mark.parametrize("name", [r"a\b", r"a\b/c", "\\"])
def test_a_path_that_would_become_another_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains a backslash; give a path without one"):
        zarr.create(str(tmp_path / name), (4, 2), np.float32, 2)
    assert list(tmp_path.iterdir()) == []
