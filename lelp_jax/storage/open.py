"""Opens named arrays of rows, whatever they are stored as."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

from lelp_jax.core.errors import UserError
from lelp_jax.storage import numpy_files, objects, zarr
from lelp_jax.storage.bundle import Bundle, Openers
from lelp_jax.storage.rows import RowArray

_KNOWN = (
    "an .npz file, a .parquet file, a folder of .npy files, or a zarr folder or address (gs://...)"
)


def open_bundle(location: str | os.PathLike[str], flag: str) -> Bundle:
    """Opens named arrays of rows; their format is found by looking.

    Args:
        location: An .npz or .parquet file, a folder of .npy files or of zarr arrays, or an address
            of zarr arrays such as gs://bucket/folder; ~ is the home folder.
        flag: Where the user gave it ("config.embeddings"), for messages.

    Raises:
        UserError: There is nothing of this kind, or it is damaged.
    """
    if objects.is_url(location):
        name = os.fspath(location)
        openers = _find_in_address(name, flag)
    else:
        path = objects.local_path(location)
        name = str(path)
        openers = _find_in_folder(path, flag) if path.is_dir() else _find_in_file(path, flag)
    if not openers:
        raise UserError(f"{name} holds no arrays; give {_KNOWN} in {flag}")
    return Bundle(name, openers)


def _find_in_file(path: Path, flag: str) -> Openers:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        raise UserError(
            f"{path}: an .npy file holds one array; give the folder that holds embeddings.npy, "
            f"logits.npy, ... in {flag}"
        )
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check {flag}")
    if suffix not in (".npz", ".parquet", ".pq"):
        raise UserError(f"{path}: unknown ending {path.suffix!r}; give {_KNOWN} in {flag}")
    if suffix == ".npz":
        return numpy_files.find_npz_arrays(path)
    # Imported here, so that Arrow is loaded only where there is something to read with it.
    from lelp_jax.storage import parquet

    return parquet.find_columns(path)


def _find_in_folder(folder: Path, flag: str) -> Openers:
    """Lists a folder's .npy files and zarr arrays."""
    if zarr.is_zarr(folder):
        raise _one_array(str(folder), flag)
    found: dict[str, Any] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.suffix == ".npy" and entry.is_file():
            name = entry.stem
            opener: Any = functools.partial(numpy_files.MappedRows, entry)
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


def _find_in_address(address: str, flag: str) -> Openers:
    """Lists the zarr arrays at an address, from the group's metadata or, without it, its keys."""
    names = _read_group(address, flag)
    if names is None:
        if zarr.is_zarr(address):
            raise _one_array(address, flag)
        keys = objects.list_keys(address)
        if keys is None:
            raise UserError(
                f"{address}: no list of zarr arrays is there, and this server lists none; check "
                f"{flag}, or consolidate the metadata with zarr.consolidate_metadata"
            )
        names = [
            name
            for name, *rest in (key.split("/") for key in keys)
            if rest in (["zarr.json"], [".zarray"]) and zarr.is_zarr(objects.join(address, name))
        ]
    return {name: functools.partial(_open_zarr, objects.join(address, name)) for name in set(names)}


def _read_group(address: str, flag: str) -> list[str] | None:
    """Reads the names of the arrays in a group's consolidated metadata; None without it."""
    content = objects.read_bytes(address, "zarr.json")
    try:
        if content is not None:
            group = json.loads(content)
            if zarr.UNFINISHED in group.get("attributes", {}):
                raise UserError(
                    f"{address}: writing it was not finished; write it again, or change {flag}"
                )
            nodes = (group.get("consolidated_metadata") or {}).get("metadata")
            if nodes is None:
                return None
            found = [name for name, node in nodes.items() if node["node_type"] == "array"]
        elif (content := objects.read_bytes(address, ".zmetadata")) is not None:
            ending = "/.zarray"
            nodes = json.loads(content)["metadata"]
            found = [key.removesuffix(ending) for key in nodes if key.endswith(ending)]
        else:
            return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise objects.make_read_error(address, error) from error
    return [name for name in found if name and "/" not in name]


def _one_array(location: str, flag: str) -> UserError:
    return UserError(
        f"{location} is one zarr array; give the folder that holds it and the others in {flag}"
    )


def _open_zarr(location: str, where: str) -> RowArray:
    del where  # a zarr array's messages give its own location
    return zarr.open(location)
