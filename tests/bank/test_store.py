"""Banks: what they hold, how they resume, and what they refuse."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from lelp_jax.bank import store
from lelp_jax.bank.store import Bank
from lelp_jax.core.errors import Damaged, Unavailable
from tests.helpers import stored, tiny
from tests.helpers.banks import (
    CHUNK,
    DIMS,
    EMBEDDINGS,
    INDEX,
    LOGITS,
    ROWS,
    WEIGHTS,
    Asked,
    holds_everything,
    one_line,
    read,
    write,
)
from tests.helpers.bucket import run_in_bucket
from tests.helpers.processes import finish_all, launch, launch_pair

random = np.random.default_rng(0)


def test_what_is_written_is_read() -> None:
    write("bank")
    holds_everything(read("bank"))
    for name in ("logits", "embeddings"):
        assert len(list(Path("bank", name, "c").iterdir())) == 8
    assert not Path("bank/chunks").exists()


def test_bfloat16_rounds_the_embeddings_once_and_nothing_else() -> None:
    write("bank", dtype="bfloat16")
    bank = read("bank")
    assert bank.embeddings.dtype == bank.logits.dtype == np.float32
    rounded = EMBEDDINGS.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert (rounded != EMBEDDINGS).any()
    np.testing.assert_array_equal(bank.embeddings, rounded[INDEX])
    np.testing.assert_array_equal(bank.logits, LOGITS[INDEX])
    np.testing.assert_array_equal(bank.output_weights, WEIGHTS)
    assert Path("bank/embeddings/c/0/0").stat().st_size == 2 * CHUNK * DIMS + 4


def test_parts_are_read_across_chunks_and_in_any_order() -> None:
    write("bank")
    embeddings, wanted = read("bank").embeddings, EMBEDDINGS[INDEX]
    for start, stop in ((0, 0), (0, 1), (7, 9), (3, 50), (60, 61), (-5, None), (50, 500), (9, 2)):
        np.testing.assert_array_equal(embeddings[start:stop], wanted[start:stop])
    for places in ([], [60], [17, 3, 3, 60, 0], random.permutation(ROWS), [-1, 0]):
        np.testing.assert_array_equal(embeddings[places], wanted[np.array(places, int)])
    with pytest.raises(IndexError):
        embeddings[[ROWS]]


def test_rows_are_found_by_their_index_in_the_data() -> None:
    write("bank")
    bank = read("bank")
    shuffled = random.permutation(INDEX)
    np.testing.assert_array_equal(
        bank.embeddings[bank.find_positions(shuffled)], EMBEDDINGS[shuffled]
    )
    missing = np.setdiff1d(np.arange(80), INDEX)
    for absent in (missing[:1], np.array([80]), np.array([INDEX[0], missing[-1]])):
        with pytest.raises(KeyError, match="not in the bank bank"):
            bank.find_positions(absent)


def test_the_teacher_is_asked_for_one_chunk_at_a_time_and_each_row_once() -> None:
    answers = Asked()
    write("bank", answers)
    assert max(map(len, answers.requests)) == CHUNK
    np.testing.assert_array_equal(np.concatenate(answers.requests), INDEX)


def test_reading_a_part_reads_its_chunks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    write("bank")
    bank = read("bank")
    sizes = []
    original = store.zarr.ZarrArray.__getitem__

    def noted(array: Any, rows: Any) -> np.ndarray:
        values = original(array, rows)
        sizes.append(len(values))
        return values

    monkeypatch.setattr(store.zarr.ZarrArray, "__getitem__", noted)
    for start in range(20, 30, 2):
        _ = bank.embeddings[start : start + 2]
    # Rows 16 to 31, in two chunks, each read once though steps of 2 ask for it again and again.
    assert sizes == [CHUNK, CHUNK]
    sizes.clear()
    _ = bank.embeddings[[0, 60, 1, 59]]
    assert sizes == [CHUNK, 5]


@pytest.mark.parametrize("stopped_by", ["answers", "check"])
@pytest.mark.parametrize("dtype", store.DTYPES)
def test_it_resumes_at_the_chunk_where_it_stopped(stopped_by: str, dtype: str) -> None:
    write("whole", dtype=dtype)
    first, checks = Asked(stop_after=3 if stopped_by == "answers" else None), iter(range(3))

    def check() -> None:
        if stopped_by == "check" and next(checks, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("bank", first, dtype=dtype, check=check)
    assert len(first.requests) == 3
    with pytest.raises(Damaged, match=r"manifest\.json is missing"):
        read("bank")
    second = Asked()
    write("bank", second, dtype=dtype)
    np.testing.assert_array_equal(np.concatenate(first.requests + second.requests), INDEX)
    assert tiny.snapshot(Path("bank")) == tiny.snapshot(Path("whole"))
    third = Asked()
    write("bank", third, dtype=dtype)
    assert not third.requests


CHANGES: dict[str, dict[str, Any]] = {
    "teacher": {"of": {"teacher": "u", "data": "d"}},
    "data": {"of": {"teacher": "t", "data": "e"}},
    "dtype": {"dtype": "bfloat16"},
    "rows": {"index": np.sort(random.permutation(80)[:ROWS])},
    "fewer rows": {"index": INDEX[:-9]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_there_of_another_plan_is_not_used(change: str) -> None:
    changed = CHANGES[change]
    with pytest.raises(KeyboardInterrupt):
        write("bank", Asked(stop_after=3))
    write("other", **changed)
    answers = Asked()
    write("bank", answers, **changed)
    asked = np.concatenate(answers.requests)
    np.testing.assert_array_equal(asked, changed.get("index", INDEX))
    assert tiny.snapshot(Path("bank")) == tiny.snapshot(Path("other"))


def test_chunks_of_another_size_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        write("bank", Asked(stop_after=3))
    monkeypatch.setattr(store, "_MOST_CHUNK_ROWS", 2 * CHUNK)
    answers = Asked()
    write("bank", answers)
    assert list(map(len, answers.requests)) == [16, 16, 16, 13]
    holds_everything(read("bank"))


def test_a_finished_bank_of_another_teacher_is_written_anew() -> None:
    write("bank", Asked(scale=2), of={"teacher": "u", "data": "d"})
    write("bank")
    holds_everything(read("bank"))


def edit(change: Callable[[dict], Any]) -> Callable[[], None]:
    """Returns what changes the manifest as if it had been written so."""

    def act() -> None:
        path = Path("bank/manifest.json")
        content = json.loads(path.read_text())
        del content["checksum"]
        change(content)
        path.write_text(json.dumps({**content, "checksum": store._compute_checksum(content)}))

    return act


def cut_manifest() -> None:
    stored.cut(Path("bank/manifest.json"), -20)


def flip_manifest() -> None:
    path = Path("bank/manifest.json")
    stored.flip(path, path.read_bytes().index(b'"rows"') + 8, bit=1)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "missing": (lambda: Path("bank/manifest.json").unlink(), "manifest.json is missing"),
    "nothing there": (lambda: shutil.rmtree("bank"), "manifest.json is missing"),
    "truncated": (cut_manifest, "manifest.json has changed since it was written"),
    "one bit flipped": (flip_manifest, "manifest.json has changed since it was written"),
    "no JSON": (
        lambda: Path("bank/manifest.json").write_bytes(b"\xff"),
        "manifest.json has changed since it was written",
    ),
    "a list": (
        lambda: Path("bank/manifest.json").write_text("[]"),
        "manifest.json has changed since it was written",
    ),
    "another format": (edit(lambda m: m.update(format=2)), "its format is 2, not 1"),
    "another teacher": (edit(lambda m: m.update(teacher="u")), "its teacher is u, not t"),
    "other data": (edit(lambda m: m.update(data="e")), "its data is e, not d"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_manifest_that_is_not_the_one_wanted_is_refused(name: str) -> None:
    act, words = REFUSED[name]
    write("bank")
    act()
    with pytest.raises(Damaged) as error:
        read("bank")
    one_line(error, "the bank bank is", words, "delete bank to build it again")


def test_rows_in_another_order_are_refused() -> None:
    write("bank", index=INDEX[::-1])
    with pytest.raises(Damaged) as error:
        read("bank")
    one_line(error, "the bank bank holds 61 rows, not the 61 rows of these data", "delete bank")
    write("bank", index=INDEX[1:])
    with pytest.raises(Damaged) as error:
        read("bank")
    one_line(error, "holds 60 rows", "not the 61 rows of these data", "delete bank")


def use(bank: Bank, name: str) -> None:
    _ = np.asarray(getattr(bank, name))


FIRST = {
    "embeddings": "embeddings/c/2/0",
    "logits": "logits/c/2/0",
    "index": "index/c/0",
    "output_weights": "output_weights/c/0/0",
}
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "first bit": lambda path: stored.flip(path, 0, bit=0),
    "last bit": lambda path: stored.flip(path, path.stat().st_size - 1, bit=7),
    "middle bit": lambda path: stored.flip(path, 13),
    "truncated": lambda path: stored.cut(path, -9),
    "empty": lambda path: stored.cut(path, 0),
    "deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("dtype", store.DTYPES)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FIRST)
def test_a_damaged_chunk_is_refused_by_name(name: str, damage: str, dtype: str) -> None:
    write("bank", dtype=dtype)
    DAMAGES[damage](Path("bank", FIRST[name]))
    with pytest.raises(Damaged) as error:
        use(read("bank"), name)
    one_line(error, f"bank/{name}: chunk ", f"bank/{FIRST[name]}", "delete bank to build")


@pytest.mark.parametrize("name", [*FIRST.values(), "embeddings/zarr.json"])
def test_a_bank_that_cannot_be_read_for_another_reason_is_kept(name: str) -> None:
    write("bank")
    stored.block(Path("bank", name))
    with pytest.raises((Unavailable, OSError), match="Too many levels of symbolic links"):
        use(read("bank"), name.partition("/")[0])
    stored.unblock(Path("bank", name))
    use(read("bank"), name.partition("/")[0])


def test_sound_rows_of_a_damaged_bank_are_told_from_others() -> None:
    write("bank")
    stored.flip(Path("bank", FIRST["embeddings"]), 13)
    embeddings = read("bank").embeddings
    np.testing.assert_array_equal(embeddings[:16], EMBEDDINGS[INDEX][:16])
    with pytest.raises(Damaged, match=r"chunk 2 \(rows 16 to 23\) cannot be read"):
        _ = embeddings[[40, 20]]


@pytest.mark.parametrize("name", ["embeddings", "logits"])
def test_sound_chunks_in_one_anothers_place_are_refused(name: str) -> None:
    write("bank")
    first, second = (Path("bank", name, "c", number, "0") for number in "13")
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    with pytest.raises(Damaged) as error:
        use(read("bank"), name)
    one_line(error, f"bank/{name}: chunk 1 (rows 8 to 15) is not the one that was written there")


@pytest.mark.parametrize("name", FIRST)
def test_an_array_of_another_bank_is_refused(name: str) -> None:
    write("bank")
    write("other", Asked(scale=2), index=INDEX - 1)
    shutil.rmtree(f"bank/{name}")
    shutil.copytree(f"other/{name}", f"bank/{name}")
    if name in ("embeddings", "output_weights"):
        stored_values = store.zarr.open(f"bank/{name}")
        stored_values.write(0, np.asarray(stored_values[:1]) + 1)
    with pytest.raises(Damaged, match=r"is not the one that was written there; delete bank to"):
        use(read("bank"), name)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda path: shutil.rmtree(path), "no zarr array there"),
        (lambda path: (path / "zarr.json").write_text("{"), "cannot be read"),
        (lambda path: store.zarr.create(path, (61, 5), np.float32, 16), r"in chunks of 16"),
        (lambda path: store.zarr.create(path, (60, 5), np.float32, 8), r"has shape \(60, 5\)"),
    ],
    ids=["gone", "damaged", "other chunks", "other shape"],
)
def test_an_array_that_does_not_fit_the_manifest_is_refused(act: Any, words: str) -> None:
    write("bank")
    act(Path("bank/embeddings"))
    with pytest.raises(Damaged, match=f"the bank bank is damaged .*{words}.*; delete bank to"):
        use(read("bank"), "embeddings")


IN_A_BUCKET = """
import numpy as np
import pytest
from lelp_jax.bank import store
from lelp_jax.core.errors import Damaged, UserError
from lelp_jax.storage import objects
from tests.helpers import banks

