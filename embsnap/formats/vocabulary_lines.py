"""Text vocabularies as TensorFlow reads them: the number of a line, from 0, is the row of the id in it.

`tf.lookup.TextFileInitializer(path, …, TextFileIndex.WHOLE_LINE, …, TextFileIndex.LINE_NUMBER)`. TensorFlow drops
carriage returns wherever they stand, takes an empty line for the id "", and refuses an id in two lines; what these
leave in doubt is refused here.

Shape suffixes: N lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.id_text import parse_ids, text_array, text_of
from embsnap.formats.parquet import bytes_of
from embsnap.formats.text_objects import read_text_object
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import BytesIds, IdType, Vocabulary
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["read_lines", "write_lines"]

_LINES_PER_WRITE = 1 << 18
_BOM = b"\xef\xbb\xbf"
_NEWLINE, _RETURN = 10, 13


def read_lines(uri: str, id_type: IdType = IdType.STRING, *, options: Mapping[str, str] | None = None) -> Vocabulary:
    """Read a text vocabulary.

    Args:
        uri: Of the file.
        id_type: What the lines stand for: `string` as they are, or numbers.
        options: Of the store.

    Raises:
        IncompatibleError: `bad-vocabulary`: a line is empty, holds a carriage return, or is no UTF-8 or no number.
        NotFoundError, StorageError: The file cannot be read.
    """
    data = np.frombuffer(read_text_object(uri, options), np.uint8)
    if data[:3].tobytes() == _BOM:
        raise _bad(uri, "begins with a byte order mark", "UTF-8 without one", "it in line 1")
    ends_N = np.flatnonzero(data == _NEWLINE)
    if data[-1] != _NEWLINE:
        ends_N = np.append(ends_N, len(data))
    findings, is_text = _returns(uri, data, ends_N)
    lengths_N = np.diff(ends_N, prepend=-1) - 1 - (0 if not findings else 1)
    if not lengths_N.all():
        line = int(np.flatnonzero(lengths_N == 0)[0]) + 1
        raise _bad(uri, "has an empty line", "an id in every line", f"nothing in line {line}")
    offsets = np.zeros(len(ends_N) + 1, np.int64)
    np.cumsum(lengths_N, out=offsets[1:])
    try:
        text = text_array(BytesIds(offsets, data[is_text]))
    except (pa.ArrowInvalid, ValueError) as error:
        raise _bad(uri, "is no text", "UTF-8", str(error)) from None
    ids = parse_ids(text, id_type, where=uri, first_place=1)
    return Vocabulary(uri, id_type, ids, np.arange(len(ends_N)), findings=findings)


def write_lines(vocabulary: Vocabulary, uri: str, *, options: Mapping[str, str] | None = None) -> str:
    """Write a text vocabulary.

    Args:
        vocabulary: Entities in ascending order of their rows.
        uri: Of the file.
        options: Of the store.

    Returns:
        Its URI. It is visible only once it is whole.

    Raises:
        IncompatibleError: `not-representable`: rows are left out or do not begin at 0, or an id cannot be a line.
        RefusedError: `destination-taken`.
        StorageError: The disk is full, or the storage failed.
    """
    if vocabulary.id_type is IdType.BINARY:
        raise _not_a_line(vocabulary, "binary ids have no text", "string or integer ids", vocabulary.id_type)
    wrong = np.flatnonzero(vocabulary.rows_N != np.arange(len(vocabulary)))
    if len(wrong):
        found = f"row {vocabulary.rows_N[wrong[0]]} where line {wrong[0] + 1} stands for row {wrong[0]}"
        raise _not_a_line(vocabulary, "a line is a row, so that none can be left out", "rows 0, 1, 2, …", found)
    root, name = split_uri(uri)
    with open_store(root, options).writer(name) as writer:
        for start in range(0, len(vocabulary), _LINES_PER_WRITE):
            text = text_of(vocabulary.ids, start, min(start + _LINES_PER_WRITE, len(vocabulary)))
            _check_lines(vocabulary, text, start)
            newline = pa.scalar("\n", pa.large_string())
            _, data = bytes_of(pc.binary_join_element_wise(text, pa.scalar("", pa.large_string()), newline))
            writer.write(data.tobytes())
    return join_uri(root, name)


def _returns(
    uri: str, data: NDArray[np.uint8], ends_N: NDArray[np.intp]
) -> tuple[tuple[Finding, ...], NDArray[np.bool_]]:
    """A note if every line ends in a carriage return, and which bytes are the lines' text."""
    is_return = data == _RETURN
    num_returns = int(np.count_nonzero(is_return))
    is_text = data != _NEWLINE
    if not num_returns:
        return (), is_text
    if num_returns != len(ends_N) or not is_return[ends_N - 1].all():
        first = int(np.searchsorted(ends_N, np.flatnonzero(is_return)[0])) + 1
        raise _bad(uri, "has carriage returns", "lines that end in a newline, all of them", f"one in line {first}")
    message = "its lines end in a carriage return, which is not taken for a part of the ids"
    return (Finding(Severity.NOTE, "carriage-returns", uri, message, count=num_returns),), is_text & ~is_return


def _check_lines(vocabulary: Vocabulary, text: Any, start: int) -> None:
    breaks = pc.or_(pc.match_substring_regex(text, "[\r\n]"), pc.equal(text, ""))
    if pc.any(breaks).as_py():
        wrong = breaks.to_pylist().index(True)
        found = f"{text[wrong].as_py()!r:.80} in row {start + wrong}"
        raise _not_a_line(vocabulary, "an id cannot be a line", "ids that are not empty and have no line break", found)
    if start == 0 and text[0].as_py().startswith("\ufeff"):
        raise _not_a_line(vocabulary, "its first id begins with a byte order mark", "another id", "it in row 0")


def _bad(uri: str, problem: str, expected: str, found: str) -> IncompatibleError:
    hint = "write the file again, one id in each line"
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=uri, expected=expected, found=found, hint=hint)


def _not_a_line(vocabulary: Vocabulary, problem: str, expected: str, found: str) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.NOT_REPRESENTABLE,
        problem,
        where=vocabulary.uri,
        expected=expected,
        found=found,
        hint="convert it to csv or parquet, which name the row of each id",
    )
