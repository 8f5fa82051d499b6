"""`python -m lelp_jax.project`: a teacher's arrays in, targets for any framework out."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.deploy.targets import fitting
from lelp_jax.project import main
from lelp_jax.projection import PROJECTORS
from lelp_jax.storage import zarr
from lelp_jax.storage.open import open_bundle
from tests.helpers import tiny
from tests.helpers.processes import finish_all, launch_pair
from tests.helpers.softmax import softmax

ROWS, DIMS, CLASSES = 600, 12, 2
KINDS = ("teacher.npz", "teacher.parquet", "teacher.zarr", "teacher")
OUTS = ("targets.npz", "targets.parquet", "targets.zarr", "targets")


def teacher(rows: int = ROWS) -> dict[str, np.ndarray]:
    """Returns a teacher's arrays: classes along one direction, clusters outside it."""
    random = np.random.default_rng(0)
    label = np.arange(rows) % CLASSES
    weights = random.normal(size=(DIMS, CLASSES))
    embeddings = random.normal(size=(rows, DIMS)) * np.linspace(2, 0.5, DIMS)
    embeddings += 2 * (2 * label[:, None] - 1) * (weights[:, 1] - weights[:, 0]) / DIMS + 3
    logits = embeddings @ weights
    logits -= logits.mean(axis=0)
    return {
        "embeddings": embeddings.astype(np.float32),
        "logits": logits.astype(np.float32),
        "labels": label.astype(np.int64),
        "fine_labels": (embeddings[:, 0] > 3).astype(np.int64) + 2 * label,
        "output_weights": weights.astype(np.float32),
        "ids": np.arange(rows) * 7 + 5,
    }


