"""Paths of data files."""

from __future__ import annotations

import os.path
from pathlib import Path

from lelp_jax.core.errors import UserError


def find_file(name: str, split: str) -> Path:
    """Finds a file.

    Args:
        name: The path as the user wrote it; ~ is the home folder.
        split: The split that it holds, for the message.

    Raises:
        UserError: There is no such file, or it is a folder.
    """
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file in config.data.{split}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; check config.data.{split}")
    return path
