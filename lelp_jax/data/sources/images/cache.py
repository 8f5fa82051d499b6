"""Keeps decoded images on disk, so that each collection is decoded once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from lelp_jax.core import files
from lelp_jax.core.cache_home import find_cache_home

_LOG = logging.getLogger(__name__)
# Raise it whenever other pixels are made of the same files.
_VERSION = 1
_NOTES = "notes"
# Size of the folder, beyond which what was used least recently is deleted.
_MOST_BYTES = 8 << 30
# For another process that is just storing its images.
_SECONDS = 60.0


def describe_files(paths: Iterable[Path]) -> list[list[object]]:
    """Describes files so that the description changes whenever their content may have changed.

    Reading the files would take longer than a finished run takes otherwise. A program may set a
    file's time of modification, as those that unpack archives do, but not that of its last change.

    Args:
        paths: The files.

    Raises:
        OSError: One is missing.
    """
    described: list[list[object]] = []
    for path in paths:
        status = path.stat()
        times = status.st_mtime_ns, status.st_ctime_ns
        described.append([os.path.abspath(path), status.st_ino, status.st_size, *times])
    return described


def make_key(content: Mapping[str, Any]) -> str:
    """Makes the name under which images are kept.

    Args:
        content: All that they follow from, as JSON knows it.
    """
    import PIL

    # Another version of Pillow may decode a lossy format to other pixels.
    facts = {"version": _VERSION, "pillow": PIL.__version__, **content}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def load(key: str) -> tuple[dict[str, np.ndarray], list[str]] | None:
    """Loads the images of each split, and what was noted when they were decoded.

    Args:
        key: Their name.

    Returns:
        None where they are not kept, or are damaged.
    """
    try:
        path = _find_folder() / f"{key}.npz"
        # Opened here: NumPy leaves a damaged file open. The format has a checksum of each array.
        with open(path, "rb") as stream:
            file = np.load(stream, allow_pickle=False)
            images = {split: file[split] for split in file.files if split != _NOTES}
            notes = file[_NOTES].tolist()
        os.utime(path)
    except OSError:
        # There is none, or the folder cannot be used, which is said where it is written.
        return None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _LOG.warning("decoded images are decoded again, as those kept cannot be read: %s", error)
        return None
    return images, notes


def store(key: str, images: Mapping[str, np.ndarray], notes: Sequence[str]) -> None:
    """Stores the images of each split; warns where that cannot be done, and goes on without.

    Args:
        key: Their name.
        images: [rows, height, width, channels] uint8 by split.
        notes: What was noted when they were decoded.
    """
    size = sum(array.nbytes for array in images.values())
    if size > _MOST_BYTES:
        _LOG.info("decoded images are not kept for later runs: they take %.1f GB", size / 1e9)
        return
    try:
        folder = _find_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{key}.npz"
        with filelock.FileLock(folder / ".lock", timeout=_SECONDS):
            _make_space(folder, size)
            with files.convert_storage_errors(path, size), files.open_atomic(path) as file:
                arrays: dict[str, Any] = {**images, _NOTES: np.array(notes, np.str_)}
                np.savez(file, **arrays)
    except (OSError, filelock.Timeout) as error:
        reason = getattr(error, "strerror", None) or str(error)
        _LOG.warning(
            "decoded images are not kept for later runs (%s); XDG_CACHE_HOME can name another "
            "folder",
            reason,
        )
        return
    _LOG.info("decoded images are kept in %s, %.0f MB", path, size / 1e6)


def _find_folder() -> Path:
    return find_cache_home() / "lelp_jax" / "images"


def _make_space(folder: Path, size: int) -> None:
    """Deletes what was used least recently until `size` more bytes may be stored."""
    entries = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
    total = size + sum(path.stat().st_size for path in entries)
    for path in entries:
        if total <= _MOST_BYTES:
            return
        total -= path.stat().st_size
        path.unlink()
