"""A resumable upload goes on from where the server says it is, whatever that is."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from awscrt.checksums import crc32c

from embsnap.errors import ErrorKind, StorageError
from embsnap.storage.gcs_objects import crc32c_text
from embsnap.storage.gcs_writer import CHUNK_BYTES
from embsnap.storage.uri import open_store

GRAIN = 256 << 10


class _Server(ThreadingHTTPServer):
    """Takes one upload, and keeps at most `most` bytes of each request; what it says of it can be wrong.

    Attributes:
        kept: What it holds.
        token: The writer's.
        visible: Whether the upload has come to its end.
        lies: Added to the number of bytes that it says it holds.
        damages: The checksum of the object that it reports is another.
        deleted: Whether the session, or the object, was deleted.
    """

    def __init__(self, most: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.most = most
        self.kept = bytearray()
        self.token = ""
        self.visible = False
        self.lies = 0
        self.damages = False
        self.deleted = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def resource(self) -> bytes:
        crc = crc32c(self.kept) ^ self.damages
        fields = {"size": str(len(self.kept)), "generation": "1", "crc32c": crc32c_text(crc)}
        return json.dumps({**fields, "metadata": {"embsnap-writer": self.token}}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self.server.token = json.loads(self._body())["metadata"]["embsnap-writer"]
        self._answer(200, b"", Location=f"{self.server.url}/session")

    def do_PUT(self) -> None:
        match = re.fullmatch(r"bytes (\*|(\d+)-\d+)/(\*|\d+)", self.headers["Content-Range"])
        body, server = self._body(), self.server
        assert match is not None
        assert match[2] is None or int(match[2]) == len(server.kept)
        server.kept += body[: server.most]
        if match[3] == str(len(server.kept)):
            server.visible = True
            self._answer(200, server.resource())
            return
        end = len(server.kept) - 1 + server.lies
        self._answer(308, b"", **({"Range": f"bytes=0-{end}"} if server.kept else {}))

    def do_GET(self) -> None:
        self._answer(200, self.server.resource()) if self.server.visible else self._answer(404, b"{}")

    def do_DELETE(self) -> None:
        self.server.deleted = True
        self._answer(499, b"{}") if not self.server.visible else self._answer(204, b"")

    def log_message(self, *arguments: object) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(params=[1 << 30, 5 * GRAIN], ids=["all", "a part"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    with _Server(request.param) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


DATA = random.Random(0).randbytes(CHUNK_BYTES + 3 * GRAIN + 7)


def test_a_server_that_keeps_part_of_a_chunk_gets_the_rest_again(server: _Server) -> None:
    with open_store("gs://b/root", {"timeout": "120"}).writer("a") as writer:
        writer.write(DATA)
    assert server.visible
    assert server.kept == DATA


@pytest.mark.parametrize("lies", [GRAIN, -(1 << 40)])
def test_a_server_that_has_lost_count_is_not_believed(server: _Server, lies: int) -> None:
    server.lies = lies if server.most > CHUNK_BYTES else 10 * CHUNK_BYTES
    store = open_store("gs://b/root", {"timeout": "60"})
    with pytest.raises(StorageError) as caught, store.writer("a") as writer:
        writer.write(DATA)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    assert not server.visible
    assert server.deleted


def test_an_object_that_arrived_damaged_is_removed(server: _Server) -> None:
    server.damages = True
    store = open_store("gs://b/root", {"timeout": "120"})
    with pytest.raises(StorageError, match="did not arrive as it was sent") as caught, store.writer("a") as writer:
        writer.write(DATA)
    assert caught.value.kind is ErrorKind.CORRUPT_TRANSFER
    assert server.deleted
