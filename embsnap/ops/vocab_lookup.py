"""The rows of entity ids, and the entity ids of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.vocabulary import VocabularyColumns
from embsnap.formats.vocabulary_lookup import Match, open_vocabulary
from embsnap.model.vocab_inspection import Entity, VocabLookup
from embsnap.model.vocabulary import IdType

__all__ = ["VocabLookupOptions", "look_up"]

_RANGES = {IdType.INT64: (-(2**63), 2**63), IdType.UINT64: (0, 2**64)}
_MAX_ROW = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabLookupOptions:
    """What to look for, and how to read the vocabulary."""

    ids: Sequence[str] = ()
    """As people write them: numbers in decimal digits, strings as they are, binary as `0x` and hexadecimal digits."""
    rows: Sequence[int] = ()
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)


def look_up(uri: str, options: VocabLookupOptions) -> VocabLookup:
    """Find entities by id and by row. What is not there is listed, and no error.

    Raises:
        UsageError: `nothing-to-do`: neither ids nor rows are asked for.
        IncompatibleError: `id-type-mismatch`: an id cannot be one of this vocabulary's type; or as `read_vocabulary`
            says of the columns.
        NotFoundError: No parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    if not options.ids and not options.rows:
        raise UsageError(
            ErrorKind.NOTHING_TO_DO,
            "nothing to look up",
            where=uri,
            expected="at least one id or one row",
            hint="give --id, --row or --ids-from",
        )
    searched = open_vocabulary(uri, columns=options.columns, options=options.storage_options, threads=options.threads)
    id_type = searched.layout.id_type
    ids = {text: _id_of(text, id_type, uri) for text in dict.fromkeys(options.ids)}
    by_value: dict[int | bytes, list[str]] = {}
    for text, value in ids.items():
        if value is not None:
            by_value.setdefault(value, []).append(text)
    rows = list(dict.fromkeys(options.rows))
    storable = [row for row in rows if 0 <= row < _MAX_ROW]
    id_matches, id_groups = searched.with_ids(list(by_value), options.threads)  # type: ignore[arg-type]
    row_matches, row_groups = searched.with_rows(storable, options.threads)
    found_ids = {text for match in id_matches for text in by_value[match.id]}
    found_rows = {match.row for match in row_matches}
    return VocabLookup(
        uri=uri,
        id_type=id_type,
        entities=(*_in_order(id_matches, id_type), *_in_order(row_matches, id_type)),
        missing_ids=tuple(text for text in ids if text not in found_ids),
        missing_rows=tuple(row for row in rows if row not in found_rows),
        num_row_groups=len(searched.row_groups),
        num_row_groups_read=len(id_groups | row_groups),
    )


def _in_order(matches: Iterable[Match], id_type: IdType) -> list[Entity]:
    ordered = sorted(matches, key=lambda match: (match.wanted, match.row))
    return [Entity(_shown(match.id, id_type), match.row, match.count) for match in ordered]


def _shown(value: int | bytes, id_type: IdType) -> int | str:
    if isinstance(value, int):
        return value
    return value.decode("utf-8", "backslashreplace") if id_type is IdType.STRING else f"0x{value.hex()}"


def _id_of(text: str, id_type: IdType, uri: str) -> int | bytes | None:
    """The value that is written so; None if it is a number beyond the type's range, which no entity has."""
    if id_type is IdType.STRING:
        return text.encode("utf-8", "surrogateescape")
    try:
        if id_type is IdType.BINARY:
            return bytes.fromhex(text.removeprefix("0x"))
        value, (start, end) = int(text), _RANGES[id_type]
        return value if start <= value < end else None
    except ValueError:
        expected = "hexadecimal digits, such as 0x00ff" if id_type is IdType.BINARY else "a whole number"
        raise IncompatibleError(
            ErrorKind.ID_TYPE_MISMATCH,
            f"no entity can have this id, as the vocabulary holds {id_type} ids",
            where=uri,
            expected=expected,
            found=repr(text),
        ) from None
