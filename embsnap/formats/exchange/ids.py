"""Entity ids in and out of files.

Shape suffixes: N ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.id_arrays import concat_ids
from embsnap.formats.id_text import are_numbers, parse_ids
from embsnap.formats.parquet import bytes_of, integers_of
from embsnap.model.vocabulary import BytesIds, Ids, IdType

__all__ = ["ids_of_arrays", "ids_of_text", "not_representable", "told_type"]


def ids_of_arrays(where: str, arrays: Sequence[Any], id_type: IdType) -> Ids:
    """One array of the ids in Arrow arrays without nulls.

    Raises:
        IncompatibleError: `bad-vocabulary`: there is none.
    """
    if not sum(map(len, arrays)):
        problem, expected = "holds no entity", "one at least"
        raise IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=where, expected=expected)
    return concat_ids([_ids(array, id_type) for array in arrays if len(array)])


def _ids(array: Any, id_type: IdType) -> Ids:
    if id_type in (IdType.INT64, IdType.UINT64):
        numbers_N: NDArray[Any] = integers_of(array).astype(np.int64 if id_type is IdType.INT64 else np.uint64)
        return numbers_N
    offsets, data = bytes_of(array)
    return BytesIds(offsets.astype(np.int64), data)


def ids_of_text(where: str, texts: Sequence[Any], id_type: IdType | None, *, first_place: int) -> tuple[IdType, Ids]:
    """What ids stand for that are written as text.

    Args:
        where: URI for messages.
        texts: Arrow arrays of large_binary, without nulls.
        id_type: What they are to be; None for strings.
        first_place: Number of the line of the first one, for messages.

    Raises:
        IncompatibleError: `bad-vocabulary`: one is no such number, too long, or no UTF-8 where strings are wanted.
    """
    id_type = id_type or IdType.STRING
    parts: list[Ids] = []
    for array in texts:
        if not len(array):
            continue
        if id_type is IdType.BINARY:
            offsets, data = bytes_of(array)
            parts.append(BytesIds(offsets.astype(np.int64), data))
        else:
            parts.append(parse_ids(_as_text(where, array, first_place), id_type, where=where, first_place=first_place))
        first_place += len(array)
    if not parts:
        raise IncompatibleError(ErrorKind.BAD_VOCABULARY, "holds no entity", where=where, expected="one at least")
    return id_type, concat_ids(parts)


def told_type(texts: Sequence[Any]) -> IdType:
    """Integers where every text of some Arrow arrays is one as usually written, else strings."""
    kinds = (kind for kind in (IdType.INT64, IdType.UINT64) if all(are_numbers(text, kind) for text in texts))
    return next(kinds, IdType.STRING)


def _as_text(where: str, array: Any, first_place: int) -> Any:
    try:
        return array.cast(pa.large_string())
    except pa.ArrowInvalid as error:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "holds an id that is no UTF-8",
            where=where,
            expected="text",
            found=f"{' '.join(str(error).split())[:80]} from line {first_place} on",
            hint="read the ids as bytes with --id-type binary",
        ) from None


def not_representable(where: str, target: str, problem: str, found: object = None) -> IncompatibleError:
    """Ids that a format has no place for."""
    hint = "choose another format, such as parquet"
    return IncompatibleError(
        ErrorKind.NOT_REPRESENTABLE, f"{target} {problem}", where=where, expected="other ids", found=found, hint=hint
    )
