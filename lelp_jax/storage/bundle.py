"""Named arrays of rows that belong together, in one file or folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from lelp_jax.core.errors import UserError, unknown_name
from lelp_jax.storage import objects
from lelp_jax.storage.rows import RowArray

# What opens each array; it is told how messages call the array.
Openers: TypeAlias = Mapping[str, Callable[[str], RowArray]]

_KNOWN = (
    "an .npz file, a .parquet file, a folder of .npy files, or a zarr folder or address (gs://...)"
)


class Bundle:
    """Named arrays of rows.

    Attributes:
        location: The file, folder or address that holds them.
    """

    def __init__(self, location: str, openers: Openers):
        self.location = location
        self._openers = openers

    def names(self) -> list[str]:
        """Returns the names of the arrays, sorted."""
        return sorted(self._openers)

    def __contains__(self, name: object) -> bool:
        """Tells whether there is an array of this name."""
        return name in self._openers

    def array(self, name: str) -> RowArray:
        """Opens an array; its rows are read when they are asked for.

        Raises:
            UserError: There is no such array, or it is damaged or holds no rows.
        """
        if name not in self._openers:
            raise unknown_name(f"array of {self.location}", name, self._openers)
        where = self._where(name)
        array = self._openers[name](where)
        if not array.shape:
            raise UserError(f"{where} is a single value; an array of rows is needed")
        if not len(array):
            raise UserError(f"{where} has no rows; write it again")
        return array

    def place(self, name: str, row: int) -> str:
        """Names a row of an array for messages, counted from 0."""
        return f"{self._where(name)}, row {row}"

    def _where(self, name: str) -> str:
        return f"{self.location}, array {name!r}"


def open_bundle(location: str | os.PathLike[str], place: str) -> Bundle:
    """Opens named arrays of rows; what they are stored as is found by looking.

    Args:
        location: An .npz or .parquet file, a folder of .npy files or of zarr arrays, or an address
            of zarr arrays such as gs://bucket/folder; ~ is the home folder.
        place: Where the user gave it ("config.embeddings"), for messages.

    Raises:
        UserError: There is nothing of this kind, or it is damaged.
    """
    from lelp_jax.storage import folder, npz, parquet

    if objects.is_url(location):
        name = os.fspath(location)
        openers = folder.openers_at_address(name, place)
    else:
        path = objects.local_path(location)
        name = str(path)
        if path.is_dir():
            openers = folder.openers(path, place)
        else:
            _check_file(path, place)
            openers = npz.openers(path) if path.suffix.lower() == ".npz" else parquet.openers(path)
    if not openers:
        raise UserError(f"{name} holds no arrays; give {_KNOWN} in {place}")
    return Bundle(name, openers)


def _check_file(path: Path, place: str) -> None:
    """Raises the error for a file that cannot hold named arrays."""
    if path.suffix.lower() == ".npy":
        raise UserError(
            f"{path}: an .npy file holds one array; give the folder that holds embeddings.npy, "
            f"logits.npy, ... in {place}"
        )
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check {place}")
    if path.suffix.lower() not in (".npz", ".parquet", ".pq"):
        raise UserError(f"{path}: unknown ending {path.suffix!r}; give {_KNOWN} in {place}")
