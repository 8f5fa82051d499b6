"""Teachers from elsewhere: files that any framework could have written, from end to end."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.core.progress import set_up_logging
from lelp_jax.main import main
from lelp_jax.storage import content, zarr
from lelp_jax.storage.open import open_bundle
from lelp_jax.teachers import agreement, imported
from lelp_jax.teachers.arrays import ImportedTeachers
from tests.helpers import tiny
from tests.helpers.foreign_teacher import (
    DIMS,
    EMBEDDINGS,
    FORMATS,
    INPUTS,
    LABELS,
    LOGITS,
    NAMES,
    ROWS,
    SMALL,
    TEACHER,
    TEST,
    WEIGHTS,
    lines,
    measured,
    rows_of,
    run,
    save_npz,
    write_data,
)
from tests.helpers.softmax import softmax

SPLIT = data.Split((0.6, 0.2, 0.2), 0)


@pytest.fixture(autouse=True)
def _data() -> None:
    write_data()


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What students of the teacher measure when it is joined by order from an .npz file."""
    folder = tmp_path_factory.mktemp("wanted")
    before = os.getcwd()
    os.chdir(folder)
    try:
        write_data()
        assert run(*save_npz("teacher", TEACHER)) == 0
        return measured()
    finally:
        os.chdir(before)


