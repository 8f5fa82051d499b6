"""What may be written over, and how a folder takes the place of an older one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lelp_jax.core.errors import UserError
from lelp_jax.storage import objects, zarr

_GROUP_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")
_ARRAY_FILES = ("zarr.json", ".zarray")
_ENDINGS = (".npz", ".parquet", ".zarr", "")


def check_path(path: Path, place: str, is_folder: bool) -> None:
    """Checks that a file or folder may be written.

    Args:
        path: What will be written.
        place: Where the user gave it, for messages.
        is_folder: Whether it will be a folder.

    Raises:
        UserError: Its ending is not known, the folder above is missing, or something is there
            that would be lost.
    """
    if path.suffix.lower() == ".npy":
        raise UserError(
            f"{path}: an .npy file holds one array; give a folder (no ending), .npz, .parquet or "
            f".zarr in {place}"
        )
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(
            f"{path}: unknown ending {path.suffix!r}; give .npz, .parquet, .zarr or a folder "
            f"without an ending in {place}"
        )
    if not path.parent.is_dir():
        raise UserError(
            f"{path}: there is no folder {path.parent} to write into; make it, or change {place}"
        )
    if is_folder and path.exists():
        if not path.is_dir():
            raise UserError(f"{path} is a file; give a folder in {place}, or remove the file")
        if (other := _foreign(path)) is not None:
            raise UserError(
                f"{path} also holds {other!r}, which would be lost; give another folder in "
                f"{place}, or move it away"
            )
    if not is_folder and path.is_dir():
        raise UserError(f"{path} is a folder; give a file in {place}, or remove the folder")


def check_address(address: str, place: str) -> None:
    """Checks that zarr arrays may be written to an address.

    Args:
        address: What will be written.
        place: Where the user gave it, for messages.

    Raises:
        UserError: The address cannot be written, or something is there that would be lost.
    """
    keys = objects.keys(address)
    if keys is None:
        raise UserError(
            f"{address} can only be read; give gs://bucket/folder or a local path in {place}"
        )
    arrays = {
        folder for folder, _, name in (key.partition("/") for key in keys) if name in _ARRAY_FILES
    }
    for key in keys:
        if key not in _GROUP_FILES and key.partition("/")[0] not in arrays:
            raise UserError(
                f"{address} also holds {key!r}, which would be lost; give another address in "
                f"{place}"
            )


def replace_folder(new: Path, path: Path) -> None:
    """Gives a folder its name; one that has that name is whole until then.

    Args:
        new: The folder, beside the other.
        path: Its name.

    Raises:
        OSError: It cannot be renamed.
    """
    old = _old(path)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        restore_folder(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Puts a folder back whose successor did not come to have its name."""
    if _old(path).is_dir() and not path.exists():
        os.rename(_old(path), path)


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _foreign(folder: Path) -> str | None:
    """Returns the name of something in a folder that is not one of its arrays."""
    for entry in sorted(folder.iterdir()):
        known = (
            zarr.is_zarr(entry)
            if entry.is_dir()
            else entry.suffix == ".npy" or entry.name in _GROUP_FILES
        )
        if not known:
            return entry.name
    return None
