"""The names of rows, and what joins by them."""

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data import identity
from lelp_jax.storage import content, zarr
from tests.helpers import stored


def place(row: int) -> str:
    return f"train.csv line {row + 2}"


@pytest.mark.parametrize(
    "raw",
    [
        np.array([7, 12, 0]),
        np.array([7, 12, 0], np.uint8),
        np.array([7.0, 12.0, 0.0]),
        np.array(["7", "12", "0"]),
        np.array([b"7", b"12", b"0"]),
        np.array([" 7", "12 ", "0"]),
        np.array([7, "12", b"0"], object),
    ],
    ids=str,
)
def test_numbers_and_texts_are_the_same_names(raw: np.ndarray) -> None:
    names = identity.read(raw, "id", place)
    assert names.tolist() == ["7", "12", "0"]
    assert names.dtype.kind == "U"


def test_names_are_told_apart_by_every_letter() -> None:
    raw = np.array(["a", "A", "a b", "ab", "ä", "07", "7", "-7"])
    assert identity.read(raw, "id", place).tolist() == raw.tolist()
    large = np.array([2**62, 2**62 + 1])
    assert identity.read(large, "id", place).tolist() == [str(2**62), str(2**62 + 1)]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (np.array([1.0, np.nan]), "train.csv line 3: id nan is not a whole number"),
        (np.array([1.0, np.inf]), "train.csv line 3: id inf is not a whole number"),
        (np.array([1.0, 2.5]), "train.csv line 3: id 2.5 is not a whole number"),
        (np.array([1.0, 2.0**60]), "train.csv line 3: id 1.15.*e.18 is not a whole number"),
        (np.array([True, False]), "train.csv line 2: id holds bool; whole numbers or texts"),
        (np.array(["x", " "]), "train.csv line 3: id is empty; give every row a name"),
        (np.array(["x", None], object), "train.csv line 3: id is empty"),
        (
            np.array(["x", "y", "z", "y"]),
            "train.csv line 5: id 'y' is also that of train.csv line 3; each row needs its own",
        ),
        (np.array([4, "x", "4"], object), "line 4: id '4' is also that of train.csv line 2"),
    ],
)
def test_what_names_no_row_or_two_is_refused(raw: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=words):
        identity.read(raw, "id", place)


@hypothesis.given(
    strategies.lists(strategies.text("abä7", max_size=3), max_size=20),
    strategies.lists(strategies.text("abä7", max_size=3), min_size=1, max_size=20, unique=True),
)
def test_positions_are_those_of_a_dictionary(wanted: list[str], there: list[str]) -> None:
    known = {name: row for row, name in enumerate(there)}
    found = identity.find_positions(np.array(wanted, np.str_), np.array(there, np.str_))
    assert found.tolist() == [known.get(name, -1) for name in wanted]


