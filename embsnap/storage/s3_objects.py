"""What S3 says of an object, in the headers of its answers and in its listings."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from embsnap.storage.base import ObjectInfo
from embsnap.storage.retries import TransientError

__all__ = ["WRITER", "crc32c_text", "info_of_answer", "info_of_entry"]

WRITER = "embsnap-writer"
"""Metadata key under which every object that embsnap uploads holds the token of its one writer."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def crc32c_text(crc: int) -> str:
    """A CRC-32C as S3 writes it: base64 of its four bytes, the highest first."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def info_of_answer(answer: Mapping[str, Any], location: str, *, asked: tuple[int, int] | None) -> ObjectInfo:
    """An object as the headers of an answer describe it.

    S3 counts no generations; the ETag changes with the bytes, which is what matters to a reader.

    Args:
        answer: To `head_object` or `get_object`.
        location: Of the object.
        asked: The range `[start, end)` that was asked for, or None for the whole object.

    Raises:
        TransientError: These are not the bytes that were asked for.
    """
    size = int(answer["ContentLength"])
    if asked is not None:
        start, end = asked
        sent = answer.get("ContentRange", "nothing")
        match = _CONTENT_RANGE.fullmatch(sent)
        if match is None and (start, end) != (0, size):
            raise TransientError(f"bytes {start}-{end - 1} were asked for, and all {size} sent")
        if match is not None:
            size = int(match[3])
            if (int(match[1]), int(match[2])) != (start, min(end, size) - 1):
                raise TransientError(f"bytes {start}-{end - 1} were asked for, and {sent} sent")
    return ObjectInfo(location, size, _etag(answer), answer["LastModified"].timestamp(), _crc_of(answer))


def info_of_entry(entry: Mapping[str, Any], location: str) -> ObjectInfo:
    """An object as a listing describes it."""
    return ObjectInfo(location, int(entry["Size"]), _etag(entry), entry["LastModified"].timestamp())


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


def _crc_of(answer: Mapping[str, Any]) -> int | None:
    """CRC-32C of the whole object; what S3 has of one that was uploaded in parts may be a sum of sums, marked so."""
    text = answer.get("ChecksumCRC32C", "")
    if not text or "-" in text or answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    return int.from_bytes(base64.b64decode(text), "big")
