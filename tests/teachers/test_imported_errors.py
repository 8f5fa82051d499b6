"""Mistakes in the files of a teacher from elsewhere: each is told in one line, by name and row."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.main import main
from lelp_jax.storage import zarr
from tests.helpers import stored, tiny
from tests.helpers.error_lines import only_error
from tests.helpers.foreign_teacher import (
    EMBEDDINGS,
    INPUTS,
    LABELS,
    LOGITS,
    NAMES,
    ROWS,
    SMALL,
    TEACHER,
    TEST,
    WEIGHTS,
    rows_of,
    run,
    save_npz,
    write_data,
)
from tests.helpers.softmax import softmax


@pytest.fixture(autouse=True)
def _data() -> None:
    write_data()


def without(*names: str) -> dict[str, np.ndarray]:
    return {name: values for name, values in TEACHER.items() if name not in names}


def with_value(name: str, row: int, value: float) -> dict[str, np.ndarray]:
    changed = TEACHER[name].copy()
    changed[row, 1] = value
    return {**TEACHER, name: changed}


TRAIN = rows_of(TEACHER, slice(ROWS))
# What the teacher's file holds, further flags, and the words of the answer.
MISTAKES: dict[str, tuple[Mapping[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "no logits": (
        without("logits"),
        (),
        ("has no logits (it holds embeddings, output_weights)", "run the teacher again",
         "'logits', or its probabilities as 'probabilities'"),
    ),
    "no embeddings": (
        without("embeddings"),
        (),
        ("has no embeddings", "[rows, dims]", "as 'embeddings'"),
    ),
    "logits and probabilities": (
        {**TEACHER, "probabilities": softmax(LOGITS)},
        (),
        ("holds both logits and probabilities; remove one of them",),
    ),
    "rows differ": (
        {**TEACHER, "logits": LOGITS[:-1]},
        (),
        ("159 rows of logits, but 160 of embeddings",),
    ),
    "too few rows": (
        rows_of(TEACHER, slice(ROWS - 1)),
        (),
        ("has 119 rows, the data 120 or 160", "save the outputs for every row, or match by id"),
    ),
    "too many rows": (
        {n: v if n == "output_weights" else np.concatenate([v, v]) for n, v in TEACHER.items()},
        (),
        ("has 320 rows, the data 120 or 160",),
    ),
    "test rows left out of the same file": (
        rows_of(TEACHER, slice(ROWS - 24)),
        ("--config.data.test=",),
        ("has 96 rows, the data 120;",),
    ),
    "weights of other dims": (
        {**TEACHER, "output_weights": WEIGHTS[:-1]},
        (),
        ("output_weights have shape (7, 2), but must have [dims, classes] = (8, 2)",
         "leave them out"),
    ),
    "weights transposed": (
        {**TEACHER, "output_weights": WEIGHTS.T},
        (),
        ("output_weights have shape (2, 8)", "save their transpose"),
    ),
    "weights not finite": (
        {**TEACHER, "output_weights": WEIGHTS * np.inf},
        (),
        ("output_weights hold values that are not finite",),
    ),
    "weights too large": (
        {**TEACHER, "output_weights": WEIGHTS * np.float64(1e300)},
        (),
        ("output_weights hold values that are not finite in float32; fix them, or leave",),
    ),
    "weights in an .npz file": (
        TEACHER,
        ("--config.teacher.output_weights=teacher.npz",),
        ("not a readable .npy file", "config.teacher.output_weights[0]"),
    ),
    "weights not there": (
        TEACHER,
        ("--config.teacher.output_weights=w.npy",),
        ("w.npy: not a readable .npy file", "No such file", "config.teacher.output_weights[0]"),
    ),
    "more classes": (
        {"embeddings": EMBEDDINGS, "logits": np.c_[LOGITS, LOGITS[:, :1]]},
        (),
        ("has 3 classes, the data 2 (0, 1); give a teacher of these classes",),
    ),
    "embeddings of one dim": (
        {**TEACHER, "embeddings": EMBEDDINGS[:, 0]},
        (),
        ("embeddings have shape (160,)", "[rows, dims]"),
    ),
    "embeddings of texts": (
        {**TEACHER, "embeddings": EMBEDDINGS.astype(str)},
        (),
        ("embeddings have shape (160, 8) and type <U", "numbers"),
    ),
    "no rows": (
        rows_of(TEACHER, slice(0)),
        (),
        ("has no rows",),
    ),
    "id array not there": (
        TEACHER,
        ("--config.teacher.id=key",),
        ("has no array 'key' (config.teacher.id); it holds embeddings, logits",),
    ),
    "id twice": (
        {**TEACHER, "ids": np.where(np.arange(ROWS + TEST) == 7, NAMES[3], NAMES)},
        (),
        ("array 'ids', row 7: ids 'row-", "is also that of", "row 3", "needs its own"),
    ),
    "id empty": (
        {**TEACHER, "ids": np.where(np.arange(ROWS + TEST) == 7, "", NAMES)},
        (),
        ("array 'ids', row 7: ids is empty",),
    ),
    "id is no whole number": (
        {**TEACHER, "ids": np.arange(ROWS + TEST) + 0.5},
        (),
        ("array 'ids', row 0: ids 0.5 is not a whole number",),
    ),
    "ids too few": (
        {**TEACHER, "ids": NAMES[:-1]},
        (),
        ("ids have shape (159,); save one id per row, shape (160,)",),
    ),
    "ids cover training rows in part": (
        rows_of({**TEACHER, "ids": NAMES}, slice(5, None)),
        (),
        ("has no outputs for ", " training rows, such as data row ", "(id 'row-",
         "run the teacher on all training and validation rows"),
    ),
    "ids of other rows": (
        {**TEACHER, "ids": np.char.add(NAMES, "x")},
        (),
        ("has no outputs for 96 of 96 training rows",),
    ),
    "weights reshaped": (
        {**TEACHER, "output_weights": WEIGHTS.T.reshape(WEIGHTS.shape)},
        (),
        ("output_weights hold [classes, dims] = (2, 8) in the shape (8, 2), reshaped instead",),
    ),
    "logits are truth values": (
        {**TEACHER, "logits": LOGITS > 0},
        (),
        ("logits have shape (160, 2) and type bool",),
    ),
    "online": (
        TEACHER,
        ("--config.student.teacher_outputs=online",),
        ("config.student.teacher_outputs 'online'", "of this one are known; use 'bank'"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_before_anything_is_written(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arrays, flags, words = MISTAKES[name]
    code = run(*save_npz("teacher", arrays), *flags)
    text = only_error(capfd.readouterr().err)
    assert code == 2
    for part in words:
        assert part in text
    assert not Path("run").exists()


LATE: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "embedding": (
        with_value("embeddings", 7, np.nan),
        ("array 'embeddings', row 7: the embedding is not finite in float32; fix or remove",),
    ),
    "embedding too large": (
        {**TEACHER, "embeddings": EMBEDDINGS.astype(np.float64) * np.where(
            np.arange(ROWS + TEST) == 9, 1e300, 1)[:, None]},
        ("array 'embeddings', row 9: the embedding is not finite in float32",),
    ),
    "logits": (
        with_value("logits", 7, np.inf),
        ("array 'logits', row 7: the row of logits holds inf, which is not finite",),
    ),
    "logits of a test row": (
        with_value("logits", ROWS + 7, np.inf),
        ("array 'logits', row 127: the row of logits holds inf, which is not finite",),
    ),
    "logits of a diverged teacher": (
        with_value("logits", 9, 1e20),
        ("array 'logits', row 9: the row of logits holds 1.00000002e+20, which is too large",),
    ),
    "logits too large": (
        {**TEACHER, "logits": LOGITS.astype(np.float64) * 1e300},
        ("array 'logits', row ", "the row of logits holds ", "e+300, which is too large, beyond"),
    ),
    "probability above 1": (
        {"embeddings": EMBEDDINGS, "probabilities": 2 * softmax(LOGITS)},
        ("array 'probabilities', row ", "the row of probabilities holds 1.", "is outside 0..1;"),
    ),
    "probabilities do not sum to 1": (
        {"embeddings": EMBEDDINGS, "probabilities": 0.9 * softmax(LOGITS)},
        ("the row of probabilities sums to 0.9", "not to 1; logits belong under the key 'logits'",),
    ),
    "logits as probabilities": (
        {"embeddings": EMBEDDINGS, "probabilities": LOGITS},
        ("the row of probabilities holds ", "which is outside 0..1; logits belong under the key"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("without_weights", [False, True])
@pytest.mark.parametrize("name", LATE)
def test_a_value_that_cannot_be_is_told_with_its_row(
    name: str, without_weights: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    arrays, words = LATE[name]
    arrays = {k: v for k, v in arrays.items() if not (without_weights and k == "output_weights")}
    code = run(*save_npz("teacher", arrays))
    text = only_error(capfd.readouterr().err)
    assert code == 2
    for part in ("teacher.npz", *words):
        assert part in text
    assert not list(Path("run").glob("banks/*"))
    assert not list(Path("run").glob("students/*"))


def test_a_class_without_rows_and_too_many_subclasses(capfd: pytest.CaptureFixture[str]) -> None:
    never = {**TEACHER, "logits": LOGITS + np.array([99, 0], np.float32)}
    assert run(*save_npz("never", never)) == 2
    text = only_error(capfd.readouterr().err)
    assert "config.methods.lelp" in text
    assert "class 1 ('1') has no rows to fit (rows per class by teacher: [96, 0])" in text
    small = [flag for flag in SMALL if "num_subclasses" not in flag]
    flags = [*small, *save_npz("teacher", TEACHER), "--config.methods.lelp.num_subclasses=7"]
    flags += ["--config.data.train=train.npz", "--config.data.test=test.npz", "--workdir=run"]
    config = f"--config={tiny.ROOT}/configs/own_teacher.py:quick"
    assert main(["main", config, *flags]) == 2
    text = only_error(capfd.readouterr().err)
    assert "config.methods.lelp" in text
    assert "num_subclasses 7 exceeds the rank 6" in text


def test_data_without_ids_and_a_teacher_with_them(capfd: pytest.CaptureFixture[str]) -> None:
    write_data(ids=None)
    flags = save_npz("teacher", {**TEACHER, "ids": NAMES})
    assert run(*flags) == 2
    text = only_error(capfd.readouterr().err)
    assert "teacher.npz has ids, but the data have none" in text
    assert "--config.data.id=COLUMN" in text
    assert "--config.teacher.id=" in text
    assert run(*flags, "--config.teacher.id=") == 0


def test_ids_that_are_the_same_numbers_in_another_spelling(
    capfd: pytest.CaptureFixture[str],
) -> None:
    numbers = np.char.replace(NAMES, "row-", "")
    write_data(ids=np.char.zfill(numbers, 5))
    assert run(*save_npz("teacher", {**TEACHER, "ids": numbers.astype(int)})) == 2
    text = only_error(capfd.readouterr().err)
    assert f"the id '{int(numbers[0]):05d}' of the data is not the id {str(numbers[0])!r}" in text
    assert "ids are compared as texts" in text
    # Numbers and texts that are written alike are the same.
    write_data(ids=numbers)
    assert run(*save_npz("teacher", {**TEACHER, "ids": numbers.astype(float)})) == 0


def test_ids_of_data_that_cannot_be(capfd: pytest.CaptureFixture[str]) -> None:
    flags = save_npz("teacher", {**TEACHER, "ids": NAMES})
    write_data(ids=np.where(np.arange(ROWS + TEST) == ROWS + 2, NAMES[3], NAMES))
    assert run(*flags) == 2
    text = only_error(capfd.readouterr().err)
    assert f"data row {ROWS + 2}: id {str(NAMES[3])!r} is also that of data row 3; each" in text
    write_data()
    np.savez("test.npz", inputs=INPUTS[ROWS:], labels=LABELS[ROWS:])
    assert run(*flags) == 2
    assert "the test rows have no ids, but others do" in only_error(capfd.readouterr().err)


FILES: dict[str, tuple[Callable[[], Any], str, tuple[str, ...]]] = {
    "missing": (lambda: None, "no.npz", ("no.npz: no such file", "config.teacher.files[0]")),
    "missing folder": (lambda: None, "no", ("/no: no such file", "config.teacher.files[0]")),
    "one array": (
        lambda: np.save("teacher.npy", LOGITS),
        "teacher.npy",
        ("an .npy file holds one array; give the folder", "config.teacher.files[0]"),
    ),
    "ending": (
        lambda: Path("teacher.pt").write_bytes(b"x"),
        "teacher.pt",
        ("unknown ending '.pt'", ".npz", ".parquet"),
    ),
    "empty folder": (
        lambda: Path("folder").mkdir(),
        "folder",
        ("folder holds no arrays; give", "config.teacher.files[0]"),
    ),
    "cut": (lambda: stored.cut(Path("teacher.npz"), -200), "teacher.npz", ("teacher.npz cannot",)),
    "no file at all": (
        lambda: Path("teacher.npz").write_bytes(b""),
        "teacher.npz",
        ("teacher.npz cannot be read", "numpy.savez"),
    ),
    "address": (lambda: None, "memory://no/teacher", ("memory://no/teacher holds no arrays",)),
    "unknown address": (lambda: None, "hdfs://no/teacher", ("not a supported address", "gs:")),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_read(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    act, location, words = FILES[name]
    save_npz("teacher", TEACHER)
    act()
    code = run(f"--config.teacher.files={location}")
    text = only_error(capfd.readouterr().err)
    assert code == 2
    for part in words:
        assert part in text
    assert not Path("run").exists()


def test_a_damaged_chunk_of_a_teacher_names_its_file(capfd: pytest.CaptureFixture[str]) -> None:
    Path("teacher").mkdir()
    for name, values in TEACHER.items():
        zarr.create(f"teacher/{name}", values.shape, values.dtype, 7).write(0, values)
    stored.flip(Path("teacher/embeddings/c/3/0"), 5)
    assert run("--config.teacher.files=teacher") == 2
    text = only_error(capfd.readouterr().err)
    assert "teacher/embeddings cannot be read" in text
    assert "teacher/embeddings/c/3/0" in text
    assert "write it again" in text
