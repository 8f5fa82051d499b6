"""The user's folder for caches; apart from what is kept there, as data are read without JAX."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def find_cache_home() -> Path:
    """Finds the user's folder for caches.

    Raises:
        OSError: The user has no home, as in a container that runs under any user number.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The standard says that a relative path is to be ignored.
    if given.is_absolute():
        return given
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise OSError(errno.ENOENT, "there is no home folder")
    return Path(home) / ".cache"
