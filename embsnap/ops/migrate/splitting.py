"""The step that makes several tables of one.

Shape suffixes: N entities, P parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embsnap.config.migration_steps import PartConfig, RestRule, SplitStep
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.vocabulary_matches import records_with
from embsnap.kernels.join import join
from embsnap.model.vocabulary import BytesIds, Declared, Ids, IdType, Vocabulary
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, TableDraft
from embsnap.ops.migrate.moving import move_rows
from embsnap.ops.migrate.naming import as_copy, check_free, renamed
from embsnap.ops.migrate.resizing import taken_entities
from embsnap.ops.migrate.undo import Applied
from embsnap.ops.vocabulary_findings import entity_text

__all__ = ["apply_split"]


def apply_split(step: SplitStep, draft: Draft, context: Context) -> Applied:
    """Each part gets its entities' rows, in their order; an entity of two parts is refused."""
    table = draft.table(step.table, context.where)
    vocabulary = context.entities_of(table)
    masks = {name: _mask(part, table, vocabulary, context) for name, part in step.parts.items()}
    taken_N = np.sum(list(masks.values()), axis=0, dtype=np.int64)
    if (taken_N > 1).any():
        raise _conflict(vocabulary, np.flatnonzero(taken_N > 1), "are in several parts", "one part for each", context)
    rest_N = np.flatnonzero(taken_N == 0)
    if not isinstance(step.rest, RestRule):
        masks[step.rest] = taken_N == 0
    elif step.rest is RestRule.REFUSE and len(rest_N):
        hint = "set rest: drop, or rest: <name of another table>"
        raise _conflict(vocabulary, rest_N, "are in no part", "a part for each entity", context, hint)
    result = draft
    for name, mask_N in masks.items():
        if name != step.table:
            check_free(name, result, context)
        result = result.replacing(_part(name, mask_N, table, vocabulary, context))
    if step.table not in masks:
        result = result.without([step.table])
    return Applied(result, f"the old order of the rows of {table.name} is not kept")


def _part(
    name: str, mask_N: NDArray[np.bool_], table: TableDraft, vocabulary: Vocabulary, context: Context
) -> TableDraft:
    kept_N = np.flatnonzero(mask_N)
    if not len(kept_N):
        problem = f"the part {name} has no entity"
        raise IncompatibleError(ErrorKind.ZERO_OVERLAP, problem, where=context.where, expected="at least one")
    order = np.argsort(vocabulary.rows_N[kept_N], kind="stable")
    row_V = vocabulary.rows_N[kept_N][order]
    entities = taken_entities(vocabulary, kept_N[order], np.arange(len(kept_N)))
    entities = replace(entities, declared=Declared(num_rows=len(kept_N)))
    moved = replace(move_rows(table, row_V, None), counts={}).counting(carried=len(kept_N))
    part = moved if name == table.name else as_copy(renamed(moved, name))
    return replace(part, entities=context.made(entities))


def _mask(part: PartConfig, table: TableDraft, vocabulary: Vocabulary, context: Context) -> NDArray[np.bool_]:
    if part.column is not None:
        assert table.entities is not None
        if table.entities.uri is None:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "the vocabulary is made by a step before, and has no further columns",
                where=f"{context.where}, column {part.column}",
                expected="ids or ids_from",
                hint="split first, in another order of steps",
            )
        mask_N = records_with(table.entities.uri, part.column, part.values, options=context.storage_options)
        assert len(mask_N) == len(vocabulary), "both are read in the order of the files"
        values = ", ".join(map(repr, part.values))
        digest = hashlib.sha256(np.packbits(mask_N).data).hexdigest()
        context.inputs[f"{table.entities.uri} {part.column} {values}"] = digest
        return mask_N
    ids, num_listed = _listed_ids(part.ids, vocabulary, context) if part.ids is not None else (None, 0)
    ids = _ids_from(part, vocabulary, context) if ids is None else ids
    found_N = join(
        ids, np.arange(len(ids)), vocabulary.ids, np.arange(len(vocabulary)), len(vocabulary), threads=context.threads
    ).row_V
    num_found = len(np.unique(found_N[found_N >= 0]))
    if num_found < num_listed:
        raise IncompatibleError(
            ErrorKind.ZERO_OVERLAP,
            "an id of the list is not in the vocabulary",
            where=context.where,
            expected=f"ids of {vocabulary.uri}",
            found=f"{num_found} of {num_listed} are",
        )
    return found_N >= 0


def _ids_from(part: PartConfig, vocabulary: Vocabulary, context: Context) -> Ids:
    assert part.ids_from is not None
    other = context.vocabulary(part.ids_from)
    if other.id_type is not vocabulary.id_type:
        raise _type_mismatch(vocabulary, f"{other.id_type} ids in {other.uri}", context)
    return other.ids


def _listed_ids(values: Sequence[int | str], vocabulary: Vocabulary, context: Context) -> tuple[Ids, int]:
    """Ids as people write them: numbers bare, strings in quotes, binary as `0x` and hexadecimal digits.

    Returns them, but for numbers that no id can be, and how many different ones were written.
    """
    is_text = vocabulary.id_type in (IdType.STRING, IdType.BINARY)
    if wrong := [value for value in values if isinstance(value, str) is not is_text]:
        raise _type_mismatch(vocabulary, f"{wrong[0]!r}", context)
    if not is_text:
        is_signed = vocabulary.id_type is IdType.INT64
        limits, numbers = np.iinfo(np.int64 if is_signed else np.uint64), dict.fromkeys(map(int, values))
        inside = [number for number in numbers if limits.min <= number <= limits.max]
        return np.array(inside, np.int64) if is_signed else np.array(inside, np.uint64), len(numbers)
    is_binary = vocabulary.id_type is IdType.BINARY
    texts = map(str, values)
    encoded = list(dict.fromkeys(_digits(text, vocabulary, context) if is_binary else text.encode() for text in texts))
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    return BytesIds(offsets, np.frombuffer(b"".join(encoded), np.uint8)), len(encoded)


def _digits(text: str, vocabulary: Vocabulary, context: Context) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise _type_mismatch(vocabulary, repr(text), context) from None


def _type_mismatch(vocabulary: Vocabulary, found: str, context: Context) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.ID_TYPE_MISMATCH,
        "ids of another type match none",
        where=context.where,
        expected=f"{vocabulary.id_type} ids as in {vocabulary.uri}",
        found=found,
        hint="write numbers bare, strings in quotes, binary as 0x and hexadecimal digits",
    )


def _conflict(
    vocabulary: Vocabulary,
    wrong: NDArray[np.int64],
    problem: str,
    expected: str,
    context: Context,
    hint: str | None = None,
) -> IncompatibleError:
    examples = ", ".join(entity_text(vocabulary, int(i)) for i in wrong[:3])
    return IncompatibleError(
        ErrorKind.CONFLICTING_ENTITIES,
        f"{len(wrong):,} entities {problem}",
        where=context.where,
        expected=expected,
        found=examples,
        hint=hint,
    )
