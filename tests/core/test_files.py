"""Files are whole or absent, and hold strict JSON."""

import json
import os
from pathlib import Path

import pytest

from lelp_jax.core import files


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
