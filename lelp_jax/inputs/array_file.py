"""An array in a .npy file whose name ends with its checksum: whole and as it was, or refused."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np

from lelp_jax.core import files
from lelp_jax.core.errors import UserError


def write(folder: Path, stem: str, values: np.ndarray) -> str:
    """Writes a file and returns its name.

    Args:
        folder: A folder that is there.
        stem: How the name begins.
        values: Any array of numbers.
    """
    buffer = io.BytesIO()
    np.save(buffer, values)
    content = buffer.getvalue()
    name = f"{stem}_{zlib.crc32(content):08x}.npy"
    files.write_atomic(folder / name, content)
    return name


def read(path: Path) -> np.ndarray:
    """Reads a file that `write` wrote.

    Args:
        path: The file.

    Raises:
        UserError: It is missing, or not as it was written.
    """
    mend = f"delete the folder {path.parent} to make it again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}") from error
    if not path.stem.endswith(f"_{zlib.crc32(content):08x}"):
        raise UserError(f"{path} is not as it was written; {mend}")
    values: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return values


def find(folder: Path, stem: str) -> str | None:
    """Returns the name of a file that `write` wrote and that is as it was, or None.

    Args:
        folder: The folder.
        stem: How the name begins.
    """
    for path in sorted(folder.glob(f"{stem}_*.npy")):
        try:
            read(path)
        except UserError:
            continue
        return path.name
    return None
