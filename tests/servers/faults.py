"""What the fault proxy does to a request: each function makes one action."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.client import responses

from tests.servers.exchange import Exchange, Reply

__all__ = [
    "delayed",
    "flipped",
    "lost_reply",
    "other_range",
    "reset",
    "short",
    "stalled",
    "status",
    "throttled",
    "truncated",
    "whole_object",
]

Action = Callable[[Exchange], None]


def status(
    code: int,
    message: str = "made up by the fault proxy",
    *,
    forwards: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Action:
    """Answer with an error; with `forwards` the server has done what was asked all the same."""
    text = json.dumps({"error": {"code": code, "message": message, "errors": [{"reason": "test", "message": message}]}})
    all_headers = {"Content-Type": "application/json", **(headers or {})}

    def action(exchange: Exchange) -> None:
        if forwards:
            exchange.forward()
        exchange.answer(Reply(code, responses[code], list(all_headers.items()), text.encode()))

    return action


def reset() -> Action:
    """Break the connection before anything is done."""
    return Exchange.reset


def lost_reply() -> Action:
    """Let the server do what was asked, and break the connection."""

    def action(exchange: Exchange) -> None:
        exchange.forward()
        exchange.reset()

    return action


def truncated(num_bytes: int) -> Action:
    """Hang up after the first bytes of a body whose header says more."""

    def action(exchange: Exchange) -> None:
        exchange.answer(exchange.forward(), num_sent=num_bytes)
        exchange.hang_up()

    return action


def short(num_bytes: int) -> Action:
    """Answer with the first bytes only, under a `Content-Length` that agrees with them."""

    def action(exchange: Exchange) -> None:
        reply = exchange.forward()
        exchange.answer(reply.with_body(reply.body[:num_bytes]))

    return action


def flipped(at: int | None = None) -> Action:
    """Flip the lowest bit of one byte of the body (the middle one)."""

    def action(exchange: Exchange) -> None:
        reply = exchange.forward()
        body = bytearray(reply.body)
        body[len(body) // 2 if at is None else at] ^= 1
        exchange.answer(reply.with_body(bytes(body)))

    return action


def stalled(seconds: float = 600, *, num_bytes: int | None = None) -> Action:
    """Say nothing for a while (or the first bytes of the body, and nothing more), then hang up."""

    def action(exchange: Exchange) -> None:
        if num_bytes is not None:
            exchange.answer(exchange.forward(), num_sent=num_bytes)
        exchange.wait(seconds)
        exchange.hang_up()

    return action


def whole_object() -> Action:
    """Answer a range with 200 and the whole object."""

    def action(exchange: Exchange) -> None:
        exchange.answer(exchange.forward(Range=None))

    return action


def other_range(start: int, end: int) -> Action:
    """Answer with the bytes `[start, end)`, whatever was asked for."""

    def action(exchange: Exchange) -> None:
        exchange.answer(exchange.forward(Range=f"bytes={start}-{end - 1}"))

    return action


def delayed(seconds: float) -> Action:
    """Forward after a while."""

    def action(exchange: Exchange) -> None:
        exchange.wait(seconds)
        exchange.answer(exchange.forward())

    return action


def throttled(bytes_per_s: float) -> Action:
    """Send the body slowly."""

    def action(exchange: Exchange) -> None:
        exchange.answer(exchange.forward(), bytes_per_s=bytes_per_s)

    return action
