"""What Google Cloud Storage says of an object, in its JSON resources and in the headers of its bytes."""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Mapping
from email.message import Message
from typing import Any

from embsnap.errors import ErrorKind, StorageError
from embsnap.storage.base import ObjectInfo
from embsnap.storage.retries import TransientError

__all__ = ["FIELDS", "WRITER", "crc32c_text", "info_of_headers", "info_of_resource", "writer_of"]

FIELDS = "name,size,generation,crc32c,updated,metadata"
"""What is asked for of a resource."""
WRITER = "embsnap-writer"
"""Metadata key under which every object that embsnap uploads holds the token of its one writer."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def crc32c_text(crc: int) -> str:
    """A CRC-32C as the API writes it: base64 of its four bytes, the highest first."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def writer_of(resource: Mapping[str, Any]) -> str | None:
    """Token of the writer that uploaded an object, or None for one that is not embsnap's."""
    found = resource.get("metadata", {}).get(WRITER)
    return None if found is None else str(found)


def info_of_resource(resource: Mapping[str, Any], location: str) -> ObjectInfo:
    """An object as its resource describes it.

    Raises:
        TransientError: The resource lacks what every object has, so that the answer was no proper one.
    """
    try:
        crc = resource.get("crc32c")
        return ObjectInfo(
            location,
            int(resource.get("size", 0)),
            str(resource["generation"]),
            datetime.datetime.fromisoformat(resource["updated"]).timestamp() if "updated" in resource else None,
            None if crc is None else int.from_bytes(base64.b64decode(crc), "big"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TransientError(f"the answer describes no object: {error!r}") from error


def info_of_headers(headers: Message, location: str, *, where: str, asked: tuple[int, int] | None) -> ObjectInfo:
    """An object as the headers of its bytes describe it.

    Args:
        headers: Of an answer with bytes.
        location: Of the object.
        where: Its URI, for messages.
        asked: The range `[start, end)` that was asked for, or None for the whole object.

    Raises:
        StorageError: `storage-failed`: the object is stored compressed.
        TransientError: These are not the bytes that were asked for.
    """
    encoding = headers.get("X-Goog-Stored-Content-Encoding", "identity")
    if encoding != "identity":
        raise _compressed(where, encoding)
    size = _whole_size(headers) if asked is None else _size_around(headers, *asked)
    if "X-Goog-Generation" not in headers:
        raise TransientError("the answer lacks the object's generation")
    return ObjectInfo(location, size, headers["X-Goog-Generation"], None, _crc_of(headers))


def _whole_size(headers: Message) -> int:
    text = headers.get("Content-Length", "")
    if not text.isdecimal():
        raise TransientError("the answer lacks its length")
    return int(text)


def _size_around(headers: Message, start: int, end: int) -> int:
    """Size of the object of which exactly the range was sent, as far as the object goes."""
    sent = headers.get("Content-Range", "nothing")
    match = _CONTENT_RANGE.fullmatch(sent)
    if match is None or (int(match[1]), int(match[2])) != (start, min(end, int(match[3])) - 1):
        raise TransientError(f"bytes {start}-{end - 1} were asked for, and {sent} sent")
    return int(match[3])


def _crc_of(headers: Message) -> int | None:
    """Of the whole object, also where a range of it was sent; the header may stand there once for each kind of sum."""
    for part in ",".join(headers.get_all("X-Goog-Hash", [])).split(","):
        name, _, text = part.strip().partition("=")
        if name == "crc32c":
            return int.from_bytes(base64.b64decode(text), "big")
    return None


def _compressed(where: str, encoding: str) -> StorageError:
    return StorageError(
        ErrorKind.STORAGE_FAILED,
        "is stored compressed, so that its bytes cannot be addressed",
        where=where,
        expected="no Content-Encoding",
        found=f"Content-Encoding {encoding}",
        hint="upload it again without compression in transit (gsutil cp without -z, -Z and -j)",
    )