store._MOST_CHUNK_ROWS = banks.CHUNK
address = "gs://bucket/some/bank"
for stop in (3, 2, None):
    try:
        banks.write(address, banks.Asked(stop_after=stop), dtype="bfloat16")
    except KeyboardInterrupt:
        assert stop
bank = banks.read(address)
np.testing.assert_array_equal(bank.logits, banks.LOGITS[banks.INDEX])
turned = banks.INDEX[::-1]
wanted = banks.EMBEDDINGS[turned]
np.testing.assert_allclose(bank.embeddings[bank.find_positions(turned)], wanted, rtol=0.01)
objects.write_bytes(address, "embeddings/c/2/0", b"damaged")
with pytest.raises(Damaged, match="some/bank/embeddings: chunk 2 .*delete gs://bucket"):
    _ = banks.read(address).embeddings[20:21]
"""


@pytest.mark.slow
def test_a_bank_in_a_bucket_is_that_on_disk() -> None:
    write("bank", dtype="bfloat16")
    content = run_in_bucket(IN_A_BUCKET)
    there = {name.removeprefix("some/bank/"): value for name, value in content.items()}
    assert there.pop("embeddings/c/2/0") == b"damaged"
    local = tiny.snapshot(Path("bank"))
    del local["embeddings/c/2/0"]
    assert there == local


def command(location: Path, dtype: str) -> Sequence[str]:
    return [sys.executable, "-m", "tests.helpers.bank_process", str(location), dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", store.DTYPES)
def test_two_processes_write_the_bank_that_one_writes(dtype: str, tmp_path: Path) -> None:
    (single,) = finish_all([launch(list(command(tmp_path / "one", dtype)), 1)])
    pair = finish_all(launch_pair(list(command(tmp_path / "two", dtype))))
    assert single == {"processes": 1, "asked": 630}
    assert all(found is not None and found["processes"] == 2 for found in pair)
    # 10 chunks, in stretches of 5.
    assert [found["asked"] for found in pair if found] == [320, 310]
    assert tiny.snapshot(tmp_path / "two") == tiny.snapshot(tmp_path / "one")
