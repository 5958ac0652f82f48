"""The file of a vocabulary's index: a checked header, then the arrays as they lie in memory, to be mapped.

`docs/format.md` describes it.

Shape suffixes: W words of the table, R bytes of records.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from awscrt.checksums import crc32c

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError
from embsnap.kernels.index import BUCKET_WORDS, IdTable
from embsnap.model.vocabulary import IdType
from embsnap.storage.base import Store
from embsnap.storage.staging import stage_object
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["IndexHeader", "check_contents", "read_index", "write_index"]

_MAGIC = b"EMBSNIDX"
_VERSION = 1
_PREFIX = struct.Struct("<8sIII")
"""Magic, version, length of the JSON, CRC-32C of the JSON."""
_HEADER_BYTES = 4096
_PIECE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class IndexHeader:
    """What an index says about itself."""

    id_type: IdType
    num_ids: int
    oov: tuple[int, int] | None
    """Rows for unknown ids, `[start, end)`."""
    vocabulary: str
    """URI of the vocabulary it was built from."""
    fingerprint: str
    """Of that vocabulary."""
    num_words: int = 0
    """W, once it is written."""
    num_record_bytes: int = 0
    """R, once it is written."""
    contents_crc32c: int = 0
    """Of the words and the records after them, once it is written."""


def write_index(header: IndexHeader, table: IdTable, uri: str, options: Mapping[str, str] | None = None) -> None:
    """Write an index as one object, which is visible only once it is whole.

    Raises:
        RefusedError: `destination-taken`: there is such an object.
        StorageError: The disk is full, or the storage failed.
    """
    root, name = split_uri(uri)
    parts = [part for part in (table.words_W.data.cast("B"), table.records_R.data) if len(part)]
    checksum = 0
    for part in parts:
        checksum = crc32c(part, checksum)
    document = {
        "id_type": header.id_type.value,
        "num_ids": header.num_ids,
        "oov": header.oov,
        "vocabulary": header.vocabulary,
        "fingerprint": header.fingerprint,
        "num_words": len(table.words_W),
        "num_record_bytes": len(table.records_R),
        "contents_crc32c": f"{checksum:08x}",
    }
    text = json.dumps(document).encode()
    if len(text) > _HEADER_BYTES - _PREFIX.size:
        document["vocabulary"] = header.vocabulary[:200]
        text = json.dumps(document).encode()
    prefix = _PREFIX.pack(_MAGIC, _VERSION, len(text), crc32c(text))
    with open_store(root, options).writer(name) as writer:
        writer.write((prefix + text).ljust(_HEADER_BYTES, b"\0"))
        for part in parts:
            for start in range(0, len(part), _PIECE_BYTES):
                writer.write(part[start : start + _PIECE_BYTES])


def read_index(uri: str, options: Mapping[str, str] | None = None) -> tuple[IndexHeader, IdTable]:
    """Map an index, or a temporary copy of it where the storage cannot map; its contents' checksum is not looked at.

    Raises:
        NotFoundError: `no-such-object`.
        SnapshotError: `bad-index`: it is no index, a damaged one, or of a version that is not known.
        StorageError: The storage failed.
    """
    root, name = split_uri(uri)
    store = open_store(root, options)
    view = _bytes(store, name)
    header = _header(uri, bytes(view[:_HEADER_BYTES]))
    expected = _HEADER_BYTES + 8 * header.num_words + header.num_record_bytes
    if len(view) != expected:
        _refuse(uri, "is not as long as its header says", f"{expected:,} bytes", f"{len(view):,} bytes")
    words_W = np.frombuffer(view, np.dtype("<u8"), header.num_words, _HEADER_BYTES)
    records_R = np.frombuffer(view, np.uint8, header.num_record_bytes, _HEADER_BYTES + 8 * header.num_words)
    return header, IdTable(words_W, records_R)


def check_contents(uri: str, header: IndexHeader, table: IdTable) -> None:
    """Read all of an index and compare its checksum.

    Raises:
        SnapshotError: `bad-index`: the contents are not what was written.
    """
    checksum = crc32c(table.words_W.data.cast("B"))
    if table.records_R.size:
        checksum = crc32c(table.records_R.data, checksum)
    if checksum != header.contents_crc32c:
        _refuse(uri, "has other contents than were written", f"{header.contents_crc32c:08x}", f"{checksum:08x}")


def _bytes(store: Store, location: str) -> memoryview:
    info = store.stat(location)
    if info is None:
        raise NotFoundError(
            ErrorKind.NO_SUCH_OBJECT,
            "there is no index",
            where=join_uri(store.uri, location),
            expected="what VocabIndex.save wrote",
            hint="check the path",
        )
    mapped = store.map(location)
    if mapped is None:
        mapped = stage_object(store, location, info.size)
    if isinstance(mapped.obj, mmap.mmap) and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            mapped.obj.madvise(mmap.MADV_HUGEPAGE)  # random reads miss the TLB less often; a wish, no need
        except OSError:
            return mapped
    return mapped


def _header(uri: str, data: bytes) -> IndexHeader:
    if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
        _refuse(uri, "is no index of a vocabulary", f"{_MAGIC!r} and a header", f"{data[:8]!r}")
    _, version, num_bytes, checksum = _PREFIX.unpack_from(data)
    if version != _VERSION:
        _refuse(uri, "is of another version", str(_VERSION), str(version), "upgrade embsnap, or build the index again")
    text = data[_PREFIX.size : _PREFIX.size + num_bytes]
    if len(text) != num_bytes or crc32c(text) != checksum:
        _refuse(uri, "has a damaged header", f"the checksum {checksum:08x}", f"{crc32c(text):08x}")
    try:
        header = _fields(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        _refuse(uri, "has a header that cannot be right", "the fields of an index", repr(error)[:80])
    is_integer = header.id_type in (IdType.INT64, IdType.UINT64)
    whole = header.num_words >= BUCKET_WORDS and header.num_words % BUCKET_WORDS == 0 and header.num_record_bytes >= 0
    if not whole or (is_integer and header.num_record_bytes):
        found = f"{header.num_words} words and {header.num_record_bytes} bytes for {header.id_type} ids"
        _refuse(uri, "has a header that cannot be right", "whole buckets, and records for byte ids alone", found)
    return header


def _fields(document: Mapping[str, Any]) -> IndexHeader:
    oov = document["oov"]
    if oov is not None:
        start, end = (int(row) for row in oov)
        if not 0 <= start < end:
            raise ValueError(f"rows for unknown ids [{start}, {end})")
        oov = (start, end)
    return IndexHeader(
        id_type=IdType(document["id_type"]),
        num_ids=int(document["num_ids"]),
        oov=oov,
        vocabulary=str(document["vocabulary"]),
        fingerprint=str(document["fingerprint"]),
        num_words=int(document["num_words"]),
        num_record_bytes=int(document["num_record_bytes"]),
        contents_crc32c=int(document["contents_crc32c"], 16),
    )


def _refuse(uri: str, problem: str, expected: str, found: str, hint: str = "build the index again") -> NoReturn:
    raise SnapshotError(ErrorKind.BAD_INDEX, problem, where=uri, expected=expected, found=found, hint=hint)
