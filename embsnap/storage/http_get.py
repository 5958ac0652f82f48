"""GET requests over connections that are kept, in threads: bytes go from the socket straight into the caller's buffers.

`http.client` receives into any buffer without a copy and without the interpreter's lock, so that a few threads take
what a network brings at the cost of the copy alone. Each request here is one attempt.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

__all__ = ["Get", "Origin", "StoppedError", "proxy_of"]

_MOST_IDLE = 64


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go.

    Attributes:
        url: Scheme, host and port: `https://storage.googleapis.com`.
        proxy: URL of what stands between, or nothing.
        context: What proves the server, and us to it; None for the usual.
    """

    url: str
    proxy: str = ""
    context: ssl.SSLContext | None = None

    def connection(self, timeout_s: float) -> HTTPConnection:
        """A new one, not yet connected."""
        there = urlsplit(self.url)
        near = urlsplit(self.proxy) if self.proxy else there
        if there.scheme != "https":
            return HTTPConnection(near.hostname or "", near.port, timeout=timeout_s)
        context = self.context or _usual_context()
        connection = HTTPSConnection(near.hostname or "", near.port, timeout=timeout_s, context=context)
        if self.proxy:
            connection.set_tunnel(there.hostname or "", there.port, headers=dict(self._proxy_headers()))
        return connection

    def request(self, target: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """What to ask for, and under which headers: a proxy is told the whole URL unless it is tunnelled through."""
        if not self.proxy or self.url.startswith("https:"):
            return target, dict(headers)
        return self.url + target, {**headers, **self._proxy_headers(), "Host": urlsplit(self.url).netloc}

    def _proxy_headers(self) -> Mapping[str, str]:
        near = urlsplit(self.proxy)
        if near.username is None:
            return {}
        account = f"{unquote(near.username)}:{unquote(near.password or '')}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(account.encode()).decode()}"}


def proxy_of(url: str) -> str:
    """URL of the proxy that the environment names for a URL (`HTTPS_PROXY`, `NO_PROXY` and so on), or nothing."""
    there = urlsplit(url)
    found = getproxies().get(there.scheme, "")
    if not found or proxy_bypass(there.netloc):
        return ""
    return found if "://" in found else f"http://{found}"


class Get:
    """One request, made in the thread that calls `perform`, which any other may stop."""

    def __init__(self, origin: Origin, silence_s: float) -> None:
        """Nothing is connected yet.

        Args:
            origin: Where to ask.
            silence_s: Seconds without a byte after which it has failed.
        """
        self._origin, self._silence_s = origin, silence_s
        self._lock = threading.Lock()
        self._is_stopped = False
        self._socket: socket.socket | None = None

    def perform(self, target: str, headers: Mapping[str, str], receive: Callable[[HTTPResponse], None]) -> None:
        """Ask, and hand over the answer, which is gone afterwards.

        Args:
            target: Quoted path and query.
            headers: Of the request.
            receive: Reads the answer. What it leaves unread costs the connection.

        Raises:
            StoppedError: `stop` was called.
            TimeoutError: Nothing arrived for so long.
            HTTPException, OSError: The connection failed.
        """
        connection, response = self._answered(*self._origin.request(target, headers))
        try:
            receive(response)
            self._release()
        except BaseException:
            connection.close()
            raise
        if response.isclosed() and connection.sock is not None:
            _kept.put(self._origin, connection)
        else:
            connection.close()

    def stop(self) -> bool:
        """Have `perform` end. False if it still connects: then it will not hand over anything, but may end later."""
        with self._lock:
            self._is_stopped = True
            if self._socket is None:
                return False
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            return True

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopped

    def _answered(self, target: str, headers: dict[str, str]) -> tuple[HTTPConnection, HTTPResponse]:
        """A connection on which an answer begins. One that was kept may be dead by now: then a new one is made."""
        kept = _kept.take(self._origin)
        with contextlib.suppress(HTTPException, ConnectionError, ssl.SSLError):
            if kept is not None:
                return self._asked(kept, target, headers)
        if self._is_stopped:
            raise StoppedError
        return self._asked(self._origin.connection(self._silence_s), target, headers)

    def _asked(
        self, connection: HTTPConnection, target: str, headers: dict[str, str]
    ) -> tuple[HTTPConnection, HTTPResponse]:
        try:
            if connection.sock is None:
                connection.connect()
            self._hold(connection.sock)
            connection.request("GET", target, headers=headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _hold(self, sock: socket.socket) -> None:
        """From now on `stop` breaks this connection."""
        sock.settimeout(self._silence_s)
        with self._lock:
            if self._is_stopped:
                raise StoppedError
            self._socket = sock

    def _release(self) -> None:
        """From now on `stop` changes nothing."""
        with self._lock:
            self._socket = None
            if self._is_stopped:
                raise StoppedError


class _Kept:
    """Connections that wait for another request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[Origin, HTTPConnection]] = []

    def take(self, origin: Origin) -> HTTPConnection | None:
        """One to the origin, that which was used last."""
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index][0] == origin:
                    return self._idle.pop(index)[1]
        return None

    def put(self, origin: Origin, connection: HTTPConnection) -> None:
        """Keep one, and let go of the oldest if there are too many."""
        with self._lock:
            self._idle.append((origin, connection))
            oldest = self._idle.pop(0)[1] if len(self._idle) > _MOST_IDLE else None
        if oldest is not None:
            oldest.close()

    def close(self) -> None:
        """Let go of all."""
        self._lock = threading.Lock()  # another thread may have held it when the process was forked
        while self._idle:
            self._idle.pop()[1].close()


_kept = _Kept()
atexit.register(_kept.close)
os.register_at_fork(after_in_child=_kept.close)


@cache
def _usual_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
