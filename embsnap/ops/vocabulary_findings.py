"""What is wrong with a vocabulary, in words: how many times, and which entities for example."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.join import Duplicates
from embsnap.kernels.rows import RowCheck
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import BytesIds, IdType, Vocabulary

__all__ = ["ROW_GAPS", "duplicate_ids", "entity_text", "gaps", "refuse_errors", "row_errors"]

ROW_GAPS = "row-gaps"
"""Kind of the finding that some rows have no entity."""
_TEXT_LENGTH = 80


def entity_text(vocabulary: Vocabulary, index: int) -> str:
    """The id of entity `index` as people write it: a number, a quoted string, or `0x` and hex for binary."""
    ids = vocabulary.ids
    if not isinstance(ids, BytesIds):
        return str(int(ids[index]))
    value = ids[index]
    is_string = vocabulary.id_type is IdType.STRING
    text = repr(value.decode("utf-8", "backslashreplace")) if is_string else f"0x{value.hex()}"
    return text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH - 1]}…"


def duplicate_ids(vocabulary: Vocabulary, duplicates: Duplicates) -> list[Finding]:
    """An error if an entity id stands in the vocabulary more than once."""
    if not duplicates.count:
        return []
    message = f"{_entities_have(duplicates.count)} an id that an earlier entity has already"
    examples = tuple(f"{entity_text(vocabulary, i)} (row {vocabulary.rows_N[i]})" for i in duplicates.examples)
    return [
        _error(vocabulary, ErrorKind.DUPLICATE_IDS, message, "keep one row for each id", duplicates.count, examples)
    ]


def row_errors(vocabulary: Vocabulary, check: RowCheck, num_rows: int | None, *, remedy: str) -> list[Finding]:
    """An error for rows beyond the table of `num_rows` rows, and one for rows that several entities have.

    Args:
        vocabulary: As read.
        check: What `embsnap.kernels.rows.check_rows` says about it.
        num_rows: Of the table; None if it has as many as it needs.
        remedy: Of rows beyond the table.
    """
    found = []
    if check.num_out_of_range:
        whose = "no table has" if num_rows is None else f"a table of {num_rows} rows does not have"
        message = f"{_entities_have(check.num_out_of_range)} a row that {whose}"
        examples = tuple(
            f"row {vocabulary.rows_N[i]} of {entity_text(vocabulary, i)}" for i in check.out_of_range_examples
        )
        remedy = f"the largest row is {check.max_row}{remedy and ': '}{remedy}"
        count = check.num_out_of_range
        found.append(_error(vocabulary, ErrorKind.ROW_OUT_OF_RANGE, message, remedy, count, examples))
    if check.num_duplicates:
        message = f"{_entities_have(check.num_duplicates)} a row that an earlier entity has already"
        examples = tuple(_shared_row(vocabulary, i) for i in check.duplicate_examples)
        remedy, count = "give each entity a row of its own", check.num_duplicates
        found.append(_error(vocabulary, ErrorKind.DUPLICATE_ROWS, message, remedy, count, examples))
    return found


def gaps(
    vocabulary: Vocabulary, check: RowCheck, num_rows: int | None, reserved: tuple[int, int] | None, severity: Severity
) -> list[Finding]:
    """A finding if rows below the largest one in the table have no entity and are not reserved, `[start, end)`."""
    if not check.num_gap_rows:
        return []
    rows_N = vocabulary.rows_N
    last = check.max_row if not check.num_out_of_range else int(rows_N[rows_N < (num_rows or 0)].max(initial=-1))
    start, end = reserved or (0, 0)
    end = min(end, last + 1)
    num_held = len(np.unique(rows_N[(rows_N >= start) & (rows_N < end)])) if start < end else 0
    count = check.num_gap_rows - max(0, end - start - num_held)
    if not count:
        return []
    examples = tuple(f"rows [{first}, {stop})" for first, stop in _outside(check.gap_examples, start, end))
    verb = "row has" if count == 1 else "rows have"
    message = f"{count:,} {verb} no entity, while later rows have one"
    remedy = "number the entities without gaps, or declare the rows as reserved"
    return [Finding(severity, ROW_GAPS, vocabulary.uri, message, remedy, count, examples)]


def refuse_errors(findings: Iterable[Finding]) -> None:
    """Do nothing unless one of the findings is an error.

    Raises:
        IncompatibleError: Of the first error's kind; further errors are named in its text, with their examples.
    """
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if not errors:
        return
    first, *others = errors
    problem = "; ".join([first.message, *map(_in_words, others)])
    raise IncompatibleError(
        ErrorKind(first.kind), problem, where=first.place, found=", ".join(first.examples), hint=first.remedy
    )


def _in_words(error: Finding) -> str:
    examples = f" ({', '.join(error.examples)})" if error.examples else ""
    return f"{error.place}: {error.message}{examples}"


def _shared_row(vocabulary: Vocabulary, index: int) -> str:
    row = vocabulary.rows_N[index]
    first = int(np.argmax(vocabulary.rows_N == row))
    return f"row {row} of {entity_text(vocabulary, first)} and {entity_text(vocabulary, index)}"


def _outside(ranges: Iterable[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """What of half-open ranges is not in `[start, end)`."""
    if start >= end:
        return list(ranges)
    cut = [part for first, stop in ranges for part in ((first, min(stop, start)), (max(first, end), stop))]
    return [(first, stop) for first, stop in cut if first < stop]


def _entities_have(count: int) -> str:
    return "1 entity has" if count == 1 else f"{count:,} entities have"


def _error(
    vocabulary: Vocabulary, kind: ErrorKind, message: str, remedy: str, count: int, examples: tuple[str, ...]
) -> Finding:
    return Finding(Severity.ERROR, kind.value, vocabulary.uri, message, remedy, count, examples)
