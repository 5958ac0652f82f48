"""Vocabularies for tests: from Python lists, as parquet of any make, and as files that attack their reader."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embsnap.model.vocabulary import BytesIds, Ids, IdType, Vocabulary
from embsnap.storage.uri import open_store, split_uri

__all__ = ["bytes_ids", "dictionary_bomb", "ids_of", "listed", "make_vocabulary", "parquet_bytes", "put", "run_bomb"]


def make_vocabulary(
    ids: Sequence[int] | Sequence[str] | Sequence[bytes],
    rows: Sequence[int] | None = None,
    *,
    counts: Sequence[int] | None = None,
    id_type: IdType | None = None,
    uri: str = "memory://vocabulary/made",
) -> Vocabulary:
    """A vocabulary in memory.

    Args:
        ids: Numbers, strings or bytes, all of one kind.
        rows: Of each; 0, 1, 2, … if left out.
        counts: Of each.
        id_type: INT64 for numbers, STRING for strings and BINARY for bytes if left out.
        uri: What messages are to call it.
    """
    if id_type is None:
        first = ids[0] if ids else 0
        id_type = IdType.INT64 if isinstance(first, int) else IdType.STRING if isinstance(first, str) else IdType.BINARY
    rows_N = np.arange(len(ids)) if rows is None else np.array(rows, np.int64).reshape(-1)
    counts_N = None if counts is None else np.array(counts, np.int64).reshape(-1)
    return Vocabulary(uri, id_type, ids_of(ids, id_type), rows_N, counts_N)


def ids_of(ids: Sequence[int] | Sequence[str] | Sequence[bytes], id_type: IdType) -> Ids:
    """Python values as ids of a type."""
    if id_type is IdType.INT64:
        return np.array(ids, np.int64).reshape(-1)
    if id_type is IdType.UINT64:
        return np.array(ids, np.uint64).reshape(-1)
    return bytes_ids([value.encode() if isinstance(value, str) else bytes(value) for value in ids])


def bytes_ids(values: Sequence[bytes]) -> BytesIds:
    """Strings of bytes as ids."""
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return BytesIds(offsets, np.frombuffer(b"".join(values), np.uint8))


def listed(ids: Ids) -> list[int] | list[bytes]:
    """Ids as Python values."""
    return [ids[i] for i in range(len(ids))] if isinstance(ids, BytesIds) else [int(value) for value in ids]


def parquet_bytes(columns: Mapping[str, Any], **options: Any) -> bytes:
    """A parquet file as bytes.

    Args:
        columns: Arrow arrays or lists by name.
        options: Of `pyarrow.parquet.write_table`: `row_group_size`, `compression`, `use_dictionary`, …
    """
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), sink, **options)
    return sink.getvalue()


def put(uri: str, data: bytes) -> str:
    """Store an object, and return its URI."""
    root, name = split_uri(uri)
    open_store(root).create(name, data)
    return uri


def dictionary_bomb(num_rows: int, id_bytes: int) -> bytes:
    """A small file whose every id is the same one of `id_bytes` bytes: decoded, it takes `num_rows * id_bytes`."""
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(num_rows, np.int32)), pa.array(["x" * id_bytes]))
    sink = io.BytesIO()
    schema = pa.schema([("id", ids.type), ("row", pa.int32())])
    with pq.ParquetWriter(sink, schema, compression="zstd", write_statistics=False, store_schema=False) as writer:
        writer.write_table(pa.table([ids, pa.array(np.zeros(num_rows, np.int32))], schema=schema))
    return sink.getvalue()


def run_bomb(num_rows: int) -> bytes:
    """A file of a few hundred bytes that claims `num_rows` integer ids, all of them there as one run each."""
    zeros = pa.array(np.zeros(num_rows, np.int64))
    return parquet_bytes({"id": zeros, "row": zeros}, compression="zstd", row_group_size=num_rows)
