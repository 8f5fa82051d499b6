"""Artifacts are built once and repaired; a workdir belongs to one process at a time."""

import errno
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lelp_jax.core import arrays, artifacts
from lelp_jax.core.errors import Damaged, UserError
from tests.helpers import fault_runs, stored, tiny


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with artifacts.lock(tmp_path):
        script = (
            "import sys, pathlib\n"
            "from lelp_jax.core import artifacts, errors\n"
            "try:\n"
            "    with artifacts.lock(pathlib.Path(sys.argv[1])): sys.exit(0)\n"
            "except errors.UserError as error:\n"
            "    print(error); sys.exit(2)\n"
        )
        again = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            env=fault_runs.environment(),
        )
        assert again.returncode == 2
        assert f"in use by process {os.getpid()}" in again.stdout
    with artifacts.lock(tmp_path):
        pass


def test_a_run_in_a_workdir_in_use_ends_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with artifacts.lock(tmp_path / "run"):
        assert tiny.run(tmp_path / "run") == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"error: workdir {tmp_path}/run is in use by process {os.getpid()};")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_the_lock_file_of_a_killed_run_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("1\n")
    with artifacts.lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_symbolic_link_in_place_of_the_lock_is_not_followed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "precious"
    target.write_text("text")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(target)
    assert tiny.run(tmp_path / "run") == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"error: {tmp_path}/run/.lock is a symbolic link")
    assert target.read_text() == "text"


def test_a_stage_is_built_once_and_again_after_its_inputs_change(tmp_path: Path) -> None:
    built = []

    def build(folder: Path) -> dict[str, int]:
        built.append(folder.name)
        return {"value": len(built)}

    def load(folder: Path, facts: dict[str, int]) -> int:
        return facts["value"]

    assert artifacts.run(tmp_path, "things", {"a": 1}, build, load) == 1
    assert artifacts.run(tmp_path, "things", {"a": 1}, build, load) == 1
    assert artifacts.run(tmp_path, "things", {"a": 2}, build, load) == 2
    # Going back is free.
    assert artifacts.run(tmp_path, "things", {"a": 1}, build, load) == 1
    assert len(built) == 2


def test_an_unfinished_stage_is_built_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, int]:
        (folder / "part").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifacts.run(tmp_path, "things", {"a": 1}, fail, lambda *_: None)
    value = artifacts.run(tmp_path, "things", {"a": 1}, lambda _: {"v": 3}, lambda _, f: f["v"])
    assert value == 3


class Counted:
    """A stage with two files, one of them in a folder, that counts how often it is built."""

    def __init__(self) -> None:
        self.built = 0

    def build(self, folder: Path) -> dict[str, float]:
        self.built += 1
        (folder / "deep").mkdir(exist_ok=True)
        (folder / "deep" / "values").write_bytes(bytes(range(64)))
        (folder / "notes.txt").write_text("some text")
        return {"value": 0.5, "none": float("nan")}

    def load(self, folder: Path, facts: Mapping[str, Any]) -> tuple[Any, bytes, str]:
        values = (folder / "deep" / "values").read_bytes()
        return dict(facts), values, (folder / "notes.txt").read_text()

    def run(self, root: Path, number: int = 1) -> tuple[Any, bytes, str]:
        return artifacts.run(root, "things", {"a": number}, self.build, self.load)


WHOLE = ({"value": 0.5, "none": None}, bytes(range(64)), "some text")


def warnings(package_log: list[tuple[int, str]]) -> list[str]:
    return [message for level, message in package_log if level >= logging.WARNING]


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped": lambda path: stored.flip(path, path.stat().st_size // 2),
    "cut": lambda path: stored.cut(path, -3),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: stored.cut(path, 0),
    "unreadable": replace_by_folder,
}


@pytest.mark.parametrize("damage", [*DAMAGES, "deleted"])
@pytest.mark.parametrize("name", ["deep/values", "notes.txt", "stage.json"])
def test_what_is_damaged_is_built_again_with_one_warning(
    tmp_path: Path, package_log: list, name: str, damage: str
) -> None:
    stage = Counted()
    assert stage.run(tmp_path) == WHOLE
    (marker,) = tmp_path.glob("things/*/stage.json")
    path = marker.parent / name
    if damage == "deleted":
        path.unlink()
    else:
        DAMAGES[damage](path)
    assert stage.run(tmp_path) == WHOLE
    assert stage.built == 2
    # Without its marker an artifact is just not finished.
    expected = 0 if (name, damage) == ("stage.json", "deleted") else 1
    assert len(warnings(package_log)) == expected
    assert all(str(path) in m and m.endswith("building it again") for m in warnings(package_log))
    assert stage.run(tmp_path) == WHOLE
    assert stage.built == 2


