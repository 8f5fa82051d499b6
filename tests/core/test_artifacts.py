"""Stages are built once, and a workdir belongs to one process at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lelp_jax.core import artifacts
from lelp_jax.core.errors import UserError
from tests.helpers import fault_runs, tiny


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


def test_a_damaged_marker_names_the_folder_to_delete(tmp_path: Path) -> None:
    artifacts.run(tmp_path, "things", {"a": 1}, lambda _: {}, lambda *_: None)
    marker = next(tmp_path.glob("things/*/stage.json"))
    marker.write_text('{"inputs"')
    with pytest.raises(UserError, match=str(marker.parent)):
        artifacts.run(tmp_path, "things", {"a": 1}, lambda _: {}, lambda *_: None)


def test_what_cannot_be_built_as_asked_for_leaves_no_trace(tmp_path: Path) -> None:
    def refuse(folder: Path) -> dict[str, int]:
        (folder / "part").write_text("half")
        raise UserError("num_subclasses 600 exceeds the rank")

    with pytest.raises(UserError, match="600"):
        artifacts.run(tmp_path, "things", {"a": 1}, refuse, lambda *_: None)
    assert not list(tmp_path.glob("things/*"))
