"""Artifacts on disk: fingerprints, reuse, repair, atomic finish, and the lock of a workdir.

An artifact is stored in `<workdir>/<stage>/<fingerprint>/` and is finished once its marker,
`stage.json`, is there. The fingerprint covers everything the artifact depends on and nothing else,
so a launch reuses what still holds and builds anew only what a change touches.

The marker lists size and SHA-256 of every file, and has a checksum of itself that also covers the
artifact's place. Nothing is used before it has been compared with its marker. What was damaged,
lost or swapped is built again, after one warning that names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import filelock

from lelp_jax.core import files
from lelp_jax.core.errors import Damaged, Unavailable, UserError

_LOG = logging.getLogger(__name__)
_MARKER = "stage.json"
_LOCK = ".lock"
Artifact = TypeVar("Artifact")


def fingerprint(content: Any) -> str:
    """Computes 16 hexadecimal digits that name JSON-like content."""
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
    unlisted: Collection[str] = (),
) -> Artifact:
    """Builds an artifact, or reuses the one that is there if it is as it was written.

    Args:
        root: The workdir.
        stage: The stage's name, which is also the name of its folder.
        inputs: Everything the artifact depends on, JSON-like, with the format version.
        build: Fills the folder given, which may hold what a killed run left, and returns the
            facts to keep in the marker.
        load: Reads the artifact from its folder and those facts; may raise `Damaged`.
        unlisted: Folders in it that the marker leaves out: their content is checked while it is
            read, or is no part of the artifact.

    Raises:
        Damaged: What was just built cannot be read.
    """
    folder = root / stage / fingerprint({"stage": stage, **inputs})
    facts, adopted = None, False
    with repaired(folder):
        facts, adopted = _read_marker(folder)
    if facts is not None:
        with repaired(folder, anything=adopted):
            if not adopted:
                check_files(folder)
            artifact = load(folder, facts)
            if adopted:
                finish(folder, inputs, facts, unlisted)
            return artifact
    folder.mkdir(parents=True, exist_ok=True)
    try:
        finish(folder, inputs, build(folder), unlisted)
    except Unavailable:
        # Keep the partial result; the next launch resumes from it.
        raise
    except UserError:
        # What cannot be built as asked for leaves no trace.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    facts, _ = _read_marker(folder)
    assert facts is not None
    _LOG.debug("%s %s built", stage, folder.name)
    return load(folder, facts)


def finish(
    folder: Path,
    inputs: Mapping[str, Any],
    facts: Mapping[str, Any],
    unlisted: Collection[str] = (),
) -> None:
    """Marks an artifact as finished; until then a restart builds it again.

    Args:
        folder: The artifact's folder, with every file in it that belongs to the artifact.
        inputs: Everything it depends on.
        facts: What to keep in the marker.
        unlisted: Folders in it that the marker leaves out; see `run`.
    """
    listed = {}
    for path in _files_of(folder):
        place = path.relative_to(folder)
        if place.parts[0] not in unlisted:
            listed[place.as_posix()] = [path.stat().st_size, files.hash_file(path)]
    content: dict[str, Any] = {"inputs": inputs, "facts": facts, "files": listed}
    # As it will be read: NaN becomes null, tuples become lists.
    content = json.loads(json.dumps(files.clean(content)))
    files.write_json(folder / _MARKER, {**content, "checksum": _checksum(folder, content)})


def find_finished(root: Path, stage: str) -> Iterator[tuple[Path, Mapping[str, Any], bool]]:
    """Lists the finished artifacts of a stage in a fixed order; their files are not checked yet.

    Yields:
        Folder and facts, and whether the marker was written by a version that kept no checksums.
    """
    for marker in sorted((root / stage).glob(f"*/{_MARKER}")):
        facts, adopted = None, False
        with repaired(marker.parent):
            facts, adopted = _read_marker(marker.parent)
        if facts is not None:
            yield marker.parent, facts, adopted


def check_files(folder: Path) -> None:
    """Compares every file of a finished artifact with its marker.

    Raises:
        Damaged: A file is missing, of another size, of other content, or cannot be read.
    """
    content = json.loads((folder / _MARKER).read_text())
    for name, (size, digest) in content["files"].items():
        path = folder / name
        try:
            if path.stat().st_size != size or files.hash_file(path) != digest:
                raise Damaged(f"{path} is not as it was written", folder)
        except FileNotFoundError as error:
            raise Damaged(f"{path} is missing", folder) from error
        except OSError as error:
            raise Damaged(f"{path} cannot be read ({error.strerror})", folder) from error


@contextlib.contextmanager
def repaired(folder: Path, *, anything: bool = False) -> Iterator[None]:
    """Deletes an artifact that the block finds damaged, after a warning; the block then ends.

    Args:
        folder: The artifact's folder.
        anything: Whether any exception tells of damage: files without checksums may be read as
            anything.
    """
    try:
        yield
    except Damaged as damage:
        discard(folder, damage.problem)
    except Exception as error:
        if not anything or isinstance(error, (UserError, OSError)):
            raise
        discard(folder, f"{folder} cannot be read ({type(error).__name__})")


def discard(folder: Path, problem: str) -> None:
    """Deletes a damaged artifact, so that it is built again, and says so in one warning."""
    _LOG.warning("%s; it is built again", problem)
    if folder.is_dir():
        shutil.rmtree(folder)


def _read_marker(folder: Path) -> tuple[Mapping[str, Any] | None, bool]:
    """Reads the facts of an artifact, None where it is not finished; and whether it is adopted.

    Raises:
        Damaged: The marker is not as it was written, or is that of another artifact.
    """
    path = folder / _MARKER
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("checksum", None)
        facts, inputs = content["facts"], content["inputs"]
    except (FileNotFoundError, NotADirectoryError):
        return None, False
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror})", folder) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is not as it was written", folder) from error
    if checksum is None and "files" not in content:
        # Of a version before checksums: what it holds is taken over as it is.
        if fingerprint({"stage": folder.parent.name, **inputs}) != folder.name:
            raise Damaged(f"{path} belongs to another artifact", folder)
        return facts, True
    if checksum != _checksum(folder, content):
        raise Damaged(f"{path} is not as it was written", folder)
    return facts, False


def _checksum(folder: Path, content: Mapping[str, Any]) -> str:
    """Names a marker's content together with the place it is for."""
    text = json.dumps([folder.parent.name, folder.name, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _files_of(folder: Path) -> list[Path]:
    """Lists what belongs to an artifact; hidden files are on their way to another name."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != _MARKER and not path.name.startswith(".")
    )


@contextlib.contextmanager
def lock(root: Path) -> Iterator[None]:
    """Holds a workdir for this process alone.

    The operating system drops the lock when the process ends, however it ends, so the file that
    a killed run leaves behind is no obstacle. Symbolic links in its place are not followed.

    Raises:
        UserError: Another process holds the workdir.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / _LOCK
    if path.is_symlink():
        raise UserError(f"{path} is a symbolic link, which is not followed; delete it")
    holder = filelock.FileLock(path, timeout=0)
    try:
        holder.acquire()
    except filelock.Timeout:
        owner = path.read_text(errors="replace").strip()[:20] or "unknown"
        raise UserError(
            f"workdir {root} is in use by process {owner}; wait for it to end or give another "
            "--workdir"
        ) from None
    try:
        path.write_text(f"{os.getpid()}\n")
        yield
    finally:
        holder.release()
