"""Ids that are written almost alike, and so may be one entity: white space, case, zeros before a number.

Every id's plain form is hashed, block by block; only ids whose plain forms are alike are looked at again.

Shape suffixes: N entities, C candidates: entities whose plain form another entity has too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embsnap.formats.parquet import bytes_of
from embsnap.kernels.hashing import id_words
from embsnap.kernels.rows import MAX_EXAMPLES
from embsnap.kernels.threads import run, split
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import BytesIds, IdType, Vocabulary
from embsnap.ops.vocabulary_findings import entity_text

__all__ = ["LOOK_ALIKE_IDS", "look_alikes"]

LOOK_ALIKE_IDS = "look-alike-ids"
"""Kind of the finding that ids are almost equal."""
_BLOCK = 1 << 18


def look_alikes(vocabulary: Vocabulary, *, threads: int = 1) -> tuple[Finding, ...]:
    """A warning for each way in which string ids are almost equal to another one; none for ids of other types.

    It takes about 24 bytes for each entity, and a few more for each candidate.

    Args:
        vocabulary: As read.
        threads: How many blocks are hashed at a time.
    """
    ids = vocabulary.ids
    if vocabulary.id_type is not IdType.STRING or not isinstance(ids, BytesIds):
        return ()
    words_N = id_words(ids, threads=threads)
    plain_N = np.empty(len(ids), np.uint64)
    blocks = [(start, min(start + _BLOCK, len(ids))) for start in range(0, len(ids), _BLOCK)]
    run([partial(_hash_plain, ids, *block, plain_N) for block in blocks], threads)
    candidates_C, firsts_C = _candidates(words_N, plain_N)
    if not len(candidates_C):
        return ()
    later, earlier = _taken(ids, candidates_C), _taken(ids, firsts_C)
    findings, left = [], pc.not_equal(later, earlier)
    for difference, plain in _DIFFERENCES.items():
        alike = pc.and_(left, pc.equal(plain(later), plain(earlier)))
        left = pc.and_not(left, alike)
        at = np.array(pc.indices_nonzero(alike).to_pylist(), np.int64)
        findings += _finding(vocabulary, difference, candidates_C[at], firsts_C[at])
    return tuple(findings)


def _candidates(
    words_N: NDArray[np.uint64], plain_N: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Entities whose plain form an earlier one has, though written otherwise, and the earlier one of each."""
    changed_N = words_N != plain_N
    if not changed_N.any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    forms = pa.array(plain_N[changed_N])
    parts = []
    for start, end in split(len(plain_N), -(-len(plain_N) // _BLOCK)):
        having = pc.indices_nonzero(pc.is_in(pa.array(plain_N[start:end]), forms))
        parts.append(np.frombuffer(having.buffers()[1], np.uint64, len(having)).astype(np.int64) + start)
    some = np.concatenate(parts)
    order = some[np.argsort(plain_N[some], kind="stable")]
    is_first = np.concatenate([np.ones(1, np.bool_), plain_N[order[1:]] != plain_N[order[:-1]]])
    firsts = order[is_first][np.cumsum(is_first) - 1]
    otherwise = words_N[order] != words_N[firsts]
    by_entity = np.argsort(order[otherwise], kind="stable")
    return order[otherwise][by_entity], firsts[otherwise][by_entity]


def _hash_plain(ids: BytesIds, start: int, end: int, plain_N: NDArray[np.uint64]) -> None:
    offsets, data = bytes_of(_plain(_strings(ids, start, end)))
    plain_N[start:end] = id_words(BytesIds(offsets.astype(np.int64), data))


def _strings(ids: BytesIds, start: int, end: int) -> Any:
    """The ids `[start, end)` as an Arrow array on the same bytes."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(ids.offsets[start : end + 1])), pa.py_buffer(ids.data)]
    return pa.Array.from_buffers(pa.large_string(), end - start, buffers)


def _taken(ids: BytesIds, indices: NDArray[np.int64]) -> Any:
    return _strings(ids, 0, len(ids)).take(pa.array(indices))


def _without_space(strings: Any) -> Any:
    """Trimmed, and with runs of white space inside as one blank."""
    trimmed = pc.utf8_trim_whitespace(strings)
    if pc.any(pc.match_substring_regex(trimmed, r"\s")).as_py():
        return pc.replace_substring_regex(trimmed, r"\s+", " ")
    return trimmed


def _without_zeros(strings: Any) -> Any:
    """Whole numbers without the zeros before them."""
    padded = pc.and_(pc.starts_with(strings, "0"), pc.match_substring_regex(strings, "^0+[0-9]+$"))
    if not pc.any(padded).as_py():
        return strings
    return pc.if_else(padded, pc.replace_substring_regex(strings, "^0+([0-9])", r"\1"), strings)


def _plain(strings: Any) -> Any:
    return _without_zeros(pc.utf8_lower(_without_space(strings)))


_DIFFERENCES = {
    "white space": _without_space,
    "upper and lower case": pc.utf8_lower,
    "zeros before a number": _without_zeros,
    "several of white space, case and zeros": _plain,
}


def _finding(
    vocabulary: Vocabulary, difference: str, later: NDArray[np.int64], earlier: NDArray[np.int64]
) -> list[Finding]:
    count = len(later)
    if not count:
        return []
    pairs = zip(earlier[:MAX_EXAMPLES].tolist(), later[:MAX_EXAMPLES].tolist(), strict=True)
    examples = tuple(
        f"{entity_text(vocabulary, first)} and {entity_text(vocabulary, second)}" for first, second in pairs
    )
    message = f"{count:,} {'id differs' if count == 1 else 'ids differ'} from an earlier one only in {difference}"
    remedy = "if they mean one entity, write its id in one way everywhere"
    return [Finding(Severity.WARNING, LOOK_ALIKE_IDS, vocabulary.uri, message, remedy, count, examples)]
