"""Servers on this machine: of folders, and one that stands in for a bucket."""

import contextlib
import http.server
import json
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

from tests.helpers import processes


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


def run_in_bucket(script: str) -> dict[str, bytes]:
    """Runs Python source that uses gs://bucket; returns what the bucket holds then, by name."""
    content: dict[str, bytes] = {}
    handler = type("Handler", (Bucket,), {"content": content})
    with serving(handler) as host:
        # A process of its own: TensorStore reads the server's address once.
        own = {"TENSORSTORE_GCS_HTTP_URL": host, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token"}
        processes.finish(processes.launch([sys.executable, "-c", script], **own))
    return content