@pytest.mark.parametrize(
    ("wanted", "there", "message"),
    [
        (["007", "x"], ["7", "x"], "teacher.npz: the id '007' of the data is not the id '7' there"),
        (["7"], ["0007"], "teacher.npz: the id '7' of the data is not the id '0007' there; ids"),
        (["7.0"], ["7"], "the id '7.0' of the data is not the id '7' there; ids are compared as"),
    ],
)
def test_the_same_number_in_another_spelling_is_no_match(
    wanted: list[str], there: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        identity.refuse_other_spelling(np.array(wanted), np.array(there), "teacher.npz")


def test_names_that_differ_otherwise_are_only_missing() -> None:
    names = np.array(["007", "a7", "7", "1e3", "1.5"])
    identity.refuse_other_spelling(names, names, "teacher.npz")
    identity.refuse_other_spelling(names, np.array(["8", "A7", "1000", "15"]), "teacher.npz")


def load(**ids: Any) -> data.Dataset:
    random = np.random.default_rng(0)
    for split, rows in (("train", 60), ("test", 20)):
        arrays = {"inputs": random.normal(size=(rows, 3)), "labels": np.arange(rows) % 2}
        if ids.get(split) is not None:
            arrays["ids"] = ids[split]
        np.savez(f"{split}.npz", **arrays)
    source = data.SOURCES["arrays"]("train.npz", test="test.npz")
    return data.load(source, data.Split((0.6, 0.2, 0.2), 0))


def test_rows_of_all_files_keep_their_names_and_the_data_their_digest() -> None:
    plain = load()
    assert plain.ids is None
    named = load(train=np.arange(60), test=np.array([f"test {row}" for row in range(20)]))
    assert named.ids is not None
    assert named.ids[[0, 59, 60, 79]].tolist() == ["0", "59", "test 0", "test 19"]
    assert named.digest == plain.digest


def test_two_files_may_share_a_name_until_rows_are_joined_by_it() -> None:
    dataset = load(train=np.arange(60), test=np.arange(20) + np.where(np.arange(20) == 3, 6, 100))
    assert dataset.ids is not None
    with pytest.raises(UserError, match=r"data row 63: id '9' is also that of data row 9;"):
        identity.refuse_twice(dataset.ids, "id", lambda row: f"data row {row}")
    with pytest.raises(UserError, match="the test rows have no ids, but others do; give them to"):
        load(train=np.arange(60))


def test_a_digest_is_that_of_the_content_wherever_it_lies() -> None:
    arrays = {"x": np.arange(12.0, dtype=np.float32).reshape(6, 2), "y": np.arange(6)}
    digests = set()
    for location in ("a.npz", "folder", "a.zarr", "a.parquet"):
        bundle = stored.read(stored.write(location, arrays))
        digests.add(content.hash_bundle(bundle, ("x", "y"), Path("memory.json")))
    assert len(digests) == 1
    bundle = stored.read(stored.write("a.npz", arrays))
    assert content.hash_bundle(bundle, ("x",), Path("memory.json")) not in digests
    for name in arrays:
        changed = {**arrays, name: arrays[name].copy()}
        changed[name][-1] += 1
        bundle = stored.read(stored.write("b.npz", changed))
        assert content.hash_bundle(bundle, ("x", "y"), Path("memory.json")) not in digests


def test_at_an_address_rows_spread_over_the_arrays_name_the_content() -> None:
    values = np.zeros((5000, 2), np.float32)
    digests = []
    for row in (None, 0, 4999):
        values[:] = 0
        if row is not None:
            values[row] = 1
        zarr.create("memory://digest/x", values.shape, values.dtype, 512).write(0, values)
        bundle = stored.read("memory://digest")
        digests.append(content.hash_bundle(bundle, ("x",), Path("memory.json")))
    assert len(set(digests)) == 3
    assert not Path("memory.json").exists()


@pytest.mark.parametrize("raw", [["a", "a\0"], ["b\0", "c"], [b"a\0\0", b"b"]])
def test_names_that_numpy_would_shorten_are_refused(raw: list[Any]) -> None:
    with pytest.raises(UserError, match=r"id '.*' ends with a NUL character; remove it"):
        identity.read(np.array(raw, object), "id", place)


@pytest.mark.parametrize("name", ["x", "y"])
def test_an_array_that_is_not_compressed_is_compared_with_its_checksum(name: str) -> None:
    arrays = {"x": np.arange(40.0), "y": np.arange(40.0, 80)}
    np.savez("t.npz", **arrays)
    damaged = bytearray(Path("t.npz").read_bytes())
    damaged[damaged.index(arrays[name].tobytes()) + 100] ^= 1
    Path("t.npz").write_bytes(damaged)
    bundle = stored.read("t.npz")
    with pytest.raises(UserError, match=f"t.npz, array '{name}' cannot be read .*CRC"):
        content.hash_bundle(bundle, ("x", "y"), Path("memory.json"))
    other = {"x": "y", "y": "x"}[name]
    assert content.hash_bundle(bundle, (other,), Path("memory.json"))
