"""An S3 server on loopback (moto), and one bucket of it for each test."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.servers.process import serving

__all__ = ["S3Bucket", "s3", "s3_url"]

_numbers = count()


@dataclass(frozen=True)
class S3Bucket:
    """One bucket, with a back door past every client."""

    name: str
    endpoint: str

    @property
    def environ(self) -> dict[str, str]:
        """What a client's environment needs to find the bucket."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def uri(self, path: str = "") -> str:
        """`s3://` URI of an object or directory of the bucket."""
        return f"s3://{self.name}/{path}".rstrip("/")

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects, sorted; up to a thousand."""
        answer = self._call("GET", f"?list-type=2&prefix={quote(prefix, safe='')}").decode()
        assert "<IsTruncated>false</IsTruncated>" in answer
        return sorted(unescape(name) for name in re.findall("<Key>(.*?)</Key>", answer, re.DOTALL))

    def get(self, name: str) -> bytes:
        """The bytes of an object."""
        return self._call("GET", f"/{quote(name)}")

    def put(self, name: str, data: bytes) -> None:
        """Store an object, over what is there."""
        self._call("PUT", f"/{quote(name)}", data)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._call("DELETE", f"/{quote(name)}")

    def upload(self, directory: Path, to: str = "") -> str:
        """Store every file under `directory`; returns the URI of `to`."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.put(f"{to}/{path.relative_to(directory)}".lstrip("/"), path.read_bytes())
        return self.uri(to)

    def make(self) -> None:
        """Create the bucket."""
        self._call("PUT", "", b"")

    def remove(self) -> None:
        """Remove the bucket and all that is in it."""
        for name in self.names():
            self.delete(name)
        self._call("DELETE", "")

    def _call(self, method: str, target: str, data: bytes | None = None) -> bytes:
        url = f"{self.endpoint}/{self.name}{target}"
        request = urllib.request.Request(url, data=data, method=method)
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request")
        if data is not None:
            request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request, timeout=120) as reply:
            body: bytes = reply.read()
            return body


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of the server that all tests of the session share."""

    def command(port: int) -> list[str]:
        return [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    with serving(command, health="/moto-api/", log=tmp_path_factory.mktemp("s3") / "server.log") as url:
        yield url


@pytest.fixture
def s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """An empty bucket; the variables that S3 clients read are set."""
    bucket = S3Bucket(f"bucket-{next(_numbers)}", s3_url)
    bucket.make()
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    yield bucket
    bucket.remove()
