"""Hashes of the content of a bundle, by which a change of it is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import files
from lelp_jax.storage import numpy_files, objects
from lelp_jax.storage.bundle import Bundle

_BLOCK_BYTES = 64 << 20
# Rows of each array that name a bundle at an address, where reading all of it takes too long.
_SPREAD_ROWS = 256


def hash_bundle(bundle: Bundle, names: Collection[str], memory: Path) -> str:
    """Hashes the content of arrays of a bundle.

    Local files are read once; their hash is remembered until a size or modification time differs.
    At an address the arrays' shapes and rows spread over each of them are hashed.

    Args:
        bundle: The bundle.
        names: The arrays that matter.
        memory: A JSON file in which hashes are kept.

    Raises:
        UserError: An array is damaged.
    """
    if objects.is_url(bundle.location):
        return _hash_rows(bundle, names, spread=True)
    state = _hash_state(objects.local_path(bundle.location), names)
    known: dict[str, str] = {}
    if memory.is_file():
        try:
            known = dict(json.loads(memory.read_text()))
        except (ValueError, TypeError):
            known = {}
    if state not in known:
        path = objects.local_path(bundle.location)
        if path.suffix.lower() == ".npz":
            numpy_files.check_npz(path, names)
        known[state] = _hash_rows(bundle, names, spread=False)
        memory.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(memory, known)
    return known[state]


def _hash_state(path: Path, names: Collection[str]) -> str:
    """Hashes the names, sizes and modification times of a path's files."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    parts: list[Any] = [sorted(names)]
    for file in found:
        if file.is_file():
            status = file.stat()
            parts.append([str(file), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _hash_rows(bundle: Bundle, names: Collection[str], spread: bool) -> str:
    content = hashlib.blake2b(digest_size=16)
    for name in sorted(names):
        array = bundle.array(name)
        content.update(json.dumps([name, list(array.shape), str(array.dtype)]).encode())
        if spread:
            rows = np.unique(np.linspace(0, len(array) - 1, _SPREAD_ROWS).astype(np.int64))
            content.update(np.ascontiguousarray(array[rows]).tobytes())
            continue
        width = max(int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize, 1)
        size = max(_BLOCK_BYTES // width, 1)
        for start in range(0, len(array), size):
            content.update(np.ascontiguousarray(array[start : start + size]).data)
    return content.hexdigest()
