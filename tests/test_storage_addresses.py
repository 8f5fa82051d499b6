"""Arrays at addresses: over http, and in a bucket, for which a small server stands in."""

import contextlib
import functools
import http.server
import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.storage import zarr
from tests import stored

VALUES = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


@contextlib.contextmanager
def serving(handler: Any) -> Iterator[str]:
    """Runs a server on this machine, and gives its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


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
        with pytest.raises(UserError, match=r"embeddings cannot be read: .*; check the address, "):
            array[:]


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of Google Cloud Storage's JSON interface as TensorStore uses."""

    content: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def _name(self) -> tuple[str, dict[str, str]]:
        address = urllib.parse.urlsplit(self.path)
        _, _, name = address.path.partition("/b/bucket/o")
        return urllib.parse.unquote(name.removeprefix("/")), dict(
            urllib.parse.parse_qsl(address.query)
        )

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-goog-generation", "1")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        name, query = self._name()
        if not name:
            start = query.get("startOffset", query.get("prefix", ""))
            stop = query.get("endOffset", "\U0010ffff")
            names = [key for key in sorted(self.content) if start <= key < stop]
            self._answer(200, json.dumps({"items": [{"name": key} for key in names]}).encode())
        elif name in self.content:
            self._answer(200, self.content[name])
        else:
            self._answer(404)

    def do_POST(self) -> None:
        _, query = self._name()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.content[query["name"]] = body
        time = "2026-01-01T00:00:00Z"
        facts = {"name": query["name"], "bucket": "bucket", "id": "1", "etag": "1"}
        numbers = {"generation": "1", "metageneration": "1", "size": str(len(body))}
        times = {"timeCreated": time, "updated": time, "timeStorageClassUpdated": time}
        facts = {**facts, **numbers, **times, "storageClass": "STANDARD"}
        self._answer(200, json.dumps(facts).encode())

    def do_DELETE(self) -> None:
        self._answer(204 if self.content.pop(self._name()[0], None) is not None else 404)


IN_A_BUCKET = """
import numpy as np
import pytest
from lelp_jax.core.errors import UserError
from lelp_jax.storage import objects, zarr
from tests import stored

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


def test_a_bucket_is_written_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content: dict[str, bytes] = {}
    handler = type("Handler", (Bucket,), {"content": content})
    with serving(handler) as host:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", host)
        monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
        root = str(Path(__file__).parents[1])
        monkeypatch.setenv("PYTHONPATH", root)
        # A process of its own: the library reads the server's address once.
        run = subprocess.run(
            [sys.executable, "-c", IN_A_BUCKET], capture_output=True, text=True, timeout=60
        )
    assert run.returncode == 0, run.stderr
    assert content == {"some/folder2/mine": b"mine"}