@pytest.mark.parametrize("name", ["deep/values", "stage.json"])
def test_what_cannot_be_read_for_another_reason_is_kept(tmp_path: Path, name: str) -> None:
    stage = Counted()
    stage.run(tmp_path)
    (marker,) = tmp_path.glob("things/*/stage.json")
    stored.block(marker.parent / name)
    with pytest.raises(OSError, match="Too many levels of symbolic links") as error:
        stage.run(tmp_path)
    assert error.value.filename == str(marker.parent / name)
    stored.unblock(marker.parent / name)
    assert stage.run(tmp_path) == WHOLE
    assert stage.built == 1


@pytest.mark.parametrize(
    "pattern", ["teachers/*/parameters/d/*", "students/*/stage.json", "banks/*/stage.json"]
)
def test_a_run_that_cannot_read_a_file_keeps_everything(
    pattern: str, finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    path = min(run.glob(pattern))
    stored.block(path)
    before = sorted(run.rglob("*"))
    assert tiny.run(run) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"error: {path}: Too many levels of symbolic links"
    assert set(before) <= set(run.rglob("*"))
    stored.unblock(path)
    assert tiny.run(run) == 0
    assert "building it again" not in capfd.readouterr().err


def test_a_failing_disk_is_told_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Counted()
    stage.run(tmp_path)

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    # Reading, unlike opening, does not name the file in its error.
    monkeypatch.setattr(hashlib, "file_digest", fail)
    with pytest.raises(OSError, match=r"Input/output error: '.*/deep/values'"):
        stage.run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", None])
def test_an_array_that_is_none_is_damaged(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Damaged, match=r"a\.npy cannot be read"):
        arrays.read_array(path)


def test_an_array_that_cannot_be_read_is_not_damaged(tmp_path: Path) -> None:
    arrays.write_array(tmp_path / "a.npy", np.arange(3))
    stored.block(tmp_path / "a.npy")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        arrays.read_array(tmp_path / "a.npy")


@settings(max_examples=60)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_marker_goes_unnoticed(place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stage = Counted()
        stage.run(Path(folder))
        (marker,) = Path(folder).glob("things/*/stage.json")
        stored.flip(marker, place % marker.stat().st_size, bit=bit)
        # A flip may leave the same JSON, as one of white space into other white space.
        assert stage.run(Path(folder)) == WHOLE


def test_a_swapped_artifact_is_built_again(tmp_path: Path, package_log: list) -> None:
    stage = Counted()
    for number in (1, 2):
        stage.run(tmp_path, number)
    first, second = sorted(tmp_path.glob("things/*"))
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    for number in (1, 2):
        stage.run(tmp_path, number)
    assert stage.built == 4
    assert len(warnings(package_log)) == 2


def test_a_marker_without_checksums_is_not_believed(tmp_path: Path, package_log: list) -> None:
    stage = Counted()
    stage.run(tmp_path)
    (marker,) = tmp_path.glob("things/*/stage.json")
    content = json.loads(marker.read_text())
    marker.write_text(json.dumps({"inputs": content["inputs"], "facts": content["facts"]}))
    assert stage.run(tmp_path) == WHOLE
    assert (stage.built, len(warnings(package_log))) == (2, 1)
    assert json.loads(marker.read_text()) == content


def test_damage_found_while_loading_is_mended_once(tmp_path: Path, package_log: list) -> None:
    loads = []

    def load(folder: Path, facts: Mapping[str, Any]) -> int:
        loads.append(folder)
        if len(loads) == 2:
            raise Damaged(f"{folder / 'part'} has changed since it was written", folder)
        return len(loads)

    built: list[Path] = []
    for _ in range(2):
        artifacts.run(tmp_path, "things", {"a": 1}, lambda f: built.append(f) or {}, load)
    assert len(built) == 2
    assert len(warnings(package_log)) == 1


def test_content_left_out_of_the_marker_is_not_checked(tmp_path: Path) -> None:
    def build(folder: Path) -> dict[str, int]:
        (folder / "large").mkdir()
        (folder / "large" / "part").write_text("old")
        return {}

    def run() -> str:
        return artifacts.run(
            *(tmp_path, "things", {"a": 1}, build),
            lambda folder, _: (folder / "large" / "part").read_text(),
            unlisted=("large",),
        )

    assert run() == "old"
    (path,) = tmp_path.glob("things/*/large/part")
    path.write_text("new")
    assert run() == "new"


def test_what_cannot_be_built_as_asked_for_leaves_no_trace(tmp_path: Path) -> None:
    def refuse(folder: Path) -> dict[str, int]:
        (folder / "part").write_text("half")
        raise UserError("num_subclasses 600 exceeds the rank")

    with pytest.raises(UserError, match="600"):
        artifacts.run(tmp_path, "things", {"a": 1}, refuse, lambda *_: None)
    assert not list(tmp_path.glob("things/*"))
