"""NumPy's files as others write them, whole and damaged."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core.errors import UserError
from tests.helpers import stored

VALUES = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


def save(kind: str, **arrays: Any) -> Path:
    """Writes arrays as a user would."""
    if kind == "folder":
        path = Path("arrays")
        path.mkdir()
        for name, values in arrays.items():
            np.save(path / f"{name}.npy", values)
        return path
    path = Path("arrays.npz")
    (np.savez if kind == "npz" else np.savez_compressed)(path, **arrays)
    return path


kinds = pytest.mark.parametrize("kind", ["folder", "npz", "compressed"])


@kinds
def test_every_layout_and_byte_order(kind: str) -> None:
    cube = np.arange(120.0).reshape(10, 3, 4)
    arrays = {
        "columns_first": np.asfortranarray(VALUES),
        "cube": np.asfortranarray(cube),
        "swapped": VALUES.astype(">f4"),
        "half": VALUES.astype(stored.BFLOAT16),
        "texts": np.array(["a", "bcd", "é"]),
        "swapped_texts": np.array(["a", "bcd", "é"]).astype(">U3"),
        "empty_rows": np.empty((4, 0)),
    }
    bundle = stored.read(save(kind, **arrays))
    for name, values in arrays.items():
        array = bundle.array(name)
        rows = np.array([2, 0, 2])
        stored.same(array[:], values)
        stored.same(array[1:3], values[1:3])
        stored.same(array[rows], values[rows])
        assert array.dtype.isnative
        assert array[:].flags.c_contiguous


@kinds
def test_bytes_are_read_as_texts(kind: str) -> None:
    bundle = stored.read(
        save(kind, ascii=np.array([b"ab", b"c"]), latin=np.array(["é"]).astype("U").view("S4"))
    )
    stored.same(bundle.array("ascii")[:], np.array(["ab", "c"]))
    with pytest.raises(UserError, match="array 'latin' holds bytes that are not UTF-8"):
        bundle.array("latin")[:]


@kinds
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([None, 1]), "holds Python objects; save plain numbers"),
        (np.zeros(3, [("x", "f4"), ("y", "f4")]), "holds the type .*; save plain numbers"),
        (np.zeros(3, "c8"), "holds the type complex64"),
        (np.zeros(3, "M8[s]"), r"holds the type datetime64\[s\]"),
        (np.float32(1), "is a single value"),
        (np.zeros((0, 4)), "has no rows"),
    ],
)
def test_what_is_no_array_of_rows_is_refused(kind: str, values: Any, words: str) -> None:
    bundle = stored.read(save(kind, x=values, good=VALUES))
    stored.same(bundle.array("good")[:], VALUES)
    with pytest.raises(UserError, match=f"array 'x' {words}") as error:
        bundle.array("x")
    assert "\n" not in str(error.value)


def test_pickled_objects_are_never_loaded() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path("trapped").touch, ()

    for kind in ("folder", "npz", "compressed"):
        bundle = stored.read(save(kind, x=np.array([Trap()], object)))
        with pytest.raises(UserError):
            bundle.array("x")
    assert not Path("trapped").exists()


def test_an_unknown_array_is_answered_with_the_nearest() -> None:
    bundle = stored.read(save("npz", logits=VALUES, embeddings=VALUES))
    with pytest.raises(UserError, match=r"unknown array of .*: 'logit'; did you mean 'logits'\? "):
        bundle.array("logit")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("embeddings.npy", "holds one array; give the folder that holds embeddings.npy, logits"),
        ("absent.npz", "no such file or folder; check config.embeddings"),
        ("absent", "no such file or folder"),
        ("text.txt", "unknown ending '.txt'; give an .npz file, a .parquet file"),
        ("text.npz", "cannot be read .File is not a zip file"),
        ("text.parquet", "cannot be read as Parquet"),
        ("nothing", "holds no arrays; give an .npz file"),
        ("nothing.npz", "holds no arrays; give"),
        ("ftp://host/folder", "is not a supported address .*; give gs://bucket/folder"),
        ("s3://b/folder", "is not a supported address .*Invalid S3 bucket name"),
    ],
)
def test_what_is_no_bundle_is_refused(location: str, words: str) -> None:
    Path("nothing").mkdir()
    for name in ("text.txt", "text.npz", "text.parquet"):
        Path(name).write_text("a text")
    with zipfile.ZipFile("nothing.npz", "w") as archive:
        archive.writestr("readme", "no arrays")
    with pytest.raises(UserError, match=words) as error:
        stored.read(location)
    assert "\n" not in str(error.value)


@kinds
def test_a_file_that_is_cut_off_is_named(kind: str) -> None:
    path = save(kind, x=VALUES)
    cut = path / "x.npy" if kind == "folder" else path
    for size in (-1, len(cut.read_bytes()) // 2, 30, 5, 0):
        stored.cut(cut, size)
        with pytest.raises(UserError, match="cannot be read") as error:
            stored.read(path).array("x")[:]
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("compression", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("rows", [b"(99, 5)", b"(9_999_999_999_999, 5)", b"(-9, 5)", b"(1e9, 5)"])
def test_a_header_that_promises_other_rows_is_refused(compression: int | None, rows: bytes) -> None:
    path = save("folder", x=VALUES)
    content = (path / "x.npy").read_bytes()
    line = content[10:128].replace(b"(40, 5)", rows).rstrip()
    (path / "x.npy").write_bytes(content[:10] + line.ljust(117) + b"\n" + content[128:])
    if compression is not None:
        content = (path / "x.npy").read_bytes()
        path = Path("x.npz")
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("x.npy", content)
    with pytest.raises(UserError, match=r"array 'x' cannot be read \(") as error:
        stored.read(path).array("x")[:]
    assert "\n" not in str(error.value)


def test_a_file_that_shrinks_or_goes_while_it_is_read_is_an_error() -> None:
    path = save("folder", x=VALUES)
    array = stored.read(path).array("x")
    stored.same(array[:3], VALUES[:3])
    stored.cut(path / "x.npy", -4)
    with pytest.raises(UserError, match=r"array .x. cannot be read .mmap length"):
        array[:3]
    (path / "x.npy").unlink()
    with pytest.raises(UserError, match=r"array .x. cannot be read .*No such file"):
        array[:3]


@given(place=st.integers(0, 100_000), bit=st.integers(0, 7), kind=st.sampled_from(["npz", "npy"]))
def test_a_flipped_bit_of_a_header_is_an_error_or_harmless(place: int, bit: int, kind: str) -> None:
    if kind == "npz":
        path = file = Path("arrays.npz")
        np.savez(path, x=VALUES)
    else:
        path, file = Path("folder"), Path("folder/x.npy")
        path.mkdir(exist_ok=True)
        np.save(file, VALUES)
    stored.flip(file, place % file.stat().st_size, bit)
    stored.read_or_refused(lambda: stored.read(path).array("x"), str(path))


@given(place=st.integers(0, 100_000), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_compressed_array_never_gives_other_numbers(
    place: int, bit: int
) -> None:
    path = Path("arrays.npz")
    np.savez_compressed(path, x=VALUES)
    stored.flip(path, place % path.stat().st_size, bit)
    values = stored.read_or_refused(lambda: stored.read(path).array("x"), str(path))
    if values is not None:
        np.testing.assert_array_equal(values, VALUES)


def test_the_home_folder_and_file_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    path = save("npz", x=VALUES)
    for location in ("~/arrays.npz", f"file://{path.absolute()}"):
        bundle = stored.read(location)
        assert bundle.location == str(path.absolute())
        stored.same(bundle.array("x")[:], VALUES)
