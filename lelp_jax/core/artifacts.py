"""Artifacts on disk: fingerprints, reuse, repair, atomic finish, and the lock of a workdir.

An artifact is stored in `<workdir>/<stage>/<fingerprint>/` and is finished once its marker,
`stage.json`, exists. The fingerprint covers everything the artifact depends on and nothing else, so
a launch reuses all artifacts that are still valid and builds only those that a change affects.

The marker lists size and SHA-256 of every file, and contains a checksum of itself that also covers
stage and fingerprint. Every artifact is compared with its marker before it is used. If it was
damaged, lost or swapped with another one, it is built again, after one warning that names it.
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
# Orbax finds its own files by patterns that begin with the path of the workdir, so it would find
# none, or those of another folder; TensorStore takes a backslash for a slash.
_PATTERNS = "*?[\\"
# Orbax takes /gs/a and gs:/a for gs://a, and so on.
_BUCKETS = (("gs",), ("s3",), ("az",), ("hf",))
Artifact = TypeVar("Artifact")


def fingerprint(content: Any) -> str:
    """Hashes JSON-like content to 16 hexadecimal digits."""
    # 64 bits are short enough for a folder name, and a collision among the artifacts of a workdir
    # is still out of the question.
    text = json.dumps(content, sort_keys=True, default=_convert_to_json, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _convert_to_json(value: Any) -> Any:
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
    """Builds an artifact, or reuses the existing one if its files are unchanged.

    Args:
        root: The workdir.
        stage: The stage's name, which is also the name of its folder.
        inputs: Everything the artifact depends on, JSON-like, including the format version.
        build: Fills the folder it is given, which may contain files of a killed run, and returns
            the facts to store in the marker.
        load: Reads the artifact from its folder and those facts; may raise `Damaged`.
        unlisted: Subfolders that the marker does not list, because their content is checked when it
            is read or does not belong to the artifact.

    Raises:
        Damaged: The artifact was just built, but cannot be read.
    """
    folder = root / stage / fingerprint({"stage": stage, **inputs})
    facts = None
    with discard_if_damaged(folder):
        facts = _read_marker(folder)
    if facts is not None:
        # If this block finds damage, the folder is deleted and the artifact is built below.
        with discard_if_damaged(folder):
            check_files(folder)
            return load(folder, facts)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        finish(folder, inputs, build(folder), unlisted)
    except Unavailable:
        # Keep the partial result; the next launch resumes from it.
        raise
    except UserError:
        # The config or the data must change first, so the partial result will never be used.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    facts = _read_marker(folder)
    assert facts is not None
    _LOG.debug("%s %s built", stage, folder.name)
    return load(folder, facts)


def finish(
    folder: Path,
    inputs: Mapping[str, Any],
    facts: Mapping[str, Any],
    unlisted: Collection[str] = (),
) -> None:
    """Marks an artifact as finished by writing its marker; without it a launch builds it again.

    Args:
        folder: The artifact's folder, with all its files.
        inputs: Everything the artifact depends on.
        facts: What to store in the marker.
        unlisted: Subfolders that the marker does not list; see `run`.
    """
    listed = {}
    for path in _list_files(folder):
        name = path.relative_to(folder)
        if name.parts[0] not in unlisted:
            listed[name.as_posix()] = [path.stat().st_size, files.hash_file(path)]
    content: dict[str, Any] = {"inputs": inputs, "facts": facts, "files": listed}
    # Written last: a run that is killed before leaves no marker, and the artifact is built again.
    # The checksum must cover the content as it will be read: NaN as null, tuples as lists.
    content = json.loads(json.dumps(files.clean(content)))
    files.write_json(folder / _MARKER, {**content, "checksum": _compute_checksum(folder, content)})


def find_finished(root: Path, stage: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Finds the finished artifacts of a stage, sorted by folder; their files are not checked yet.

    Yields:
        Folder and facts.
    """
    # `Path.glob` would pass over markers that cannot be read, as if they were missing.
    folders = sorted((root / stage).iterdir()) if (root / stage).is_dir() else []
    for folder in folders:
        facts = None
        with discard_if_damaged(folder):
            facts = _read_marker(folder)
        if facts is not None:
            yield folder, facts


