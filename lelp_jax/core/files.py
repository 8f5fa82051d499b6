"""Atomic writes, so that a file is complete or absent whenever the process is killed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

# A file is gone, or a folder is in its place. All other errors of the operating system, such as
# missing permissions or a failing disk, say nothing about what the file holds.
LOST = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
# Metadata and the rounding up to whole chunks and blocks need space beside the arrays themselves.
_OVERHEAD = 1.2
_RESERVE = 1 << 20


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for writing that replaces `path` when the block ends without an exception.

    A reader sees the old content or the new, never a part of it.

    Args:
        path: The file to write; its folder exists.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            # Without it, a power failure soon after the renaming may leave an empty file.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        # On a full disk, NumPy raises "50000 requested and 2484 written", without an error number.
        code = error.errno or errno.ENOSPC
        # The user knows the file by its name, not by that of the temporary one.
        raise OSError(code, os.strerror(code), os.fspath(path)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part of it.

    Args:
        path: The file to write; its folder exists.
        content: The new content; text is encoded as UTF-8.
    """
    with open_atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def hash_file(path: Path) -> str:
    """Computes the SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        # An error while reading, unlike one while opening, does not name the file.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def hash_folder(folder: Path) -> dict[str, str]:
    """Computes the SHA-256 of every file below a folder, by its path relative to the folder.

    Raises:
        OSError: A file or folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = {}
    # `Path.rglob` passes over folders that it may not read, as if they were empty.
    for place, _, names in os.walk(folder, onerror=refuse):
        for path in (Path(place, name) for name in names):
            found[path.relative_to(folder).as_posix()] = hash_file(path)
    return found


@contextlib.contextmanager
def convert_storage_errors(path: Path, size: int) -> Iterator[None]:
    """Converts a storage library's errors about the disk to OSError.

    Free space is checked beforehand, because these libraries report a full disk from several
    threads, each with a traceback.

    Args:
        path: The file or folder to write; some folder above it exists.
        size: Approximate number of bytes to write.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    existing = next(folder for folder in [path, *path.absolute().parents] if folder.is_dir())
    if shutil.disk_usage(existing).free < size * _OVERHEAD + _RESERVE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        # These libraries raise their errors with the operating system's text, but not its code.
        for code in (errno.ENOSPC, errno.EROFS, errno.EACCES):
            if os.strerror(code) in str(error):
                raise OSError(code, os.strerror(code), os.fspath(path)) from error
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically, indented, with NaN as null."""
    write_atomic(path, json.dumps(clean(content), indent=2) + "\n")


def clean(value: Any) -> Any:
    """Converts a value to strict JSON, in which NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): clean(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    # For NaN and infinities, and no other number, the difference is NaN.
    if isinstance(value, float) and value - value != 0:
        return None
    return value
