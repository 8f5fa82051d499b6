"""Folders and addresses that hold one array per name: .npy files, zarr arrays."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lelp_jax.core.errors import UserError
from lelp_jax.storage import npy, objects, zarr
from lelp_jax.storage.bundle import Openers
from lelp_jax.storage.rows import RowArray

UNFINISHED = "lelp_jax_unfinished"


def openers(folder: Path, place: str) -> Openers:
    """Returns what opens each array of a folder: its .npy files and its zarr arrays.

    Args:
        folder: The folder.
        place: Where the user gave it, for messages.

    Raises:
        UserError: It is a zarr array itself, or an array is there twice.
    """
    if zarr.is_zarr(folder):
        raise _one_array(str(folder), place)
    found: dict[str, Any] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.suffix == ".npy" and entry.is_file():
            name = entry.stem
            opener: Callable[[str], RowArray] = functools.partial(npy.open_file, entry)
        elif entry.is_dir() and zarr.is_zarr(entry):
            name, opener = entry.name, functools.partial(_open_zarr, str(entry))
        else:
            continue
        if name in found:
            raise UserError(
                f"{folder} holds array {name!r} twice, as {name}.npy and as zarr; remove one"
            )
        found[name] = opener
    return found


def openers_at_address(address: str, place: str) -> Openers:
    """Returns what opens each zarr array at an address.

    Args:
        address: A folder such as gs://bucket/folder.
        place: Where the user gave it, for messages.

    Raises:
        UserError: The address cannot be read or is a zarr array itself, its arrays cannot be
            listed, or writing them was not finished.
    """
    names = _consolidated(address, place)
    if names is None:
        if zarr.is_zarr(address):
            raise _one_array(address, place)
        keys = objects.keys(address)
        if keys is None:
            raise UserError(
                f"{address}: no list of zarr arrays is there, and this server lists none; check "
                f"{place}, or consolidate the metadata with zarr.consolidate_metadata"
            )
        parents = (key.split("/") for key in keys)
        names = [
            name
            for name, *rest in parents
            if rest in (["zarr.json"], [".zarray"]) and zarr.is_zarr(objects.join(address, name))
        ]
    return {name: functools.partial(_open_zarr, objects.join(address, name)) for name in set(names)}


def _one_array(location: str, place: str) -> UserError:
    return UserError(
        f"{location} is one zarr array; give the folder that holds it and the others in {place}"
    )


def _open_zarr(location: str, where: str) -> RowArray:
    del where  # a zarr array's messages give its own location
    return zarr.open(location)


def _consolidated(address: str, place: str) -> list[str] | None:
    """Returns the names of the arrays as a group's metadata lists them; None if it does not."""
    keys: Iterable[str] | None = None
    content = objects.read_bytes(address, "zarr.json")
    try:
        if content is not None:
            group = json.loads(content)
            if UNFINISHED in group.get("attributes", {}):
                raise UserError(
                    f"{address}: writing it was not finished; write it again, or change {place}"
                )
            listed = group.get("consolidated_metadata") or {}
            nodes = listed.get("metadata")
            if nodes is not None:
                keys = [name for name, node in nodes.items() if node["node_type"] == "array"]
        elif (content := objects.read_bytes(address, ".zmetadata")) is not None:
            ending = "/.zarray"
            nodes = json.loads(content)["metadata"]
            keys = [key.removesuffix(ending) for key in nodes if key.endswith(ending)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise objects.unreadable(address, error) from error
    return None if keys is None else [key for key in keys if key and "/" not in key]