def check_files(folder: Path) -> None:
    """Compares every file of a finished artifact with its marker.

    Raises:
        Damaged: A file is missing or has other content.
        OSError: A file cannot be read, which does not mean that it is damaged.
    """
    content = json.loads((folder / _MARKER).read_text())
    for name, (size, digest) in content["files"].items():
        path = folder / name
        try:
            # The size first: it needs no reading.
            if path.stat().st_size != size or files.hash_file(path) != digest:
                raise Damaged(f"{path} has changed since it was written", folder)
        except files.LOST as error:
            raise Damaged(f"{path} is missing", folder) from error


def check_copy(folder: Path) -> None:
    """Compares the files of a copy of an artifact, which may have any name, with its marker.

    A copy without a marker is not checked.

    Raises:
        Damaged: A file is missing or has other content, or the marker has changed.
        OSError: A file cannot be read, which does not mean that it is damaged.
    """
    path = folder / _MARKER
    try:
        listed = "files" in json.loads(path.read_bytes())
    except files.LOST:
        return
    except (ValueError, TypeError) as error:
        raise Damaged(f"{path} has changed since it was written", folder) from error
    if listed:
        check_files(folder)


@contextlib.contextmanager
def discard_if_damaged(folder: Path) -> Iterator[None]:
    """Deletes the artifact, after a warning, if the block finds it damaged; suppresses the error.

    Args:
        folder: The artifact's folder.
    """
    try:
        yield
    except Damaged as damage:
        discard(folder, damage.problem)


def discard(folder: Path, problem: str) -> None:
    """Deletes a damaged artifact, so that it is built again, and logs one warning."""
    _LOG.warning("%s; building it again", problem)
    if folder.is_dir():
        shutil.rmtree(folder)


def _read_marker(folder: Path) -> Mapping[str, Any] | None:
    """Reads the marker of an artifact.

    Returns:
        The facts, or None if the artifact is not finished.

    Raises:
        Damaged: The marker has changed since it was written, or belongs to another artifact.
        OSError: The marker cannot be read, which does not mean that it is damaged.
    """
    path = folder / _MARKER
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("checksum", None)
        facts: Mapping[str, Any] = content["facts"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError as error:
        raise Damaged(f"{path} is a folder", folder) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} has changed since it was written", folder) from error
    if checksum != _compute_checksum(folder, content):
        raise Damaged(f"{path} has changed since it was written", folder)
    return facts


def _compute_checksum(folder: Path, content: Mapping[str, Any]) -> str:
    """Hashes a marker's content together with stage and fingerprint, so that swaps are noticed."""
    text = json.dumps([folder.parent.name, folder.name, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _list_files(folder: Path) -> list[Path]:
    """Lists the files of an artifact; hidden ones are temporary files of atomic writes."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != _MARKER and not path.name.startswith(".")
    )


def check_root(root: Path) -> None:
    """Checks that artifacts can be stored in a workdir, before anything is computed.

    Raises:
        UserError: It is a file, or its path means something else to the libraries that store them.
    """
    path = root.absolute().as_posix()
    problem = ""
    if set(path) & set(_PATTERNS):
        problem = f"contains one of {' '.join(_PATTERNS)}, which make a path a pattern"
    elif root.absolute().parts[1:2] in _BUCKETS or "gs:/" in f"{path}/":
        problem = "is taken for the address of a bucket"
    elif path.encode(errors="replace").decode() != path:
        problem = "is not UTF-8"
    if problem:
        raise UserError(f"workdir {path} {problem}; give another --workdir")
    if root.exists() and not root.is_dir():
        raise UserError(f"--workdir={root} is a file; choose a folder")


@contextlib.contextmanager
def lock(root: Path) -> Iterator[None]:
    """Locks a workdir for this process while the block runs.

    The operating system releases the lock when the process ends, however it ends, so the lock file
    of a killed run does not block the next one. If the lock file is a symbolic link, it is not
    followed: writing the process number would overwrite its target.

    Raises:
        UserError: Another process holds the lock, or the lock file is a symbolic link.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / _LOCK
    if path.is_symlink():
        raise UserError(f"{path} is a symbolic link, which is not followed; delete it")
    # A second run fails at once: waiting for hours would look like a hang.
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
