"""Zarr folders that several processes write together, and addresses, where nothing is renamed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.storage import objects, zarr
from lelp_jax.storage.open import open_writer
from lelp_jax.storage.writer import Spec
from tests.helpers import stored

OLD = {"x": np.arange(12.0).reshape(6, 2), "y": np.arange(6)}
NEW = {"x": np.ones((9, 2)), "y": np.zeros(9, int)}
SPECS = {"x": Spec((9, 2), float), "y": Spec((9,), "int64")}


def test_several_writers_share_a_zarr_folder() -> None:
    stored.write("x.zarr", OLD)
    main = open_writer("x.zarr", SPECS, chunk_rows=2)
    other = open_writer("x.zarr", SPECS, chunk_rows=2, main=False)
    with main, other:
        other.write(6, {name: values[6:] for name, values in NEW.items()})
        other.write(2, {name: values[2:4] for name, values in NEW.items()})
        main.write(0, {name: values[:2] for name, values in NEW.items()})
        main.write(4, {name: values[4:6] for name, values in NEW.items()})
        stored.same(stored.read("x.zarr").array("x")[:], OLD["x"])
    stored.same(stored.read("x.zarr").array("x")[:], NEW["x"])
    assert [path.name for path in Path().iterdir()] == ["x.zarr"]


def write_ranges(ranges: list[tuple[int, int]]) -> None:
    with open_writer("x.zarr", SPECS, chunk_rows=2) as writer:
        for start, stop in ranges:
            writer.write(start, {name: values[start:stop] for name, values in NEW.items()})


def test_a_range_of_part_of_a_chunk_is_refused() -> None:
    for ranges in ([(1, 3)], [(0, 3), (4, 6)], [(0, 3)]):
        with pytest.raises(ValueError, match=r"rows from|came"):
            write_ranges(ranges)
    assert not list(Path().iterdir())


def test_a_chunk_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write = zarr.ZarrArray.write

    def count(self: Any, start: int, values: np.ndarray) -> None:
        written.append((start, len(values)))
        write(self, start, values)

    monkeypatch.setattr(zarr.ZarrArray, "write", count)
    stored.write("x.zarr", {"x": np.arange(10)}, step=3, chunk_rows=4)
    assert written == [(0, 4), (4, 4), (8, 2)]


def test_an_address_is_marked_until_it_is_complete() -> None:
    address = "memory://unfinished"
    stored.write(address, OLD)
    with open_writer(address, SPECS, chunk_rows=2) as writer:
        with pytest.raises(UserError, match="writing it was not finished; write it again, or"):
            stored.read(address)
        writer.write(0, NEW)
    stored.same(stored.read(address).array("x")[:], NEW["x"])
    objects.write_bytes(address, "thesis.txt", b"mine")
    with pytest.raises(UserError, match=r"also holds 'thesis.txt', which would be lost; give"):
        open_writer(address, SPECS)
    with pytest.raises(UserError, match="http://host/x can only be read; give gs://bucket/folder"):
        open_writer("http://host/x", SPECS)