def save(path: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays in the format that the path's ending says."""
    if path.endswith(".npz"):
        np.savez(path, **arrays)
    elif path.endswith(".zarr"):
        for name, values in arrays.items():
            zarr.create(f"{path}/{name}", values.shape, values.dtype, 100).write(0, values)
    elif path.endswith(".parquet"):
        import pyarrow as pa
        from pyarrow import parquet

        table = {name: values for name, values in arrays.items() if name != "output_weights"}
        columns = {
            name: pa.array(values) if values.ndim == 1 else pa.array(list(values))
            for name, values in table.items()
        }
        parquet.write_table(pa.table(columns), path)
    else:
        Path(path).mkdir()
        for name, values in arrays.items():
            np.save(f"{path}/{name}.npy", values)


def project(*arguments: str) -> int:
    return main(["project", *arguments])


def outcome(path: str) -> dict[str, np.ndarray]:
    bundle = open_bundle(path, "the test")
    return {name: np.asarray(bundle.array(name)[:]) for name in bundle.names()}


def test_targets_are_those_of_the_formula() -> None:
    arrays = teacher()
    save("teacher.npz", arrays)
    line = "--input=teacher.npz --out=targets.npz --num_subclasses=4 --beta=0.5 --temperature=4"
    assert project(*line.split(), "--seed=3", "--save_projection=p.npz") == 0
    written = outcome("targets.npz")
    assert sorted(written) == ["ids", "membership", "targets"]
    np.testing.assert_array_equal(written["ids"], arrays["ids"])
    np.testing.assert_array_equal(written["membership"], arrays["labels"])
    with np.load("p.npz") as file:
        stored = {name: file[name] for name in file.files}
    assert str(stored["kind"]) == "lelp"
    basis, mean = stored["basis"].astype(np.float64), stored["mean"].astype(np.float64)
    assert (basis.shape, mean.shape) == ((CLASSES, DIMS, 4), (CLASSES, DIMS))
    assert (stored["scale"].shape, stored["explained_variance"].shape) == ((2,), (2, 4))
    weights = arrays["output_weights"].astype(np.float64)
    np.testing.assert_allclose(np.einsum("dk,cds->cks", weights, basis), 0, atol=1e-5)
    scores = np.einsum("ncd,cds->ncs", arrays["embeddings"][:, None] - mean, basis)
    scores /= stored["scale"][:, None]
    wanted = softmax(arrays["logits"].astype(np.float64) / 4)[:, :, None] * softmax(scores / 0.5)
    np.testing.assert_allclose(written["targets"], wanted.reshape(ROWS, 8), atol=1e-5)
    again = project(*line.split(), "--seed=4")
    assert again == 0
    assert np.abs(outcome("targets.npz")["targets"] - written["targets"]).max() > 1e-3


@pytest.mark.parametrize("place", KINDS)
@pytest.mark.parametrize("out", OUTS)
def test_formats_make_no_difference(place: str, out: str) -> None:
    arrays = teacher()
    # A table has no place for them: their range would be estimated.
    del arrays["output_weights"]
    for path in {place, "teacher.npz"}:
        save(path, arrays)
    assert project("--input=teacher.npz", "--out=reference.npz", "--num_subclasses=3") == 0
    assert project(f"--input={place}", f"--out={out}", "--num_subclasses=3") == 0
    written, reference = outcome(out), outcome("reference.npz")
    assert sorted(written) == sorted(reference)
    for name, values in reference.items():
        assert written[name].dtype == values.dtype
        np.testing.assert_array_equal(written[name], values)


@pytest.mark.parametrize("method", sorted(PROJECTORS))
def test_every_way_to_split_can_be_stored_and_applied(method: str) -> None:
    save("teacher.npz", teacher(200))
    few = [] if method == "oracle" else ["--num_subclasses=3"]
    heads = 2 if method == "lelp_ensemble" else 1
    few += ["--num_rotations=2"] * (heads - 1)
    hard = method in ("oracle", "random_split")
    lines = ["--input=teacher.npz", "--out=targets.npz", f"--method={method}", *few]
    beta = [] if hard else ["--beta=0.25"]
    assert project(*lines, "--save_projection=p.npz", "--temperature=2", *beta) == 0
    written = outcome("targets.npz")["targets"]
    width = 2 if method == "oracle" else 3
    assert written.shape == (200, heads * CLASSES * width)
    of_class = softmax(teacher(200)["logits"].astype(np.float64) / 2)
    sums = written.reshape(200, heads, CLASSES, width).sum(axis=3)
    np.testing.assert_allclose(sums, np.repeat(of_class[:, None], heads, axis=1), atol=1e-5)
    assert project("--input=teacher.npz", "--out=again.npz", "--apply=p.npz") == 0
    again = outcome("again.npz")
    np.testing.assert_array_equal(again["targets"], written)
    assert (again["membership"] == -1).all()
    line = ["--input=teacher.npz", "--out=other.npz", "--apply=p.npz", "--beta=2"]
    assert project(*line) == (2 if hard else 0)
    if hard:
        return
    changed = np.abs(outcome("other.npz")["targets"] - written).max() > 1e-3
    assert changed == (method not in ("kmeans", "agglomerative", "tsne_kmeans"))


def test_new_rows_get_what_they_would_have_got_among_the_old() -> None:
    arrays = teacher()
    save("teacher.npz", arrays)
    save("new.npz", {name: arrays[name][100:200] for name in ("embeddings", "logits", "ids")})
    for line in (
        "--input=teacher.npz --out=all.npz --save_projection=p.npz",
        "--input=new.npz --out=new_targets.npz --apply=p.npz",
    ):
        assert project(*line.split()) == 0
    new, everything = outcome("new_targets.npz"), outcome("all.npz")
    np.testing.assert_allclose(new["targets"], everything["targets"][100:200], atol=1e-6)
    np.testing.assert_array_equal(new["ids"], arrays["ids"][100:200])


def test_without_labels_the_teacher_says_the_class(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = teacher()
    opinion = arrays["logits"].argmax(axis=1)
    assert 0 < (opinion != arrays["labels"]).mean() < 0.5
    labels = arrays.pop("labels")
    save("teacher.npz", arrays)
    assert project("--input=teacher.npz", "--out=targets.npz") == 0
    np.testing.assert_array_equal(outcome("targets.npz")["membership"], opinion)
    labels[:50] = -1
    save("teacher.npz", {**arrays, "labels": labels})
    assert project("--input=teacher.npz", "--out=targets.npz") == 0
    assert "50 of 600 rows have no label (-1); unless --membership says" in capsys.readouterr().err
    np.testing.assert_array_equal(outcome("targets.npz")["membership"], opinion)
    assert project("--input=teacher.npz", "--out=targets.npz", "--membership=label") == 0
    np.testing.assert_array_equal(outcome("targets.npz")["membership"], labels)


def test_probabilities_and_sigmoids_are_accepted() -> None:
    arrays = teacher()
    logit = arrays["logits"][:, 1] - arrays["logits"][:, 0]
    probability = 1 / (1 + np.exp(-logit.astype(np.float64)))
    direction = arrays["output_weights"][:, 1] - arrays["output_weights"][:, 0]
    common = {name: arrays[name] for name in ("embeddings", "labels")}
    forms = {
        "logits": {"logits": np.stack([0 * logit, logit], axis=1), "output_weights": None},
        "one_logit": {"logits": logit, "output_weights": direction},
        "column": {"logits": logit[:, None], "output_weights": direction[:, None]},
        "probabilities": {
            "probabilities": np.stack([1 - probability, probability], axis=1),
            "output_weights": None,
        },
        "sigmoid": {"probabilities": probability, "output_weights": direction},
    }
    found = {}
    for name, form in forms.items():
        weights = np.stack([0 * direction, direction], axis=1)
        form = {k: weights if v is None else v for k, v in form.items()}
        save(f"{name}.npz", {**common, **form})
        assert project(f"--input={name}.npz", f"--out={name}_out.npz", "--num_subclasses=3") == 0
        found[name] = outcome(f"{name}_out.npz")["targets"]
    for targets in found.values():
        np.testing.assert_allclose(targets, found["logits"], atol=2e-5)


def test_without_output_weights_their_range_is_estimated(capsys) -> None:
    arrays = teacher()
    # Of the weights, only differences between classes show in every form of the outputs.
    arrays["output_weights"] -= arrays["output_weights"].mean(axis=1, keepdims=True)
    for as_probabilities in (False, True):
        known = dict(arrays)
        if as_probabilities:
            known["probabilities"] = softmax(known.pop("logits").astype(np.float64))
        save("teacher.npz", known)
        assert project("--input=teacher.npz", "--out=given.npz", "--norotate") == 0
        del known["output_weights"]
        save("teacher.npz", known)
        capsys.readouterr()
        assert project("--input=teacher.npz", "--out=estimated.npz", "--norotate") == 0
        assert "R^2 = 1.0000" in capsys.readouterr().err
        np.testing.assert_allclose(
            outcome("estimated.npz")["targets"], outcome("given.npz")["targets"], atol=1e-3
        )
    del arrays["output_weights"]
    random = np.random.default_rng(1).normal(size=(ROWS, CLASSES))
    save("teacher.npz", {**arrays, "logits": random})
    capsys.readouterr()
    assert project("--input=teacher.npz", "--out=estimated.npz") == 0
    assert "is not the input of the output layer" in capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert project(*arguments) == 2
    message = capsys.readouterr().err.strip().splitlines()
    assert len(message) == 1, message
    assert message[0].startswith("error: ")
    assert not any(Path(name).exists() for name in OUTS)
    return message[0]


def changed(**arrays: np.ndarray | None) -> dict[str, np.ndarray]:
    merged = {**teacher(60), **arrays}
    return {name: values for name, values in merged.items() if values is not None}


def seen_whole() -> dict[str, np.ndarray]:
    """Returns a teacher whose output layer sees all that varies in the embedding."""
    known = teacher(60)
    weights = known["output_weights"].astype(np.float64)
    along = known["embeddings"] @ weights @ np.linalg.pinv(weights)
    embeddings = (along + 0.3).astype(np.float32)
    return changed(embeddings=embeddings, logits=embeddings @ weights)


def bad(value: float, name: str = "embeddings") -> np.ndarray:
    values = teacher(60)[name].copy()
    values[17, 1] = value
    return values


BAD = {
    "no logits": (changed(logits=None), [], ["no logits", "before the softmax", "'logits'"]),
    "no embeddings": (changed(embeddings=None), [], ["no embeddings", "[rows, dims]"]),
    "both": (changed(probabilities=np.ones((60, 2)) / 2), [], ["logits and probabilities"]),
    "lengths": (changed(logits=np.zeros((59, 2))), [], ["59 rows of logits", "60 of embeddings"]),
    "nan": (changed(embeddings=bad(np.nan)), [], ["row 17", "not finite"]),
    "inf logit": (changed(logits=bad(np.inf, "logits")), [], ["row 17", "logits holds inf, which"]),
    "no probability": (
        changed(logits=None, probabilities=bad(0.9, "logits")),
        [],
        ["row", "outside 0..1"],
    ),
    "sum": (
        changed(logits=None, probabilities=np.full((60, 2), 0.4)),
        [],
        ["row 0", "sums to 0.8, not to 1"],
    ),
    "transposed": (
        changed(output_weights=np.zeros((2, DIMS))),
        [],
        ["output_weights", "(2, 12)", "transpose"],
    ),
    "weights": (changed(output_weights=np.zeros((5, 2))), [], ["(5, 2)", "(12, 2)"]),
    "label": (changed(labels=np.full(60, 2)), [], ["row 0", "2 is not a class of 0..1"]),
    "minus one": (
        changed(labels=np.arange(60) % 2 * 2 - 1),
        [],
        ["-1, in 30 of 60 labels, means that a row has no label, but no row is of class 0"],
    ),
    "one name": (
        changed(labels=np.full(60, "ham")),
        [],
        ["labels hold 1 names (ham)", "2 classes"],
    ),
    "names": (
        changed(labels=np.full(60, "ham"), label_names=np.array(["ham", "egg", "tea"])),
        [],
        ["label_names hold 3 names", "2 classes"],
    ),
    "no name": (
        changed(labels=np.full(60, "ham"), label_names=np.array(["egg", "tea"])),
        [],
        ["array 'labels', row 0: 'ham' is not among label_names (egg, tea)"],
    ),
    "same names": (
        changed(labels=np.full(60, "ham"), label_names=np.array(["ham", "ham"])),
        [],
        ["label_names names a class twice"],
    ),
    "labels": (changed(labels=np.zeros(50, int)), [], ["labels have shape (50,)", "60 rows"]),
    "ids": (changed(ids=np.zeros(60, int)), [], ["ids '0' is also that of"]),
    "empty class": (changed(labels=np.zeros(60, int)), [], ["class 1 has no row", "[60, 0]"]),
    "rank": (changed(), ["--num_subclasses=11"], ["num_subclasses 11 exceeds the rank 10"]),
    "null space": (
        seen_whole(),
        [],
        ["exceeds the rank 0 of the null-space", "leave the method out"],
    ),
    "clusters": (
        seen_whole(),
        ["--method=soft_kmeans", "--num_subclasses=2"],
        ["num_subclasses 2 exceeds the rank 0 of the null-space embedding of class 0"],
    ),
    "constant": (
        changed(embeddings=np.full((60, DIMS), 1 / 3)),
        ["--method=kmeans", "--num_subclasses=2"],
        ["exceeds the 1 distinct rows of class 0; leave the method out"],
    ),
    "oracle": (changed(fine_labels=None), ["--method=oracle"], ["fine_labels"]),
    "method": (changed(), ["--method=lepl"], ["'lepl'", "did you mean 'lelp'"]),
    "setting": (
        changed(),
        ["--num_components=5"],
        ["--num_components is not a hyperparameter of lelp"],
    ),
    "huge logit": (
        changed(logits=bad(1e30, "logits")),
        [],
        ["row 17", "e+30, which is too large"],
    ),
    "tiny beta": (changed(), ["--beta=1e-9"], ["--beta=1e-09 is too small: the scores of row "]),
    "tiny temperature": (
        changed(),
        ["--temperature=1e-38"],
        ["--temperature=1e-38 is too small: the logits of row "],
    ),
    "beta": (changed(), ["--beta=0"], ["--beta must be a number above 0, got 0.0"]),
    "beta text": (changed(), ["--beta=soft"], ["beta=soft"]),
    "temperature": (changed(), ["--temperature=nan"], ["--temperature must be a number above 0"]),
    "seed": (
        changed(),
        ["--seed=-1"],
        ["--seed must be a whole number in [0, 2147483647], got -1"],
    ),
    "membership": (changed(), ["--membership=me"], ["--membership must be 'label' or 'teacher'"]),
    "label less": (changed(labels=None), ["--membership=label"], ["--membership=label", "labels"]),
    "flag": (changed(), ["--colour=red"], ["colour"]),
    "word": (changed(), ["red"], ["'red' is not a flag"]),
    "apply": (changed(), ["--apply=p.npz"], ["--apply=p.npz: no such file"]),
    "apply and fit": (changed(), ["--apply=p.npz", "--seed=1"], ["--seed belongs to fitting"]),
    "apply other": (
        changed(),
        ["--apply=teacher.npz"],
        ["it has no array 'kind'"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_told_in_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, arguments, words = BAD[case]
    save("teacher.npz", arrays)
    message = refused(capsys, "--input=teacher.npz", "--out=targets.npz", *arguments)
    for word in words:
        assert word in message


NAMED = {0: "ham", 1: "eggs"}


def name_labels(arrays: dict[str, np.ndarray], **more: Any) -> dict[str, np.ndarray]:
    """Returns arrays whose labels are names."""
    names = np.array([NAMED[label] for label in arrays["labels"].tolist()])
    return {**arrays, "labels": names, **more}


@pytest.mark.parametrize("place", ["teacher.npz", "teacher"])
def test_labels_may_be_names(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = teacher()
    arrays["labels"][0] = -1
    save("numbers.npz", arrays)
    named = name_labels({**arrays, "labels": np.abs(arrays["labels"])})
    labels = named["labels"].astype("U9")
    # Blanks around a name do not count, and an empty name is none.
    labels[0], labels[1] = "", f" {labels[1]} "
    fine = np.array(["boiled", "fried", "raw", "soft"])[arrays["fine_labels"]]
    more = {"labels": labels, "label_names": np.array(["ham", "eggs"]), "fine_labels": fine}
    save(place, {**named, **more})
    for path, out in (("numbers.npz", "wanted.npz"), (place, "found.npz")):
        assert project(f"--input={path}", f"--out={out}", "--method=oracle") == 0
    found, wanted = outcome("found.npz"), outcome("wanted.npz")
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)
    log = capsys.readouterr().err
    assert "labels, as label_names says: 0 is 'ham', 1 is 'eggs'" in log
    assert "fine_labels, in sorted order: 0 is 'boiled', 1 is 'fried', 2 is 'raw', 3 is" in log


def test_names_without_an_order_are_sorted_unless_the_teacher_contradicts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arrays = teacher()
    save("teacher.parquet", name_labels(arrays))
    assert project("--input=teacher.parquet", "--out=targets.npz") == 2
    assert not Path("targets.npz").exists()
    message = capsys.readouterr().err.splitlines()[-1]
    assert "if classes 0, 1 are its outputs 1, 0; save the name of each class" in message
    for name in ("logits", "output_weights"):
        arrays[name] = arrays[name][:, ::-1]
    save("sorted.parquet", name_labels(arrays))
    assert project("--input=sorted.parquet", "--out=targets.npz") == 0
    assert "labels, in sorted order: 0 is 'eggs', 1 is 'ham'" in capsys.readouterr().err
    np.testing.assert_array_equal(outcome("targets.npz")["membership"], 1 - arrays["labels"])


def test_numbers_that_the_teacher_contradicts_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = teacher()
    save("teacher.npz", {**arrays, "labels": 1 - arrays["labels"]})
    assert project("--input=teacher.npz", "--out=targets.npz", "--membership=label") == 0
    assert "check that labels and logits number the classes alike" in capsys.readouterr().err


def test_missing_and_damaged_files_are_told_in_one_line(capsys) -> None:
    save("teacher.npz", teacher(60))
    whole = Path("teacher.npz").read_bytes()
    Path("cut.npz").write_bytes(whole[: len(whole) // 2])
    np.save("embeddings.npy", np.zeros((3, 2)))
    for arguments, words in (
        (["--out=targets.npz"], ["--input is missing"]),
        (["--input=teacher.npz"], ["--out is missing"]),
        (["--input=nowhere.npz", "--out=targets.npz"], ["nowhere.npz"]),
        (["--input=cut.npz", "--out=targets.npz"], ["cut.npz"]),
        (["--input=embeddings.npy", "--out=targets.npz"], ["embeddings.npy", "folder"]),
        (["--input=teacher.npz", "--out=nowhere/targets.npz"], ["nowhere"]),
        (["--input=teacher.npz", "--out=targets.npy"], ["targets.npy"]),
        (["--input=teacher.npz", "--out=targets.csv"], ["targets.csv"]),
    ):
        message = refused(capsys, *arguments)
        for word in words:
            assert word in message, message


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--out=teacher.npz"], "is the input"),
        (["--out=targets.npz", "--save_projection=nowhere/p.npz"], "the folder nowhere is missing"),
        (["--out=targets.npz", "--save_projection=."], "is a folder"),
        (["--out=nowhere/targets.npz"], "is missing; create it"),
        (
            ["--out=targets.npz", "--method=random_split", "--beta=2"],
            "--beta with --method=random_split must be 1",
        ),
    ],
)
def test_places_are_checked_before_anything_is_fitted(arguments, word, capsys, monkeypatch) -> None:
    save("teacher.npz", teacher(60))
    before = Path("teacher.npz").read_bytes()
    monkeypatch.setattr(fitting, "fit", lambda *_: pytest.fail("it was fitted"))
    assert word in refused(capsys, "--input=teacher.npz", *arguments)
    assert Path("teacher.npz").read_bytes() == before


def test_a_projection_of_other_rows_is_refused(capsys) -> None:
    save("teacher.npz", teacher(60))
    line = ["--input=teacher.npz", "--out=first.npz", "--num_subclasses=2"]
    assert project(*line, "--save_projection=p.npz") == 0
    narrow = teacher(60)
    narrow["embeddings"] = narrow["embeddings"][:, :5]
    narrow["output_weights"] = narrow["output_weights"][:5]
    save("narrow.npz", narrow)
    message = refused(capsys, "--input=narrow.npz", "--out=targets.npz", "--apply=p.npz")
    assert "12 dims, --input has 5" in message
    wide = teacher(60)
    del wide["output_weights"]
    save("wide.npz", {**wide, "logits": np.zeros((60, 3)), "labels": np.arange(60) % 3})
    message = refused(capsys, "--input=wide.npz", "--out=targets.npz", "--apply=p.npz")
    assert "2 classes, --input has 3" in message
    with np.load("p.npz") as file:
        np.savez("old.npz", **{**dict(file), "version": 0})
    message = refused(capsys, "--input=teacher.npz", "--out=targets.npz", "--apply=old.npz")
    assert "version 0" in message


def test_help_shows_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert project("--help") == 0
    shown = capsys.readouterr().out
    for flag in ("--input", "--out", "--apply", "--num_subclasses", "--[no]rotate"):
        assert flag in shown


def test_the_lines_of_pytorch_in_the_readme_train_a_student() -> None:
    import torch

    readme = (tiny.ROOT / "README.md").read_text()
    commands = re.findall(r"^    (python -m lelp_jax\.project .*)$", readme, re.MULTILINE)
    (code,) = re.findall(r"```python\n(import numpy as np\nimport torch\n.*?)```", readme, re.S)
    arrays = teacher()
    save("teacher.npz", arrays)
    save("new.npz", arrays)
    for command in commands:
        assert project(*command.split()[3:]) == 0
    torch.manual_seed(0)
    torch.set_num_threads(1)
    names = {"inputs": torch.from_numpy(arrays["embeddings"])}
    exec(code, names)
    class_logits = names["class_logits"].detach().numpy()
    assert class_logits.shape == (ROWS, CLASSES)
    opinion = arrays["logits"].argmax(axis=1)
    assert (class_logits.argmax(axis=1) == opinion).mean() > 0.85
    # The same readout as the one here.
    from lelp_jax.methods.pseudo_subclass import readout
    from lelp_jax.models.outputs import Outputs

    mask = np.ones((CLASSES, names["num_subclasses"]), bool)
    logits = names["student"](names["inputs"]).detach().numpy()
    ours = readout(
        Outputs(logits, logits),
        {},
        {"column_mask": mask},
        {"temperature": np.float32(names["temperature"])},
    )
    np.testing.assert_allclose(class_logits, ours, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_two_processes_write_one_zarr_folder() -> None:
    save("teacher.npz", teacher())
    assert project("--input=teacher.npz", "--out=single.npz", "--num_subclasses=3") == 0
    command = [sys.executable, "-m", "lelp_jax.project", f"--input={os.getcwd()}/teacher.npz"]
    command += [f"--out={os.getcwd()}/targets.zarr", "--num_subclasses=3"]
    finish_all(launch_pair(command))
    single, both = outcome("single.npz"), outcome("targets.zarr")
    np.testing.assert_allclose(both["targets"], single["targets"], atol=1e-4)
    np.testing.assert_array_equal(both["ids"], single["ids"])
    np.testing.assert_array_equal(both["membership"], single["membership"])


@pytest.mark.parametrize("method", ["lelp", "soft_kmeans", "kmeans"])
def test_targets_are_the_same_at_any_scale(method: str) -> None:
    arrays = teacher(60)
    found = []
    for scale in (1, 2.0**-63, 2.0**63):
        scaled = arrays["embeddings"] * np.float32(scale)
        save("teacher.npz", arrays | {"embeddings": scaled})
        line = f"--input=teacher.npz --out=targets.npz --method={method} --num_subclasses=3"
        assert project(*line.split()) == 0
        found.append(outcome("targets.npz")["targets"])
    for targets in found[1:]:
        np.testing.assert_allclose(targets, found[0], atol=1e-4)
