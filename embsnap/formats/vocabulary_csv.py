"""Vocabularies as comma- or tab-separated text: a header `id,row` or `id,row,count`, then one entity in each line.

Ids that are text are quoted when written, numbers are not: that is how one is told from the other when read. Files
of other makes that quote nothing hold numbers if every id is one as it is usually written (`7`, not `007`); where
everything is quoted and every id is a number, the type must be given.

Shape suffixes: N entities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.id_text import are_numbers, parse_ids, text_of
from embsnap.formats.parquet import bytes_of, integers_of
from embsnap.formats.text_objects import read_text_object
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["read_csv", "write_csv"]

_ROWS_PER_WRITE = 1 << 17
_MAX_RECORD_BYTES = 1 << 20
_COLUMNS = ("id", "row", "count")


def read_csv(
    uri: str, *, delimiter: str, id_type: IdType | None = None, options: Mapping[str, str] | None = None
) -> Vocabulary:
    """Read such a file.

    Args:
        uri: Of the file.
        delimiter: Between fields.
        id_type: Of the ids; None to tell by how they are written.
        options: Of the store.

    Raises:
        IncompatibleError: `bad-vocabulary`: the header lacks a column, a field is missing or no number, a row or count
            is negative, or it cannot be told whether ids are text or numbers.
        NotFoundError, StorageError: The file cannot be read.
    """
    data = read_text_object(uri, options)
    header = _first_record(data, 0, delimiter)
    names = {name.lower(): name for name, _ in header[0]}
    missing = [name for name in ("id", "row") if name not in names]
    if missing or len(names) != len(header[0]):
        found = delimiter.join(name for name, _ in header[0])
        raise _bad(uri, "has no header that names its columns", "id, row and, if there is one, count", found)
    columns = {name: names[name] for name in _COLUMNS if name in names}
    table = _parse(uri, data, delimiter, columns)
    text = _one(table[columns["id"]])
    if not len(text):
        raise _bad(uri, "the vocabulary is empty", "at least one entity", "a header alone")
    if id_type is None:
        record, _ = _first_record(data, header[1], delimiter)
        quoted = dict(zip((name.lower() for name, _ in header[0]), (quoted for _, quoted in record), strict=False))
        id_type = _told_type(uri, text, id_quoted=quoted["id"], row_quoted=quoted.get("row", False))
    numbers = {name: _numbers(uri, name, _one(table[columns[name]])) for name in columns if name != "id"}
    others = [name for name, _ in header[0] if name.lower() not in _COLUMNS]
    ids = parse_ids(text, id_type, where=uri, first_place=2)
    findings = (_others(uri, others),) if others else ()
    return Vocabulary(uri, id_type, ids, numbers["row"], numbers.get("count"), findings=findings)


def write_csv(vocabulary: Vocabulary, uri: str, *, delimiter: str, options: Mapping[str, str] | None = None) -> str:
    """Write such a file, in the vocabulary's order.

    Args:
        vocabulary: Its ids, rows and, where it has them, counts are written.
        uri: Of the file.
        delimiter: Between fields.
        options: Of the store.

    Returns:
        Its URI. It is visible only once it is whole.

    Raises:
        IncompatibleError: `not-representable`: ids are binary.
        RefusedError: `destination-taken`.
        StorageError: The disk is full, or the storage failed.
    """
    if vocabulary.id_type is IdType.BINARY:
        raise IncompatibleError(
            ErrorKind.NOT_REPRESENTABLE,
            "binary ids have no text",
            where=vocabulary.uri,
            expected="string or integer ids",
            found=vocabulary.id_type,
            hint="convert it to parquet",
        )
    root, name = split_uri(uri)
    with open_store(root, options).writer(name) as writer:
        columns = _COLUMNS if vocabulary.counts_N is not None else _COLUMNS[:2]
        writer.write(f"{delimiter.join(columns)}\n".encode())
        for start in range(0, len(vocabulary), _ROWS_PER_WRITE):
            end = min(start + _ROWS_PER_WRITE, len(vocabulary))
            _, data = bytes_of(_lines(vocabulary, start, end, delimiter))
            writer.write(data.tobytes())
    return join_uri(root, name)


def _lines(vocabulary: Vocabulary, start: int, end: int, delimiter: str) -> Any:
    parts: list[Any] = [text_of(vocabulary.ids, start, end)]
    if vocabulary.id_type is IdType.STRING:
        parts = ['"', pc.replace_substring(parts[0], '"', '""'), '"']
    for values in (vocabulary.rows_N, vocabulary.counts_N):
        if values is not None:
            parts += [delimiter, pa.array(values[start:end]).cast(pa.large_string())]
    texts = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in (*parts, "\n", "")]
    return pc.binary_join_element_wise(*texts)


def _parse(uri: str, data: bytes, delimiter: str, columns: Mapping[str, str]) -> Any:
    types = {name: pa.large_string() if role == "id" else pa.int64() for role, name in columns.items()}
    try:
        return csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[], strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        found = " ".join(str(error).split())[:200]
        raise _bad(uri, "cannot be read", "an id, a row and, if there is one, a count in every line", found) from None


def _one(column: Any) -> Any:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _numbers(uri: str, name: str, array: Any) -> NDArray[np.int64]:
    values = integers_of(array).copy()
    if values.min(initial=0) < 0:
        at = int(np.flatnonzero(values < 0)[0])
        raise _bad(uri, f"has a negative {name}", "0 or more", f"{values[at]} in line {at + 2}")
    return values


def _told_type(uri: str, text: Any, *, id_quoted: bool, row_quoted: bool) -> IdType:
    kinds = [kind for kind in (IdType.INT64, IdType.UINT64) if are_numbers(text, kind)]
    if not kinds or (id_quoted and not row_quoted):
        return IdType.STRING
    if id_quoted:
        found = "every id is a number, and everything is quoted"
        raise _bad(uri, "does not tell whether its ids are text or numbers", "one of them", found)
    return kinds[0]


def _first_record(data: bytes, start: int, delimiter: str) -> tuple[list[tuple[str, bool]], int]:
    """The fields of the record that begins at `start`, each with whether it is quoted; and where the next begins."""
    fields: list[tuple[str, bool]] = []
    piece = data[start : start + _MAX_RECORD_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
    at, quoted, inside, value = 0, False, False, ""
    while at < len(piece) and (inside or piece[at] not in "\r\n"):
        character = piece[at]
        if character == '"':
            quoted, inside = True, not inside
        elif character == delimiter and not inside:
            fields.append((value, quoted))
            quoted, value = False, ""
        else:
            value += character
        at += 1
    consumed = len(piece[:at].encode()) + len(piece[at : at + 2]) - len(piece[at : at + 2].lstrip("\r\n"))
    bom = 3 if data[start : start + 3] == b"\xef\xbb\xbf" else 0
    return [*fields, (value, quoted)], start + bom + consumed


def _others(uri: str, names: list[str]) -> Finding:
    message = f"columns beside id, row and count were not read: {len(names)}"
    return Finding(Severity.NOTE, "other-columns", uri, message, "", len(names), tuple(names[:5]))


def _bad(uri: str, problem: str, expected: str, found: str) -> IncompatibleError:
    hint = "say what the ids are with --id-type, or write the file again with a header id,row,count"
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=uri, expected=expected, found=found, hint=hint)