@pytest.mark.slow
@pytest.mark.parametrize("joined", ["order", "ids"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_students(form: str, joined: str, wanted: list[Any]) -> None:
    arrays = dict(TEACHER)
    if joined == "ids":
        # More rows than the data have, in an order of their own.
        arrays |= {name: np.concatenate([v, v[:1]]) for name, v in TEACHER.items()}
        arrays["output_weights"] = WEIGHTS
        arrays["ids"] = np.append(NAMES, "not in the data")
        arrays = rows_of(arrays, np.random.default_rng(1).permutation(ROWS + TEST + 1))
    assert run(*FORMATS[form]("teacher", arrays)) == 0
    assert measured() == wanted
    assert all(line["teacher_test"]["accuracy"] == 1 for line in lines())
    assert all(0 <= line["test"]["agreement"] <= 1 for line in lines())


def test_rows_out_of_order_without_ids_are_noticed(
    wanted: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    shuffled = rows_of(TEACHER, np.random.default_rng(1).permutation(ROWS + TEST))
    assert run(*save_npz("teacher", shuffled)) == 0
    assert measured() != wanted
    text = capfd.readouterr().err
    assert "teacher.npz: right on " in text
    assert "warning: " in text
    assert "no better than chance (" in text
    assert "check that rows and classes are in the order of the data" in text


@pytest.mark.parametrize("imbalanced", [False, True])
def test_no_order_of_the_rows_but_the_right_one_goes_unnoticed(
    imbalanced: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    logits = LOGITS + np.array([2.5, 0], np.float32) * imbalanced
    write_data(labels=logits.argmax(axis=1))
    dataset = data.load(data.SOURCES["arrays"]("train.npz", test="test.npz"), SPLIT)
    found = imported.read(
        open_bundle(save_npz("a", {**TEACHER, "logits": logits})[0].partition("=")[2], "here")
    )
    everywhere = np.arange(ROWS + TEST)
    set_up_logging()
    agreement.check(found, everywhere, dataset)
    assert "warning" not in capfd.readouterr().err
    for seed in range(20):
        agreement.check(found, np.random.default_rng(seed).permutation(ROWS + TEST), dataset)
    assert capfd.readouterr().err.count("warning: ") == 20


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_one_split_out_of_order_is_noticed(split: str, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = data.load(data.SOURCES["arrays"]("train.npz", test="test.npz"), SPLIT)
    logits = LOGITS.copy()
    logits[np.random.default_rng(0).choice(ROWS + TEST, 8, replace=False)] *= -1
    rows = getattr(dataset, split)
    order = np.arange(ROWS + TEST)
    order[rows] = np.random.default_rng(1).permutation(rows)
    np.savez("a.npz", **{**TEACHER, "logits": logits})
    found = imported.read(open_bundle("a.npz", "here"))
    set_up_logging()
    agreement.check(found, np.arange(ROWS + TEST), dataset)
    text = capfd.readouterr().err
    assert "warning" not in text
    assert "test rows" not in text
    agreement.check(found, order, dataset)
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    right = (logits[order].argmax(axis=1) == LABELS)[rows].mean()
    name = "labelled training" if split == "train" else split
    assert f"right on {100 * right:.1f} % of the {name} rows, no better than chance" in warnings[0]
    if split != "train":
        assert re.search(r"\), but on 9\d\.\d % of the labelled training rows; check", warnings[0])


@pytest.mark.parametrize("mistakes", [{"test": 5}, {"train": 4, "validation": 4, "test": 4}])
def test_a_teacher_that_is_worse_on_new_rows_or_weak_is_not_out_of_order(
    mistakes: dict[str, int], capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = data.load(data.SOURCES["arrays"]("train.npz", test="test.npz"), SPLIT)
    logits = LOGITS.copy()
    for split, every in mistakes.items():
        logits[getattr(dataset, split)[::every]] *= -1
    np.savez("a.npz", **{**TEACHER, "logits": logits})
    set_up_logging()
    agreement.check(imported.read(open_bundle("a.npz", "here")), np.arange(ROWS + TEST), dataset)
    assert "warning" not in capfd.readouterr().err


def test_validation_rows_out_of_order_from_the_command_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    splits = {"train": slice(80), "validation": slice(80, ROWS), "test": slice(ROWS, None)}
    for name, rows in splits.items():
        np.savez(f"{name}.npz", inputs=INPUTS[rows], labels=LABELS[rows])
    order = np.arange(ROWS + TEST)
    order[80:ROWS] = np.random.default_rng(1).permutation(np.arange(80, ROWS))
    flags = [
        *save_npz("teacher", rows_of(TEACHER, order)),
        "--config.data.validation=validation.npz",
        "--config.methods.lelp.trials=0",
    ]
    assert run(*flags) == 0
    warnings = [line for line in capfd.readouterr().err.splitlines() if "right on" in line]
    assert [("warning: " in line) for line in warnings] == [False, True]
    warnings = warnings[1:]
    assert "% of the validation rows, no better than chance (" in warnings[0]
    assert "but on 100.0 % of the labelled training rows" in warnings[0]


def test_classes_out_of_order_are_noticed(capfd: pytest.CaptureFixture[str]) -> None:
    turned = {**TEACHER, "logits": LOGITS[:, ::-1], "output_weights": WEIGHTS[:, ::-1]}
    assert run(*save_npz("teacher", turned)) == 0
    text = capfd.readouterr().err
    assert "warning: " in text
    assert "right on 0.0 % of the labelled training rows" in text


# What a file may hold.


def answers(arrays: Mapping[str, np.ndarray], rows: Any = slice(None)) -> tuple[Any, Any, Any]:
    np.savez("answers.npz", **arrays)
    found = imported.read(open_bundle("answers.npz", "here"))
    return (*found.answers(rows), found)


def margin(logits: np.ndarray) -> np.ndarray:
    return logits[:, 1] - logits[:, 0]


def test_logits_and_embeddings_are_taken_as_they_are() -> None:
    for dtype in (np.float32, np.float64, np.float16):
        logits, embeddings, found = answers(
            {"logits": LOGITS.astype(dtype), "embeddings": EMBEDDINGS.astype(dtype)}
        )
        assert logits.dtype == embeddings.dtype == np.float32
        np.testing.assert_array_equal(logits, LOGITS.astype(dtype).astype(np.float32))
        np.testing.assert_array_equal(embeddings, EMBEDDINGS.astype(dtype).astype(np.float32))
        assert found.output_weights is None
    some, _, _ = answers({"logits": LOGITS, "embeddings": EMBEDDINGS}, np.array([5, 2, 2]))
    np.testing.assert_array_equal(some, LOGITS[[5, 2, 2]])


def test_probabilities_are_logits_up_to_a_constant() -> None:
    logits, _, _ = answers({"probabilities": softmax(LOGITS), "embeddings": EMBEDDINGS})
    np.testing.assert_allclose(softmax(logits), softmax(LOGITS), rtol=1e-5)
    sure = np.array([[0.0, 1.0], [1.0, 0.0], [0.25, 0.75]])
    logits, _, _ = answers({"probabilities": sure, "embeddings": EMBEDDINGS[:3]})
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(softmax(logits), sure, atol=2e-7)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_output_is_that_of_the_second_class(shape: tuple[int, ...]) -> None:
    one = margin(LOGITS)
    for given in (
        {"logits": one.reshape(shape)},
        {"probabilities": (1 / (1 + np.exp(-one.astype(np.float64)))).reshape(shape)},
    ):
        logits, _, found = answers({**given, "embeddings": EMBEDDINGS})
        assert logits.shape == found.logits.shape == (ROWS + TEST, 2)
        np.testing.assert_allclose(margin(logits), one, rtol=1e-4, atol=1e-4)
    weights = (WEIGHTS[:, 1] - WEIGHTS[:, 0]).reshape(shape)
    _, _, found = answers({"logits": one, "embeddings": EMBEDDINGS, "output_weights": weights})
    np.testing.assert_array_equal(found.output_weights, np.c_[np.zeros(DIMS), weights.ravel()])


def test_probabilities_that_rounding_put_beyond_0_and_1_are_clipped(
    capfd: pytest.CaptureFixture[str],
) -> None:
    one = np.nextafter(np.float32(1), np.float32(2))
    given = np.array([[0.25, 0.75], [0, one], [1 + 2**-7, -(2**-7)]], np.float32)
    set_up_logging()
    logits, _, _ = answers({"probabilities": given, "embeddings": EMBEDDINGS[:3]})
    assert logits.max() == 0
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75], [0, 1], [1, 0]], atol=2e-7)
    text = capfd.readouterr().err
    assert text.count("rounding error") == 1
    assert "row 1: the probability 1.00000012 is beyond 0..1 by a rounding error, and is" in text


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_probabilities_of_coarse_types_are_taken(dtype: Any) -> None:
    exact = softmax(np.random.default_rng(0).normal(size=(500, 3)) * 4)
    given = exact.astype(dtype).astype(np.float32)
    assert np.abs(given.sum(axis=1) - 1).max() > 1e-4
    logits, _, _ = answers({"probabilities": given, "embeddings": np.ones((500, 2), np.float32)})
    np.testing.assert_allclose(softmax(logits), exact, atol=5e-3)


def test_other_arrays_of_a_file_do_not_matter(wanted: list[Any]) -> None:
    others = {"temperature": np.float64(4), "note": np.array([None, "x"], object)}
    np.savez("teacher.npz", **TEACHER, **others)
    assert run("--config.teacher.files=teacher.npz") == 0
    assert measured() == wanted


def targets(workdir: str) -> np.ndarray:
    """Returns the basis into which LELP's targets are projected."""
    (path,) = Path(workdir).glob("projections/*/projection.npz")
    basis = np.load(path)["basis"]
    return np.einsum("cds,ces->cde", basis, basis)


@pytest.mark.slow
def test_probabilities_or_one_output_teach_what_logits_do(wanted: list[Any]) -> None:
    """Up to rounding: a softmax forgets a constant per row, and kd and lelp do not read it.

    Estimated weights are those that all forms tell of, and given ones are taken as they are.
    """
    forms = {
        "probabilities": {"probabilities": softmax(LOGITS), "output_weights": WEIGHTS},
        "sigmoid": {"logits": margin(LOGITS)},
        "no weights": {"logits": LOGITS},
        "probabilities, no weights": {"probabilities": softmax(LOGITS)},
    }
    assert run(*save_npz("teacher", TEACHER), workdir="whole") == 0
    for name, arrays in forms.items():
        flags = save_npz("teacher", {"embeddings": EMBEDDINGS, **arrays})
        assert run(*flags, workdir=name) == 0
        for line, (method, _, validation, _) in zip(lines(name), wanted, strict=True):
            assert line["method"] == method
            if "no weights" not in name and name != "sigmoid":
                assert line["validation"]["nll"] == pytest.approx(validation["nll"], rel=1e-3)
    np.testing.assert_allclose(targets("probabilities"), targets("whole"), atol=1e-3)
    for name in ("sigmoid", "probabilities, no weights"):
        np.testing.assert_allclose(targets(name), targets("no weights"), atol=1e-3)


def test_the_log_says_how_well_the_weights_are_known(capfd: pytest.CaptureFixture[str]) -> None:
    flags = save_npz("teacher", {"embeddings": EMBEDDINGS, "logits": LOGITS})
    assert run(*flags) == 0
    text = capfd.readouterr().err
    assert "teacher.npz: no output weights; estimated their range from the logits" in text
    assert "with R^2 = 1.0000\n" in text
    assert text.count("R^2") == 1
    # A finished run has nothing to estimate.
    assert run(*flags) == 0
    assert "R^2" not in capfd.readouterr().err
    bent = {"embeddings": EMBEDDINGS, "logits": LOGITS**3}
    assert run(*save_npz("bent", bent)) == 0
    text = capfd.readouterr().err
    assert "warning: " in text
    assert "below 0.99: the embedding is not the input of the output layer; save the" in text


def test_weights_are_estimated_on_training_rows(capfd: pytest.CaptureFixture[str]) -> None:
    """The file may hold others, of which nothing is known."""
    others = {"embeddings": -EMBEDDINGS, "logits": LOGITS**2, "ids": np.char.add(NAMES, "x")}
    own = {"embeddings": EMBEDDINGS, "logits": LOGITS, "ids": NAMES}
    flags = save_npz("teacher", {name: np.concatenate([others[name], own[name]]) for name in own})
    assert run(*flags) == 0
    assert "with R^2 = 1.0000\n" in capfd.readouterr().err


# Which rows.


def test_without_test_rows_the_teachers_part_of_the_report_is_empty(
    capfd: pytest.CaptureFixture[str], wanted: list[Any]
) -> None:
    assert run(*save_npz("teacher", rows_of(TEACHER, slice(ROWS)))) == 0
    captured = capfd.readouterr()
    assert captured.err.count("no outputs for the test rows; the teacher's test metrics stay") == 1
    assert measured() == wanted
    for line in lines():
        assert line["teacher_test"] is None
        assert line["test"]["agreement"] is None
        assert line["test"]["teacher_kl"] is None
    for text in (captured.out, Path("run/report/report.md").read_text()):
        assert "nan" not in text.lower()
        assert "lelp" in text
        assert "teacher (" not in text
    assert run("--config.teacher.files=teacher.npz") == 0
    assert "lelp" in capfd.readouterr().out


def test_test_rows_covered_in_part_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    part = rows_of({**TEACHER, "ids": NAMES}, slice(ROWS + 10))
    assert run(*save_npz("teacher", part)) == 0
    assert "no outputs for 30 of 40 test rows" in capfd.readouterr().err
    assert all(line["teacher_test"] is None for line in lines())


@pytest.mark.slow
def test_two_files_are_two_teachers() -> None:
    save_npz("a", TEACHER)
    save_npz("b", {**TEACHER, "logits": 2 * LOGITS, "output_weights": 2 * WEIGHTS})
    assert run("--config.teacher.files=('a.npz','b.npz')", "--config.replicates=3") == 0
    assert [line["teacher"] for line in lines()] == [0, 1, 0] * 2
    assert len(list(Path("run/banks").iterdir())) == 2
    (marker,) = Path("run/reports").glob("*/stage.json")
    comparison = json.loads(marker.read_text())["facts"]["comparison"]
    assert comparison["teachers"] == 2


def write_table(ids: np.ndarray = NAMES, name: str = "train.csv") -> None:
    head = [*(f"x{number}" for number in range(INPUTS.shape[1])), "label", "key"]
    rows = [[*map(repr, map(float, x)), *end] for x, *end in zip(INPUTS, LABELS, ids, strict=True)]
    Path(name).write_text("\n".join(",".join(map(str, row)) for row in [head, *rows]) + "\n")


@pytest.mark.parametrize("kind", ["texts", "numbers"])
def test_a_table_is_joined_by_its_id_column(kind: str) -> None:
    numbers = np.array([int(name.partition("-")[2]) for name in NAMES])
    ids = NAMES if kind == "texts" else numbers
    write_table(ids)
    teacher = rows_of({**TEACHER, "key": ids}, np.random.default_rng(1).permutation(ROWS + TEST))
    own = f"{tiny.ROOT}/configs/own_teacher.py"
    Path("config.py").write_text(
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('own', {own!r})\n"
        "own = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(own)\n"
        "def get_config():\n"
        "    config = own.get_config('quick')\n"
        "    config.data = {'source': 'table', 'train': 'train.csv', 'id': 'key'}\n"
        "    return config\n"
    )
    flags = [*save_npz("teacher", teacher), "--config.teacher.id=key"]
    assert main(["main", "--config=config.py", *SMALL, *flags, "--workdir=run"]) == 0
    assert all(line["teacher_test"]["accuracy"] == 1 for line in lines())


@pytest.mark.slow
def test_rows_without_a_label_are_learned_from() -> None:
    labels = LABELS.copy()
    labels[: ROWS // 2] = -1
    # Validation rows, which must have labels, are a file of their own.
    splits = {"train": slice(90), "validation": slice(90, ROWS), "test": slice(ROWS, None)}
    for name, rows in splits.items():
        np.savez(f"{name}.npz", inputs=INPUTS[rows], labels=labels[rows])
    flags = save_npz("teacher", TEACHER)
    flags += ["--config.data.validation=validation.npz", "--config.methods.labels.trials=1"]
    flags += ["--config.data.unlabelled=-1"]
    assert run(*flags) == 0
    assert [line["settings"].get("membership") for line in lines()] == [None, None, "teacher"]


# Changed files.


def touched(path: str) -> None:
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


@pytest.mark.slow
def test_what_a_changed_file_does_not_touch_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz("a", TEACHER)
    save_npz("b", {**TEACHER, "logits": 2 * LOGITS, "output_weights": 2 * WEIGHTS})
    both = ["--config.teacher.files=('a.npz','b.npz')", "--config.replicates=2"]
    hashed = []
    original = content._hash_rows

    def noted(bundle: Any, *arguments: Any, **named: Any) -> str:
        hashed.append(Path(bundle.location).name)
        return original(bundle, *arguments, **named)

    monkeypatch.setattr(content, "_hash_rows", noted)
    assert run(*both) == 0
    first = {line["fingerprint"] for line in lines()}
    assert hashed == ["a.npz", "b.npz"]
    before = tiny.snapshot(Path("run"))
    assert run(*both) == 0
    assert hashed == ["a.npz", "b.npz"]
    assert tiny.snapshot(Path("run")) == before
    # A new time alone.
    touched("b.npz")
    assert run(*both) == 0
    assert hashed == ["a.npz", "b.npz", "b.npz"]
    assert {line["fingerprint"] for line in lines()} == first
    # Another content of the same size.
    size = os.stat("b.npz").st_size
    changed = 2 * LOGITS
    changed[3] += 0.25
    save_npz("b", {**TEACHER, "logits": changed, "output_weights": 2 * WEIGHTS})
    touched("b.npz")
    assert os.stat("b.npz").st_size == size
    assert run(*both) == 0
    last = {line["teacher"]: line["fingerprint"] for line in lines() if line["method"] == "lelp"}
    assert last[0] in first
    assert last[1] not in first


def test_the_memory_of_digests_may_be_lost() -> None:
    flags = save_npz("teacher", TEACHER)
    assert run(*flags) == 0
    first = lines()
    for damaged in ("", "[]", "3", "{"):
        Path("run/digests.json").write_text(damaged)
        assert run(*flags) == 0
        assert lines() == first


def test_the_same_answers_for_other_rows_are_another_teacher() -> None:
    """The names are no part of the content; what they join is."""
    names = []
    for order in (np.arange(ROWS + TEST), np.random.default_rng(0).permutation(ROWS + TEST)):
        flags = save_npz("teacher", {**TEACHER, "ids": NAMES[order]})
        assert run(*flags) == 0
        names.append({line["fingerprint"] for line in lines()})
    assert not names[0] & names[1]
    assert run(*save_npz("teacher", {**TEACHER, "ids": NAMES})) == 0
    assert {line["fingerprint"] for line in lines()} == names[0]


def test_a_teacher_in_memory_is_one_on_disk(wanted: list[Any]) -> None:
    for name, values in TEACHER.items():
        zarr.create(f"memory://teacher/{name}", values.shape, values.dtype, 7).write(0, values)
    assert run("--config.teacher.files=memory://teacher") == 0
    assert measured() == wanted


def test_a_bank_in_bfloat16_teaches_nearly_the_same(wanted: list[Any]) -> None:
    flags = save_npz("teacher", TEACHER)
    assert run(*flags, "--config.bank.dtype=bfloat16", "--config.bank.root=banks") == 0
    for line, (method, _, validation, _) in zip(lines(), wanted, strict=True):
        assert line["validation"]["nll"] == pytest.approx(validation["nll"], rel=0.02), method
    assert len(list(Path("banks").glob("*/manifest.json"))) == 1
    shutil.rmtree("banks")
    assert run(*flags, "--config.bank.dtype=bfloat16", "--config.bank.root=banks") == 0
    assert len(list(Path("banks").glob("*/manifest.json"))) == 1


def test_a_teacher_is_checked_against_the_split() -> None:
    """By order, the rows of a file whose test rows are split off must all be there."""
    source = data.SOURCES["arrays"](train="train.npz")
    dataset = data.load(source, SPLIT)
    save_npz("teacher", rows_of(TEACHER, slice(ROWS)))
    ImportedTeachers(files=("teacher.npz",)).check(dataset)
    save_npz("teacher", rows_of(TEACHER, slice(ROWS - 24)))
    with pytest.raises(UserError, match="96 rows, the data 120;"):
        ImportedTeachers(files=("teacher.npz",)).check(dataset)
