"""Artifacts on disk: fingerprints, reuse, atomic finish and the lock of a workdir.

An artifact lies in `<workdir>/<stage>/<fingerprint>/` and is finished once `stage.json` is
there. The fingerprint covers everything the artifact depends on and nothing else, so a launch
reuses what still holds and redoes only what a change touches.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lelp_jax.core import files
from lelp_jax.core.errors import Unavailable, UserError

_LOG = logging.getLogger(__name__)
_MARKER = "stage.json"
Artifact = TypeVar("Artifact")


def fingerprint(content: Any) -> str:
    """Returns 16 hexadecimal digits that name JSON-like content."""
    text = json.dumps(content, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a fingerprint cannot cover {type(value).__name__}")


def run(
    root: Path,
    stage: str,
    inputs: Mapping[str, Any],
    build: Callable[[Path], Mapping[str, Any]],
    load: Callable[[Path, Mapping[str, Any]], Artifact],
) -> Artifact:
    """Returns an artifact, built now or reused.

    Args:
        root: The workdir.
        stage: The stage's name, which is also its folder's.
        inputs: All that the artifact depends on, JSON-like, with the format version.
        build: Fills the folder given, which may hold what a killed run left, and returns the
            facts to keep in `stage.json`.
        load: Reads the artifact from its folder and those facts.
    """
    name = fingerprint({"stage": stage, **inputs})
    folder = root / stage / name
    facts = read_facts(folder)
    if facts is None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            finish(folder, inputs, build(folder))
        except Unavailable:
            # What is there is gone on from.
            raise
        except UserError:
            # What cannot be built as asked for leaves no trace.
            shutil.rmtree(folder, ignore_errors=True)
            raise
        facts = read_facts(folder)
        assert facts is not None
        _LOG.debug("%s %s built", stage, name)
    return load(folder, facts)


def finish(folder: Path, inputs: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Marks an artifact as finished; until then a restart builds it again."""
    files.write_json(folder / _MARKER, {"inputs": inputs, "facts": facts})


def read_facts(folder: Path) -> Mapping[str, Any] | None:
    """Returns the facts of a finished artifact, or None where it is not finished."""
    try:
        return json.loads((folder / _MARKER).read_text())["facts"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{folder / _MARKER} is damaged ({error}); delete the folder {folder} to build it again"
        ) from error


def finished(root: Path, stage: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yields folder and facts of every finished artifact of a stage, in a fixed order."""
    for marker in sorted((root / stage).glob(f"*/{_MARKER}")):
        facts = read_facts(marker.parent)
        if facts is not None:
            yield marker.parent, facts


@contextlib.contextmanager
def lock(root: Path) -> Iterator[None]:
    """Holds a workdir for this process alone.

    The operating system drops the lock when the process ends, however it ends, so the file that
    a killed run leaves behind is no obstacle.

    Raises:
        UserError: Another process holds the workdir.
    """
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise UserError(
                f"workdir {root} is in use by process {owner}; wait for it to end or give "
                "another --workdir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
