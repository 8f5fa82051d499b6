"""The cache of compiled programs is a convenience: no run ends, or is unsafe, because of it."""

import errno
import logging
import os
import pwd
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import project
from lelp_jax.core import compilation_cache
from lelp_jax.core.compilation_cache import find_cache_folder
from tests.helpers import tiny


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lelp_jax" / "programs"


def remove_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the home away, as in a container whose user number is in no list of users."""

    def find_none(*_):
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_none)


def test_the_folder_is_made_for_its_owner_alone(cache: Path) -> None:
    assert find_cache_folder() == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("value", ["", "relative/path", "."])
def test_what_is_no_absolute_path_is_ignored(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert find_cache_folder() == tmp_path / "home" / ".cache" / "lelp_jax" / "programs"


def fill_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())


def protect(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system", str(dir / "tmp1"))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


def block(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file")


def open_to_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)


def give_away(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: 12345)


def add_entry_of_root(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    (cache / "a-atime").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (fill_disk, "programs: Disk quota exceeded"),
        (protect, "programs: Read-only file system"),
        (block, "Not a directory"),
        (open_to_all, "programs: other users can write to it"),
        (give_away, "programs: other users can write to it"),
        (add_entry_of_root, "programs/a-atime: Permission denied"),
    ],
)
def test_an_unusable_folder_is_left_alone(
    spoil, words: str, cache: Path, monkeypatch: pytest.MonkeyPatch, package_log: list
) -> None:
    spoil(cache, monkeypatch)
    assert find_cache_folder() is None
    [(level, message)] = package_log
    assert level == logging.WARNING
    assert message.startswith("compiled programs are not kept for later runs (")
    assert message.endswith(f"{words}); XDG_CACHE_HOME can name another folder")


def test_programs_that_were_not_written_to_the_end_are_deleted(cache: Path) -> None:
    cache.mkdir(parents=True)
    for name in ("whole-cache", "whole-atime", "cut-cache"):
        (cache / name).write_bytes(b"x")
    assert find_cache_folder() == cache
    assert sorted(path.name for path in cache.iterdir()) == ["whole-atime", "whole-cache"]


def test_a_user_without_a_home_has_no_cache(
    monkeypatch: pytest.MonkeyPatch, package_log: list
) -> None:
    remove_home(monkeypatch)
    assert find_cache_folder() is None
    [(_, message)] = package_log
    assert "(there is no home folder); XDG_CACHE_HOME can name another folder" in message


def test_another_folder_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package_log: list
) -> None:
    remove_home(monkeypatch)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    compilation_cache.set_up_cache()
    assert package_log == []
    assert not (tmp_path / "own").exists()


def test_both_programs_run_without_a_home(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    random = np.random.default_rng(0)
    embeddings = random.standard_normal((40, 4))
    np.savez("teacher.npz", embeddings=embeddings, logits=embeddings[:, :2])
    # Where the list of users has none either, JAX cannot even use the cache it was given before.
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert tiny.run(tmp_path / "run") == 0
    assert count_warnings(capfd) == 1
    arguments = ("--input=teacher.npz", "--out=targets.npz", "--num_subclasses=2")
    assert project.main(["project", *arguments]) == 0
    assert count_warnings(capfd) == 1


def count_warnings(capfd: pytest.CaptureFixture[str]) -> int:
    return capfd.readouterr().err.count("compiled programs are not kept for later runs (there is")
