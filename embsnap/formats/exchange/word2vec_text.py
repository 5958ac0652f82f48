"""Tables as text of word2vec's form: a line `N D`, then an id and D numbers in each line.

gensim reads and writes it so; GloVe's files have no first line, and ids with spaces in them. Numbers are float32.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, takewhile
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.exchange.content import Blocks, Entities, Place, TableCard, TableContent, bad_file
from embsnap.formats.exchange.ids import ids_of_text, not_representable
from embsnap.formats.exchange.numbers import check_not_lost, joined, parsed
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.exchange.vectors import spooled
from embsnap.formats.parquet import bytes_of, integers_of
from embsnap.model.vocabulary import BytesIds
from embsnap.storage.spool import Spool
from embsnap.storage.uri import open_store, split_uri

__all__ = ["check_words", "read_word2vec", "words", "write_word2vec"]

_LINES = 1 << 13
_CHUNK_BYTES = 8 << 20
_MAX_LINE_BYTES = 16 << 20
_SPACE, _END, _NOTHING = (pa.scalar(text, pa.large_binary()) for text in (b" ", b"\n", b""))
_SEPARATORS = np.frombuffer(b" \t\n\r\v\f", np.uint8)


def check_words(entities: Entities, where: str) -> None:
    """Refuse ids that no reader of this form could tell from what stands around them.

    Raises:
        IncompatibleError: `not-representable`: there are none, one is empty, or has white space in it.
    """
    ids = entities.ids
    if ids is None:
        raise not_representable(where, "word2vec", "needs an id for every row", "rows by position")
    if isinstance(ids, BytesIds):
        if not (np.diff(ids.offsets) > 0).all():
            raise not_representable(where, "word2vec", "has no empty ids", "one")
        if np.isin(ids.data[ids.offsets[0] : ids.offsets[-1]], _SEPARATORS).any():
            raise not_representable(where, "word2vec", "has no ids with white space in them", "one or more")


def words(entities: Entities, start: int, end: int) -> Any:
    """The ids `[start, end)` as text, in an Arrow array of large_binary."""
    array = entities.id_array(start, end)
    return (array.cast(pa.string()) if pa.types.is_integer(array.type) else array).cast(pa.large_binary())


def write_word2vec(place: Place, entities: Entities, dim: int, dtype: str, card: TableCard, blocks: Blocks) -> None:
    """Write a line for each row, numbers with the fewest digits that give them back."""
    start = 0
    with place.store.writer(place.location) as writer:
        writer.write(f"{len(entities)} {dim}\n".encode())
        for block_ND in blocks:
            for first in range(0, len(block_ND), _LINES):
                rows_ND = block_ND[first : first + _LINES]
                numbers = joined(rows_ND, " ").cast(pa.large_binary())
                ids = words(entities, start, start + len(rows_ND))
                lines = pc.binary_join_element_wise(ids, _SPACE, numbers, _END, _NOTHING)
                _, data = bytes_of(lines)
                writer.write(data.data)
                start += len(rows_ND)


def read_word2vec(uri: str, options: ReadOptions) -> TableContent:
    """Read a file: ids into memory, numbers into a temporary file.

    Raises:
        SnapshotError: `bad-export`: a line is not of an id and D numbers, or there are not N lines.
        IncompatibleError: `bad-vocabulary`: ids are not of the type they are to be.
        NotFoundError, StorageError: It cannot be read; temporary files have no room.
    """
    root, name = split_uri(uri)
    ids = []
    with Spool() as spool, open_store(root, options.storage_options).open(name) as file:
        blocks = _lines(file, uri)
        first = next(blocks, [])
        header = first[0].split() if first else []
        has_header = len(header) == 2 and all(part.isdigit() for part in header)
        first_place = 2 if has_header else 1
        first = first[has_header:] or next(blocks, [])
        dim = int(header[1]) if has_header else _told_dim(uri, first)
        place = first_place
        for lines in chain([first], blocks):
            ids.append(_take_block(uri, lines, dim, place, spool))
            place += len(lines)
        vectors = spooled(spool, dim)
    if has_header and place - first_place != int(header[0]):
        found = place - first_place
        raise bad_file(uri, "has another number of lines than its first line says", header[0].decode(), found)
    id_type, found_ids = ids_of_text(uri, ids, options.id_type, first_place=first_place)
    return TableContent(vectors, "float32", found_ids, id_type)


def _lines(file: BinaryIO, uri: str) -> Iterator[list[bytes]]:
    """The lines of a file without their ends, some thousands at a time."""
    rest = b""
    while chunk := file.read(_CHUNK_BYTES):
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            found = (whole + b"\n").replace(b"\r\n", b"\n").replace(b" \n", b"\n")[:-1].split(b"\n")
            yield from (found[start : start + _LINES] for start in range(0, len(found), _LINES))
        if len(rest) > _MAX_LINE_BYTES:
            raise bad_file(uri, "is no text of vectors", "lines", f"one of more than {_MAX_LINE_BYTES} bytes")
    if rest:
        yield [rest.removesuffix(b"\r").removesuffix(b" ")]


def _told_dim(uri: str, lines: list[bytes]) -> int:
    """D where no line says so: how many numbers the first vector ends in. An id may have spaces, or be a number too."""
    if not lines:
        raise IncompatibleError(ErrorKind.BAD_VOCABULARY, "holds no entity", where=uri, expected="one at least")
    fields = lines[0].split(b" ")
    return min(sum(1 for _ in takewhile(_is_number, reversed(fields))), len(fields) - 1)


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _take_block(uri: str, lines: list[bytes], dim: int, place: int, spool: Spool) -> Any:
    """Put the numbers of some lines into the spool; their ids as an Arrow array."""
    if dim < 1:
        raise bad_file(uri, "has a line that is no vector", "an id and numbers, with spaces between", f"line {place}")
    parts = pc.split_pattern(pa.array(lines, pa.large_binary()), b" ", max_splits=dim, reverse=True)
    lengths = np.diff(integers_of(parts.offsets))
    if (lengths != dim + 1).any():
        at = int(np.argmax(lengths != dim + 1))
        found = f"{int(lengths[at]) - 1} in line {place + at}"
        raise bad_file(uri, "has a line that is no vector", f"an id and {dim} numbers, with spaces between", found)
    values = parts.flatten()
    index = np.arange(len(values)).reshape(-1, dim + 1)
    texts = values.take(pa.array(index[:, 1:].reshape(-1)))
    where = f"lines {place} to {place + len(lines) - 1}"
    try:
        numbers = parsed(texts.cast(pa.large_string()), "float32")
        if np.isinf(numbers).any():
            check_not_lost(numbers, parsed(texts.cast(pa.large_string()), "float64"), f"{uri}, {where}")
        spool.write(numbers.data)
    except pa.ArrowInvalid as error:
        found = f"{' '.join(str(error).split())[:80]} in {where}"
        raise bad_file(uri, "has a number that is none", "numbers such as -0.25", found) from None
    return values.take(pa.array(index[:, 0]))
