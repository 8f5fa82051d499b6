"""Reads arrays from an .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from lelp_jax.core.errors import UserError

_BROKEN = (zipfile.BadZipFile, zlib.error)


def read_arrays(
    path: Path, choose: Callable[[Sequence[str]], Iterable[str]]
) -> dict[str, np.ndarray]:
    """Reads the chosen arrays of a file.

    Args:
        path: The file.
        choose: Chooses among the keys that it holds.

    Raises:
        UserError: It is not a readable .npz file, or `choose` refuses its keys.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not an .npz file; write one with numpy.savez")
    try:
        # Opened here: NumPy leaves a damaged file open.
        with open(path, "rb") as stream:
            file = np.load(stream, allow_pickle=False)
            return {key: file[key] for key in choose(file.files)}
    except (ValueError, OSError, EOFError, NotImplementedError, *_BROKEN) as error:
        reason = " ".join(str(error).split())[:200]
        hint = "; save texts as fixed-width strings" if "allow_pickle" in reason else ""
        raise UserError(f"{path} is not a readable .npz file: {reason}{hint}") from error
