"""The cache of compiled programs on disk, which is used only where it works and is safe."""

from __future__ import annotations

import errno
import logging
import os
import stat
import tempfile
from pathlib import Path

import jax

from lelp_jax.core.cache_home import find_cache_home

_LOG = logging.getLogger(__name__)
# Size of the folder, beyond which the programs used least recently are deleted. The demo's take
# 30 MB.
_MOST_BYTES = 2 << 30
# A disk that cannot take this much is full: one program may be as large.
_PROBE_BYTES = 1 << 20


def set_up_cache() -> None:
    """Makes JAX keep compiled programs on disk for later runs.

    `JAX_COMPILATION_CACHE_DIR` names the folder, which is then left to its owner; otherwise it is
    that of `find_cache_folder` and takes at most 2 GiB.
    """
    # By default JAX keeps only what takes a second to compile; a run has many smaller programs.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = find_cache_folder()
    if folder is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)


def find_cache_folder() -> Path | None:
    """Finds the folder of compiled programs and brings it into order.

    It is `lelp_jax/programs` below `XDG_CACHE_HOME`, by default `~/.cache`.

    Returns:
        The folder, or None, after one warning, if it cannot be used: every run then compiles anew,
        which takes longer and changes nothing else.
    """
    try:
        folder = find_cache_home() / "lelp_jax" / "programs"
        _check_folder(folder)
        _remove_unfinished_entries(folder)
        return folder
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _LOG.warning(
            "compiled programs are not kept for later runs (%s%s); XDG_CACHE_HOME can name "
            "another folder",
            place,
            error.strerror,
        )
        return None


def _check_folder(folder: Path) -> None:
    """Creates the cache and checks that it can be read, written and trusted.

    JAX itself notices what is wrong at every single program, and warns each time.

    Raises:
        OSError: The folder cannot be used.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    # What is in the cache is run: nobody else may have put it there.
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "other users can write to it", str(folder))
    for path in folder.iterdir():
        # JAX also writes to the entries that it reads. A run as root may have left its own ones;
        # entries may disappear here, because other processes delete them, too.
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _remove_unfinished_entries(folder: Path) -> None:
    """Deletes cached programs without a time of last use.

    A process that is killed while it writes an entry leaves one behind. Where the size is limited,
    JAX 0.10 then fails to write any further entry (github.com/jax-ml/jax/issues/39880).
    """
    for entry in folder.glob("*-cache"):
        if not entry.with_name(entry.name.removesuffix("-cache") + "-atime").exists():
            entry.unlink(missing_ok=True)
