"""Whatever a folder holds that is said to be a student: a student that is right, or one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lelp_jax.core.errors import UserError
from lelp_jax.deploy import export
from tests.helpers import stored, tiny

ROWS = np.random.default_rng(0).normal(size=(3, 64)) * 8


@pytest.fixture
def student(finished_run: Path, tmp_path: Path) -> Path:
    """Copies a student to a folder of another name, as users do."""
    line = next(line for line in tiny.results(finished_run) if line["student"])
    shutil.copytree(finished_run / line["student"], tmp_path / "my student")
    return tmp_path / "my student"


def edit(path: Path, **changes: object) -> None:
    """Changes keys of the card; None removes one."""
    card = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


def test_a_copy_of_a_student_is_the_student(student: Path) -> None:
    logits = export.load(student).class_logits(ROWS)
    # The marker is for the run, and may be missing.
    (student / "stage.json").unlink()
    np.testing.assert_array_equal(export.load(str(student)).class_logits(ROWS), logits)


CARDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not JSON": (lambda path: path.write_text("{"), "student.json is not JSON"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "student.json is not JSON"),
    "a list": (lambda path: path.write_text("[]"), "describes no student of lelp_jax"),
    "another program's": (lambda path: path.write_text('{"name": "Ada"}'), "describes no student"),
    "a newer format": (lambda path: edit(path, format=99), "format 99, .*a newer version of lelp_"),
    "an older format": (lambda path: edit(path, format=1), "format 1, but .*export the student ag"),
    "no format": (lambda path: edit(path, format="x"), "is of format 'x', but this version reads"),
    "no model": (lambda path: edit(path, model=None), "student.json has no key 'model'"),
    "no inputs": (lambda path: edit(path, inputs=None), "student.json has no key 'inputs'"),
    "changed": (lambda path: edit(path, num_outputs=3), "student.json has changed since it was"),
    "missing": (Path.unlink, "student.json is missing; give the folder of a student that a run"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_that_is_none_is_told_in_one_line(name: str, student: Path) -> None:
    spoil, words = CARDS[name]
    spoil(student / "student.json")
    with pytest.raises(UserError, match=words) as error:
        export.load(student)
    assert str(student) in str(error.value)
    assert "\n" not in str(error.value)


def rename_array(path: Path) -> None:
    save_file({f"other.{name}": array for name, array in load_file(path).items()}, path)


PARAMETERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (lambda path: stored.flip(path, path.stat().st_size - 9), "has changed since"),
    "cut": (lambda path: stored.cut(path, -5), "parameters.safetensors has changed since it was"),
    "missing": (Path.unlink, "parameters.safetensors is missing; copy the folder again"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_damaged_parameters_are_told_in_one_line(name: str, student: Path) -> None:
    spoil, words = PARAMETERS[name]
    spoil(student / "parameters.safetensors")
    with pytest.raises(UserError, match=words):
        export.load(student)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "parameters.safetensors is missing"),
        (lambda path: stored.cut(path, -5), "parameters.safetensors cannot be read"),
        (lambda path: path.write_text("text"), "parameters.safetensors cannot be read"),
        (rename_array, "parameters.safetensors holds 'other.*, which is no array of a student"),
    ],
)
def test_parameters_without_checksums_are_told_in_one_line(
    spoil: Callable[[Path], object], words: str, student: Path
) -> None:
    (student / "stage.json").unlink()
    spoil(student / "parameters.safetensors")
    with pytest.raises(UserError, match=words):
        export.load(student)


def test_kinds_that_this_version_does_not_have_are_named(student: Path) -> None:
    (student / "stage.json").unlink()
    path = student / "student.json"
    card = json.loads(path.read_text())
    edit(path, inputs={**card["inputs"], "kind": "pictures"})
    with pytest.raises(UserError, match=r"unknown kind of inputs in .*: 'pictures'; .*known: "):
        export.load(student)
    edit(path, inputs=card["inputs"], model={**card["model"], "name": "resnext"})
    with pytest.raises(UserError, match=r"model\.name .*'resnext'"):
        export.load(student)
    edit(path, model=card["model"], method="lepl")
    with pytest.raises(UserError, match="did you mean 'lelp'"):
        export.load(student)


def test_where_the_students_are_is_said(finished_run: Path, tmp_path: Path) -> None:
    count = len(list(finished_run.glob("exports/*")))
    for place in ("exports/<fingerprint>", "exports", ""):
        with pytest.raises(UserError, match=f"is missing; .*exports has {count} students, such as"):
            export.load(finished_run / place)
    with pytest.raises(UserError, match=f"the folder {tmp_path}/none is missing; give the folder"):
        export.load(tmp_path / "none")
