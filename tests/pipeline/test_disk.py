"""A full or read-only disk ends the run with one line, and what was finished stays."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import fault_runs, tiny
from tests.helpers.error_lines import only_error

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts small file systems in memory, where that is allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()

    def set_up(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small file system is not allowed here")
        return folder

    yield set_up
    subprocess.run(["umount", str(folder)], capture_output=True)


@pytest.mark.slow
def test_a_full_disk_says_so_and_the_run_resumes_once_there_is_space(mount: Mount) -> None:
    disk = mount("size=1500k")
    full = fault_runs.run("none", 0, disk / "run")
    assert full.returncode == 2
    line = only_error(full.stderr)
    assert "No space left on device; free some space" in line
    assert str(disk) in line
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    resumed = fault_runs.run("none", 0, disk / "run")
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.slow
def test_a_read_only_disk_leaves_the_results_alone(
    mount: Mount, finished_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = mount("size=50m")
    shutil.copytree(finished_run, disk / "run")
    before = tiny.snapshot(disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    capfd.readouterr()
    assert tiny.run(disk / "run", "--config.methods.kd.temperature=3.0") == 2
    line = only_error(capfd.readouterr().err)
    assert "Read-only file system; give a --workdir that is writable" in line
    assert tiny.snapshot(disk / "run") == before


@pytest.mark.parametrize("word", ["No space left on device", "Read-only file system"])
def test_trouble_in_the_middle_of_a_run_is_only_error(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        def __getattr__(self, name: str):
            if name.startswith("__"):
                raise AttributeError(name)
            raise ValueError(f"UNKNOWN: writing failed: {word} [os_error_code='28']")

    monkeypatch.setitem(sys.modules, "tensorstore", Failing())
    assert tiny.run(tmp_path / "run") == 2
    assert word in only_error(capfd.readouterr().err)
