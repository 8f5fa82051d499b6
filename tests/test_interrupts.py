"""Ctrl-C and SIGTERM: a checkpoint, the exit code of the signal, a line that says how to resume."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lelp_jax import files, stages
from lelp_jax.errors import Interrupted, UserError
from lelp_jax.session import CurveLog, Interrupts
from tests import fault_runs


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_training_saves_and_says_how_to_resume(
    name: str, code: int, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    stopped = fault_runs.run("students", 1, workdir, name)
    assert stopped.returncode == code, stopped.stderr
    last = stopped.stderr.strip().splitlines()[-1]
    assert last.startswith("interrupted; what was done is saved. Resume with: python -m lelp_jax")
    assert f"--workdir={workdir}" in last
    assert list(workdir.glob("students/*/checkpoints/17"))
    assert not (workdir / "results.jsonl").exists()
    resumed = fault_runs.run("none", 0, workdir)
    assert resumed.returncode == 0, resumed.stderr
    assert "students: resumed at step 17 of 50" in resumed.stderr


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """The handlers of a command in the foreground, wherever the tests run."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_handlers")
def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts().listening() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert not interrupts.requested
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.usefixtures("own_handlers")
def test_a_request_is_seen_at_the_next_check() -> None:
    interrupts = Interrupts()
    with interrupts.listening():
        interrupts.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.requested
        with pytest.raises(Interrupted) as stop:
            interrupts.check()
        assert stop.value.signal_number == signal.SIGTERM
        # A second signal ends the process at once.
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with stages.lock(tmp_path):
        script = (
            "import sys, pathlib\n"
            "from lelp_jax import stages, errors\n"
            "try:\n"
            "    with stages.lock(pathlib.Path(sys.argv[1])): sys.exit(0)\n"
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
    with stages.lock(tmp_path):
        pass


def test_the_lock_file_of_a_killed_run_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("1\n")
    with stages.lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_atomic_writes_leave_the_old_content_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    files.write_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.jsonl"]


def test_json_is_strict_and_nan_is_null(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "a.json"
    files.write_json(path, {"a": float("nan"), "b": [np.float32("inf"), 1.5], "c": np.int64(3)})
    assert json.loads(path.read_text()) == {"a": None, "b": [None, 1.5], "c": 3}


def test_the_curve_log_is_cut_back_to_the_restored_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = CurveLog(path)
    log.write([{"fleet": "a", "step": 10}, {"fleet": "b", "step": 10}, {"fleet": "a", "step": 20}])
    with open(path, "a") as file:
        file.write('{"fleet": "a", "st')
    again = CurveLog(path)
    again.cut("a", 10)
    assert again.read() == [{"fleet": "a", "step": 10}, {"fleet": "b", "step": 10}]
    again.write([{"fleet": "a", "step": 20}])
    assert len(again.read()) == 3


def test_a_stage_is_built_once_and_again_after_its_inputs_change(tmp_path: Path) -> None:
    built = []

    def build(folder: Path) -> dict[str, int]:
        built.append(folder.name)
        return {"value": len(built)}

    def load(folder: Path, facts: dict[str, int]) -> int:
        return facts["value"]

    assert stages.run(tmp_path, "things", {"a": 1}, build, load) == 1
    assert stages.run(tmp_path, "things", {"a": 1}, build, load) == 1
    assert stages.run(tmp_path, "things", {"a": 2}, build, load) == 2
    # Going back is free.
    assert stages.run(tmp_path, "things", {"a": 1}, build, load) == 1
    assert len(built) == 2


def test_an_unfinished_stage_is_built_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, int]:
        (folder / "part").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.run(tmp_path, "things", {"a": 1}, fail, lambda *_: None)
    value = stages.run(tmp_path, "things", {"a": 1}, lambda _: {"v": 3}, lambda _, f: f["v"])
    assert value == 3


def test_a_damaged_marker_names_the_folder_to_delete(tmp_path: Path) -> None:
    stages.run(tmp_path, "things", {"a": 1}, lambda _: {}, lambda *_: None)
    marker = next(tmp_path.glob("things/*/stage.json"))
    marker.write_text('{"inputs"')
    with pytest.raises(UserError, match=str(marker.parent)):
        stages.run(tmp_path, "things", {"a": 1}, lambda _: {}, lambda *_: None)
