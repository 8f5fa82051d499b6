"""Writes a group of zarr arrays, on this machine or at an address, from one process or several."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from lelp_jax.core.errors import UserError
from lelp_jax.storage import destinations, folder, objects, writer, zarr


def check(location: str, arrays: Mapping[str, writer.Spec]) -> None:
    """Checks that zarr can hold arrays.

    Raises:
        UserError: One holds texts.
    """
    for name, spec in arrays.items():
        if spec.dtype.kind == "U":
            raise UserError(
                f"{location}: array {name!r} holds texts, which are not written to zarr; write "
                "integers that stand for them, or .npz or .parquet"
            )


class ZarrWriter(writer.Writer):
    """Writes each array as zarr; the group lists them once it is complete.

    A folder of this machine is written beside its name. At an address, where nothing can be
    renamed, the group is marked as unfinished meanwhile.
    """

    shared = True

    def __init__(
        self, location: str, arrays: Mapping[str, writer.Spec], chunk_rows: int, main: bool
    ):
        super().__init__(location, arrays, chunk_rows)
        self._main = main
        self._path = None if objects.is_url(location) else objects.local_path(location)
        self._target = location if self._path is None else str(writer.temporary(self._path))
        self._open: dict[str, zarr.ZarrArray] = {}

    def _begin(self) -> None:
        if not self._main:
            return
        if self._path is not None:
            destinations.restore_folder(self._path)
        objects.delete_tree(self._target)
        self._write_group({"attributes": {folder.UNFINISHED: True}})
        for name, spec in self.arrays.items():
            self._open[name] = zarr.create(
                objects.join(self._target, name), spec.shape, spec.dtype, self.chunk_rows
            )

    def _put(self, start: int, rows: writer.Rows) -> None:
        for name, values in rows.items():
            if name not in self._open:
                self._open[name] = zarr.open(objects.join(self._target, name))
            self._open[name].write(start, values)

    def _finish(self) -> None:
        if not self._main:
            return
        metadata = {}
        for name, spec in self.arrays.items():
            self._check_chunks(name, spec)
            content = objects.read_bytes(objects.join(self._target, name), "zarr.json")
            assert content is not None
            metadata[name] = json.loads(content)
        # An address that lists nothing, such as https://, is read by means of this.
        listed = {"kind": "inline", "must_understand": False, "metadata": metadata}
        self._write_group({"attributes": {}, "consolidated_metadata": listed})
        if self._path is not None:
            destinations.replace_folder(writer.temporary(self._path), self._path)

    def _discard(self) -> None:
        if self._main:
            objects.delete_tree(self._target)

    def _check_chunks(self, name: str, spec: writer.Spec) -> None:
        """Raises the error for rows that no process has written."""
        wanted = math.ceil(spec.shape[0] / min(self.chunk_rows, spec.shape[0]))
        keys = objects.keys(objects.join(self._target, name)) or []
        found = sum(key.startswith("c/") for key in keys)
        if found != wanted:
            raise ValueError(f"{found} of {wanted} chunks of {name} of {self.location} came")

    def _write_group(self, content: dict[str, Any]) -> None:
        group = {"zarr_format": 3, "node_type": "group", **content}
        objects.write_bytes(self._target, "zarr.json", json.dumps(group, indent=2).encode())
