"""Files are whole or absent, and hold strict JSON."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lelp_jax.core import arrays, files
from lelp_jax.core.errors import Damaged


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
    path = tmp_path / "a.json"
    files.write_json(path, {"a": float("nan"), "b": [np.float32("inf"), 1.5], "c": np.int64(3)})
    assert json.loads(path.read_text()) == {"a": None, "b": [None, 1.5], "c": 3}


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4)
    arrays.write_array(tmp_path / "a.npy", values)
    found = arrays.read_array(tmp_path / "a.npy")
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    for name in ("a.npy", "absent.npy"):
        with pytest.raises(Damaged, match=rf"{name} cannot be read \(.*delete {tmp_path} to build"):
            arrays.read_array(tmp_path / name)


def stop_while_writing(path: Path) -> None:
    with files.open_atomic(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_a_stopped_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    arrays.write_array(path, np.zeros(3))
    with pytest.raises(KeyboardInterrupt):
        stop_while_writing(path)
    np.testing.assert_array_equal(arrays.read_array(path), np.zeros(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]
