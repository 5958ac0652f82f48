"""An HTTP proxy on loopback that forwards to one server, does harm where it is told to, and logs every request.

with FaultProxy("http://127.0.0.1:4443") as proxy:
    proxy.add(Fault(faults.status(503), method="GET", path="/o/day1", times=2))
    …                                # a client that was sent to proxy.url
    assert [request.status for request in proxy.log] == [503, 503, 206]
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit

from tests.servers.exchange import Exchange, Reply

__all__ = ["Fault", "FaultProxy", "Request"]

Action = Callable[[Exchange], None]
"""What is done with a request, in place of forwarding it; `tests.servers.faults` has them."""

_OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass
class Fault:
    """Which requests are met by an action. The first fault that fits a request and is not used up is taken."""

    action: Action
    method: str = ""
    """Whole name, or any."""
    path: str = ""
    """Regular expression searched in the decoded path and query."""
    range: str = ""
    """Regular expression searched in the `Range` header, such as `bytes=0-`."""
    body: bytes = b""
    """Regular expression searched in what is uploaded."""
    skip: int = 0
    """So many fitting requests pass unharmed first."""
    times: int | None = 1
    """So many are harmed, or all (None)."""
    seen: int = field(default=0, init=False)
    """How many fitting requests have come."""

    def takes(self, request: Request, body: bytes) -> bool:
        """Whether this fault happens to a request now; counts it."""
        fits = (
            self.method in ("", request.method)
            and re.search(self.path, request.path)
            and re.search(self.range, request.range)
            and re.search(self.body, body)
        )
        if not fits:
            return False
        self.seen += 1
        return self.seen > self.skip and (self.times is None or self.seen <= self.skip + self.times)


@dataclass
class Request:
    """One request, as the proxy saw it."""

    method: str
    path: str
    """Decoded path and query."""
    range: str
    """The `Range` header, or nothing."""
    num_uploaded: int
    """Bytes of its body."""
    start_s: float
    """When it came, by the monotonic clock."""
    end_s: float | None = None
    status: int | None = None
    """What was answered, or None while there is no answer; a reset connection has none."""
    num_sent: int = 0
    """Bytes of the answer's body."""
    harmed: bool = False
    """Whether a fault took it."""


class FaultProxy:
    """Serves `url` for the length of a `with` block."""

    def __init__(self, upstream: str) -> None:
        """Forward to the server with the base URL `upstream`."""
        self.upstream = upstream
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._log: list[Request] = []
        self._in_flight = 0
        self.most_in_flight = 0
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def log(self) -> tuple[Request, ...]:
        """Every request since the last `clear`, in the order of their arrival."""
        with self._lock:
            return tuple(self._log)

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen from now on."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forget faults and log."""
        with self._lock:
            self._faults.clear()
            self._log.clear()
            self.most_in_flight = 0

    def begin(self, request: Request, body: bytes) -> Action | None:
        """Log a request; returns what is to be done to it."""
        with self._lock:
            self._log.append(request)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            fault = next((fault for fault in self._faults if fault.takes(request, body)), None)
            request.harmed = fault is not None
            return None if fault is None else fault.action

    def end(self, request: Request) -> None:
        """Note that a request is over."""
        with self._lock:
            self._in_flight -= 1
            request.end_s = time.monotonic()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is none of the proxy's business."""


class _Handler(BaseHTTPRequestHandler):
    """One client connection."""

    owner: FaultProxy
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        """Read a request, and do with it what its fault says, or forward it."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self._body()
        ranged = self.headers.get("Range", "")
        request = Request(self.command, unquote(self.path), ranged, len(body), time.monotonic())
        action = self.owner.begin(request, body)
        exchange = Exchange(self.connection, self.owner.closing, request, lambda extra: self._forward(body, extra))
        try:
            if action is None:
                exchange.answer(exchange.forward())
            else:
                action(exchange)
        finally:
            self.close_connection = self.close_connection or exchange.is_over
            self.owner.end(request)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _forward(self, body: bytes, changed: dict[str, str | None]) -> Reply:
        """Ask the server; `changed` headers are set, or left out where None."""
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_CONNECTION}
        headers = {name: value for name, value in {**kept, **changed}.items() if value is not None}
        headers |= {
            "Host": urlsplit(self.owner.upstream).netloc,
            "Connection": "close",
            "Content-Length": str(len(body)),
        }
        upstream = HTTPConnection(urlsplit(self.owner.upstream).netloc, timeout=600)
        try:
            upstream.request(self.command, self.path, body, headers)
            reply = upstream.getresponse()
            dropped = _OF_ONE_CONNECTION - ({"content-length"} if self.command == "HEAD" else set())
            answered = [
                (name, value.replace(self.owner.upstream, self.owner.url))
                for name, value in reply.getheaders()
                if name.lower() not in dropped
            ]
            return Reply(reply.status, reply.reason, answered, reply.read(), has_body=self.command != "HEAD")
        finally:
            upstream.close()
