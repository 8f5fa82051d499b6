"""Arrays at addresses: over http, and in a bucket, for which a small server stands in."""

import functools
import http.server
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.storage import zarr
from tests.helpers import stored
from tests.helpers.bucket import run_in_bucket, serving

VALUES = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def test_a_folder_that_is_served_over_http_is_read() -> None:
    Path("served").mkdir()
    stored.write("served/t.zarr", {"embeddings": VALUES, "label": np.arange(40)})
    zarr.create("served/single", (3,), np.float32, 3)
    Path("served/listless/x").mkdir(parents=True)
    with serving(functools.partial(Quiet, directory="served")) as host:
        bundle = stored.read(f"{host}/t.zarr")
        assert bundle.names() == ["embeddings", "label"]
        array = bundle.array("embeddings")
        stored.same(array[3:30], VALUES[3:30])
        stored.same(array[[39, 0, 0]], VALUES[[39, 0, 0]])
        assert bundle.place("label", 2) == f"{host}/t.zarr, array 'label', row 2"
        with pytest.raises(UserError, match=r"unknown array of http://.*'embedding'; did you mean"):
            bundle.array("embedding")
        with pytest.raises(UserError, match="is one zarr array; give the folder"):
            stored.read(f"{host}/single")
        with pytest.raises(UserError, match=r"this server lists none; check config\.embeddings"):
            stored.read(f"{host}/listless")
        stored.cut(Path("served/t.zarr/embeddings/c/1/0"), 20)
        with pytest.raises(UserError, match=r"embeddings cannot be read: .*; it is damaged "):
            array[:]


IN_A_BUCKET = """
import numpy as np
import pytest
from lelp_jax.core.errors import UserError
from lelp_jax.storage import objects, zarr
from tests.helpers import stored

values = np.arange(120.0, dtype=np.float32).reshape(20, 6)
address = "gs://bucket/some/folder"
objects.write_bytes("gs://bucket/some/folder2", "mine", b"mine")
for factor in (1, 2):
    arrays = {"embeddings": factor * values, "label": np.arange(20)}
    stored.write(address, arrays, chunk_rows=8)
    bundle = stored.read(address)
    assert bundle.names() == ["embeddings", "label"]
    stored.same(bundle.array("embeddings")[:], factor * values)
    stored.same(bundle.array("embeddings")[[19, 2]], factor * values[[19, 2]])
objects.write_bytes(address, "zarr.json", b'{"zarr_format": 3, "node_type": "group"}')
assert stored.read(address).names() == ["embeddings", "label"]
with pytest.raises(UserError, match="no zarr array there"):
    zarr.open("gs://bucket/absent")
objects.delete_tree(address)
with pytest.raises(UserError, match="gs://bucket/some/folder holds no arrays; give"):
    stored.read(address)
"""


def test_a_bucket_is_written_and_read() -> None:
    run_in_bucket(IN_A_BUCKET)
