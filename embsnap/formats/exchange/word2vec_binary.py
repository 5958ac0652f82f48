"""Tables in word2vec's binary form: a line `N D`, then for each row the id, a space, and D float32 numbers.

The original program ends each row with a line break, gensim does not; both are read.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from embsnap.formats.exchange.content import Blocks, Entities, Place, TableCard, TableContent, bad_file
from embsnap.formats.exchange.ids import ids_of_text
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.exchange.vectors import spooled
from embsnap.formats.exchange.word2vec_text import words
from embsnap.storage.spool import Spool
from embsnap.storage.uri import open_store, split_uri

__all__ = ["read_word2vec_binary", "write_word2vec_binary"]

_CHUNK_BYTES = 8 << 20
_MAX_ID_BYTES = 1 << 16
_MAX_DIM = 1 << 20


def write_word2vec_binary(
    place: Place, entities: Entities, dim: int, dtype: str, card: TableCard, blocks: Blocks
) -> None:
    """Write the rows as gensim does."""
    start = 0
    with place.store.writer(place.location) as writer:
        writer.write(f"{len(entities)} {dim}\n".encode())
        for block_ND in blocks:
            ids = words(entities, start, start + len(block_ND)).to_pylist()
            numbers = (row_D.tobytes() for row_D in np.ascontiguousarray(block_ND, "<f4"))
            writer.write(b"".join(part for pair in zip(ids, numbers, strict=True) for part in (pair[0], b" ", pair[1])))
            start += len(block_ND)


def read_word2vec_binary(uri: str, options: ReadOptions) -> TableContent:
    """Read a file: ids into memory, numbers into a temporary file.

    Raises:
        SnapshotError: `bad-export`: it is no such file, or ends early.
        IncompatibleError: `bad-vocabulary`: ids are not of the type they are to be.
        NotFoundError, StorageError: It cannot be read; temporary files have no room.
    """
    root, name = split_uri(uri)
    with Spool() as spool, open_store(root, options.storage_options).open(name) as file:
        records = _Records(file, uri)
        num_rows, dim = records.header()
        ids = list(records.all(dim, spool))
        vectors = spooled(spool, dim)
    found = sum(map(len, ids))
    if found != num_rows:
        raise bad_file(uri, "holds another number of vectors than its first line says", str(num_rows), found)
    id_type, found_ids = ids_of_text(uri, ids, options.id_type, first_place=1)
    return TableContent(vectors, "float32", found_ids, id_type)


class _Records:
    """Rows of such a file, taken by chunks."""

    def __init__(self, file: BinaryIO, uri: str) -> None:
        self._file, self._uri, self._data = file, uri, b""

    def header(self) -> tuple[int, int]:
        """N and D."""
        self._data = self._file.read(_CHUNK_BYTES)
        line, newline, self._data = self._data.partition(b"\n")
        parts = line[:64].split()
        if not newline or len(parts) != 2 or not all(part.isdigit() for part in parts) or int(parts[1]) > _MAX_DIM:
            raise bad_file(self._uri, "is no binary word2vec file", "a first line of two numbers", repr(line[:32]))
        return int(parts[0]), int(parts[1])

    def all(self, dim: int, spool: Spool) -> Iterator[Any]:
        """The ids of all rows, in Arrow arrays; their numbers are put into the spool meanwhile."""
        while (ids := self._take(dim, spool)) is not None:
            yield ids

    def _take(self, dim: int, spool: Spool) -> Any:
        """The ids of all rows that are in hand whole, their numbers put into the spool; None at the end."""
        data, width, position = self._data, 4 * dim, 0
        ids, numbers = [], []
        while (space := data.find(b" ", position, position + _MAX_ID_BYTES)) >= 0 and space + 1 + width <= len(data):
            ids.append(data[position:space].lstrip(b"\n"))
            numbers.append(data[space + 1 : space + 1 + width])
            position = space + 1 + width
        spool.write(b"".join(numbers))
        chunk = self._file.read(_CHUNK_BYTES)
        self._data = data[position:] + chunk
        if not ids and not chunk:
            if self._data.strip(b"\n"):
                raise bad_file(self._uri, "ends within a row", f"an id, a space and {width} bytes", len(self._data))
            return None
        if not ids and len(self._data) > _MAX_ID_BYTES + width + _CHUNK_BYTES:
            raise bad_file(self._uri, "holds no ids", f"a space within {_MAX_ID_BYTES} bytes", "none")
        return pa.array(ids, pa.large_binary())
