"""Bytes of objects in Google Cloud Storage, received in threads, straight into the buffers that want them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from embsnap.errors import EmbsnapError
from embsnap.storage.event_loop import in_thread
from embsnap.storage.gcs_account import GcsAccount, GcsAccounts
from embsnap.storage.gcs_errors import failure_of
from embsnap.storage.http_get import Get, StoppedError
from embsnap.storage.ranges import PartFiller
from embsnap.storage.retries import TransientError

__all__ = ["BEYOND_THE_END", "download", "fill"]

Take = Callable[[HTTPResponse], None]

BEYOND_THE_END = 416
_EXPECTED = (200, 206, BEYOND_THE_END)
_ERROR_BYTES = 1 << 16


async def download(
    accounts: GcsAccounts, path: str, span: tuple[int, int] | None, take: Take, *, where: str, silence_s: float
) -> int:
    """Ask once for the bytes `[start, end)` of an object, or all; returns the status.

    Args:
        accounts: Who asks.
        path: Of the object, quoted.
        span: What to ask for; None for all.
        take: Reads the answer, in another thread, unless that is `BEYOND_THE_END`. Once this function has ended, by
            being cancelled too, nothing more is received.
        where: URI of the object, for messages.
        silence_s: Seconds without a byte after which the attempt has failed.

    Raises:
        EmbsnapError: The server refused; `gcs_errors` says which status is what.
        TransientError: The connection or the server failed.
    """
    account = await accounts.current()
    get = Get(account.origin, silence_s)
    return await in_thread(partial(_download, account, get, path, span, take, where, silence_s), get.stop)


def fill(filler: PartFiller, response: HTTPResponse) -> None:
    """Receive what a filler still wants; an answer that ends early leaves it wanting."""
    while room := filler.room():
        num_bytes = response.readinto(room)
        if not num_bytes:
            return
        filler.filled(room, num_bytes)
    if more := response.read(1):
        filler.feed(more)  # which is too much


def _download(
    account: GcsAccount, get: Get, path: str, span: tuple[int, int] | None, take: Take, where: str, silence_s: float
) -> int:
    url = urlsplit(account.url(path, {"alt": "media"}))
    ranged = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
    statuses = []

    def answered(response: HTTPResponse) -> None:
        statuses.append(response.status)
        if response.status not in _EXPECTED:
            text = response.read(_ERROR_BYTES).decode("utf-8", "replace")
            raise failure_of(response.status, response.headers, text, where, account.who)
        if response.status != BEYOND_THE_END:
            take(response)

    try:
        get.perform(f"{url.path}?{url.query}", {**account.headers(), **ranged}, answered)
    except EmbsnapError:
        raise  # though it may be a FileNotFoundError or a TimeoutError as well
    except TimeoutError as error:
        raise TransientError(f"nothing arrived for {silence_s:g} s") from error
    except (HTTPException, OSError, StoppedError) as error:
        problem = f"the connection to {account.origin.url} failed: {error or type(error).__name__}"
        raise TransientError(problem) from error
    return statuses[0]
