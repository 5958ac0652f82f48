"""Entity ids as text: decimal numbers, or UTF-8 as it stands.

Shape suffixes: N ids.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.parquet import bytes_of, integers_of
from embsnap.model.vocabulary import BytesIds, Ids, IdType

__all__ = ["MAX_ID_BYTES", "are_numbers", "parse_ids", "text_array", "text_of"]

MAX_ID_BYTES = 1 << 16
"""An entity id longer than this is taken for a mistake."""
_NUMBERS = {IdType.INT64: pa.int64(), IdType.UINT64: pa.uint64()}


def text_array(ids: BytesIds) -> Any:
    """Byte strings as an Arrow array of large strings, their bytes not copied.

    Raises:
        ValueError: They are not UTF-8.
    """
    buffers = [None, pa.py_buffer(np.ascontiguousarray(ids.offsets)), pa.py_buffer(np.ascontiguousarray(ids.data))]
    array = pa.Array.from_buffers(pa.large_string(), len(ids), buffers)
    array.validate(full=True)
    return array


def text_of(ids: Ids, start: int, end: int) -> Any:
    """The ids `[start, end)` as an Arrow array of large strings."""
    if isinstance(ids, BytesIds):
        return text_array(BytesIds(ids.offsets[start : end + 1], ids.data))
    return pa.array(ids[start:end]).cast(pa.large_string())


def are_numbers(text: Any, id_type: IdType) -> bool:
    """Whether all texts of an Arrow array are numbers of a type, as usually written: `-7`, not `007` or `+7`."""
    try:
        return bool(pc.all(pc.equal(text.cast(_NUMBERS[id_type]).cast(text.type), text)).as_py())
    except pa.ArrowInvalid:
        return False


def parse_ids(text: Any, id_type: IdType, *, where: str, first_place: int) -> Ids:
    """The ids that texts stand for.

    Args:
        text: Arrow array of large strings, no nulls.
        id_type: What they are to be; `binary` takes their bytes.
        where: URI for messages.
        first_place: Number of the line of the first one, for messages.

    Raises:
        IncompatibleError: `bad-vocabulary`: one is no number of that type, or too long.
    """
    if id_type not in _NUMBERS:
        offsets, data = bytes_of(text)
        longest = int(np.diff(offsets).max(initial=0))
        if longest > MAX_ID_BYTES:
            raise _bad(
                where, "does not look like entity ids", f"ids of at most {MAX_ID_BYTES} bytes", f"one of {longest}"
            )
        return BytesIds(offsets.astype(np.int64), data)
    if not are_numbers(text, id_type):
        place, value = next(
            (first_place + i, value)
            for i, value in enumerate(text.to_pylist())
            if not are_numbers(pa.array([value], text.type), id_type)
        )
        found = f"{value!r:.80} in line {place}"
        raise _bad(where, "holds an id that is no such number", f"{id_type} ids, such as 42", found)
    return integers_of(text.cast(_NUMBERS[id_type])).copy()


def _bad(where: str, problem: str, expected: str, found: str) -> IncompatibleError:
    hint = "say what the ids are with --id-type: int64, uint64 or string"
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=where, expected=expected, found=found, hint=hint)
