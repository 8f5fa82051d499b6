"""Arrays of artifacts in .npy files; the artifact's marker holds their checksums."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lelp_jax.core import files
from lelp_jax.core.errors import Damaged


def write_array(path: Path, values: np.ndarray) -> None:
    """Writes an .npy file that is complete or absent whenever the process is killed.

    Args:
        path: The file; its folder exists.
        values: Any array of numbers.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    with files.open_atomic(path) as file:
        np.save(file, values, allow_pickle=False)


def read_array(path: Path) -> np.ndarray:
    """Opens an array that `write_array` wrote; its values are read from disk when they are used.

    Args:
        path: The file, in the folder of its artifact.

    Raises:
        Damaged: The file is missing, or does not hold an array.
        OSError: The file cannot be read, which does not mean that it is damaged.
    """
    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        # NumPy's own errors about what a file holds have no number.
        if isinstance(error, OSError) and error.errno and not isinstance(error, files.LOST):
            raise
        reason = " ".join(str(error).split())[:160]
        raise Damaged(f"{path} cannot be read ({reason})", path.parent) from error
    return values
