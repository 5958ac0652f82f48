"""One request on its way through the fault proxy, and the ways to answer it."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

__all__ = ["Exchange", "Logged", "Reply"]

_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Reply:
    """A server's answer."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    """All but those of one connection and the length."""
    body: bytes
    has_body: bool = True
    """False for the answer to HEAD, whose length stands in `headers`."""

    def with_body(self, body: bytes) -> Reply:
        """The same with another body."""
        return replace(self, body=body)

    def head(self, num_bytes: int) -> bytes:
        """Status line and headers, for a body of so many bytes."""
        length = [("Content-Length", str(num_bytes))] if self.has_body else []
        fields = [f"{name}: {value}" for name, value in [*self.headers, *length]]
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *fields]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Logged(Protocol):
    """What an exchange notes in the log."""

    status: int | None
    num_sent: int


class Exchange:
    """A client's request, to be forwarded or not, and its connection, to be answered or not."""

    def __init__(
        self,
        connection: socket.socket,
        closing: threading.Event,
        logged: Logged,
        forward: Callable[[dict[str, str | None]], Reply],
    ) -> None:
        """Hold what one request needs; `closing` is set when the proxy goes."""
        self._connection = connection
        self._closing = closing
        self._logged = logged
        self._forward = forward
        self.is_over = False
        """Whether the connection can serve no other request."""

    def forward(self, **changed: str | None) -> Reply:
        """The server's answer to the request, with some headers set, or left out where None."""
        return self._forward(changed)

    def answer(self, reply: Reply, *, num_sent: int | None = None, bytes_per_s: float | None = None) -> None:
        """Send an answer; with `num_sent` only the first bytes of its body, though its length says all."""
        body = memoryview(reply.body)[:num_sent]
        self._logged.status, self._logged.num_sent = reply.status, len(body)
        self._connection.sendall(reply.head(len(reply.body)))
        for start in range(0, len(body), _PIECE_BYTES):
            piece = body[start : start + _PIECE_BYTES]
            if bytes_per_s is not None:
                self.wait(len(piece) / bytes_per_s)
            self._connection.sendall(piece)

    def hang_up(self) -> None:
        """Close the connection as a server does that has said all."""
        self.is_over = True
        self._connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Break the connection: the client sees `connection reset by peer`."""
        self.is_over = True
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def wait(self, seconds: float) -> None:
        """Do nothing for a while, or until the client or the proxy has gone."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._closing.is_set() and not self._is_alone():
            time.sleep(min(left, 0.05))

    def _is_alone(self) -> bool:
        readable, _, _ = select.select([self._connection], [], [], 0)
        try:
            return bool(readable) and not self._connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True
