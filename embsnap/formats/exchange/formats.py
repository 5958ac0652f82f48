"""The formats by name: what writes and reads each, and what each has no place for."""

from __future__ import annotations

from collections.abc import Callable

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.exchange.arrow import read_arrow, write_arrow
from embsnap.formats.exchange.content import Blocks, Entities, Place, TableCard, TableContent
from embsnap.formats.exchange.csv import check_csv_ids, read_csv_table, write_csv_table
from embsnap.formats.exchange.npy import beside, check_npy_ids, read_npy, write_npy
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.exchange.parquet import read_parquet, write_parquet
from embsnap.formats.exchange.safetensors import read_safetensors, write_safetensors
from embsnap.formats.exchange.word2vec_binary import read_word2vec_binary, write_word2vec_binary
from embsnap.formats.exchange.word2vec_text import check_words, read_word2vec, write_word2vec
from embsnap.model.exchange import ExchangeFormat

__all__ = ["COLUMNAR", "READERS", "WRITERS", "check_entities", "files_of", "told_format"]

COLUMNAR = (ExchangeFormat.PARQUET, ExchangeFormat.ARROW, ExchangeFormat.CSV)
"""Formats with a place for further columns."""

WRITERS: dict[ExchangeFormat, Callable[[Place, Entities, int, str, TableCard, Blocks], None]] = {
    ExchangeFormat.PARQUET: write_parquet,
    ExchangeFormat.ARROW: write_arrow,
    ExchangeFormat.NPY: write_npy,
    ExchangeFormat.SAFETENSORS: write_safetensors,
    ExchangeFormat.CSV: write_csv_table,
    ExchangeFormat.WORD2VEC: write_word2vec,
    ExchangeFormat.WORD2VEC_BINARY: write_word2vec_binary,
}
"""Each takes the place, the entities, D, the element type of the file, the card, and the rows in that type."""

READERS: dict[ExchangeFormat, Callable[[str, ReadOptions], TableContent]] = {
    ExchangeFormat.PARQUET: read_parquet,
    ExchangeFormat.ARROW: read_arrow,
    ExchangeFormat.NPY: read_npy,
    ExchangeFormat.SAFETENSORS: read_safetensors,
    ExchangeFormat.CSV: read_csv_table,
    ExchangeFormat.WORD2VEC: read_word2vec,
    ExchangeFormat.WORD2VEC_BINARY: read_word2vec_binary,
}

_CHECKS: dict[ExchangeFormat, Callable[[Entities, str], None]] = {
    ExchangeFormat.NPY: check_npy_ids,
    ExchangeFormat.CSV: check_csv_ids,
    ExchangeFormat.WORD2VEC: check_words,
    ExchangeFormat.WORD2VEC_BINARY: check_words,
}


def check_entities(target: ExchangeFormat, entities: Entities, where: str) -> None:
    """Refuse ids that a format has no place for.

    Raises:
        IncompatibleError: `not-representable`.
    """
    if target in _CHECKS:
        _CHECKS[target](entities, where)


def files_of(target: ExchangeFormat, location: str, *, has_ids: bool) -> tuple[str, ...]:
    """Every file that a table takes, that of its vectors first."""
    if target is not ExchangeFormat.NPY:
        return (location,)
    return (location, beside(location, "rows"), *([beside(location, "ids")] if has_ids else []))


def told_format(uri: str) -> ExchangeFormat:
    """The format that a name tells; a directory or a glob means parquet.

    Raises:
        UsageError: `bad-option`: the name tells none.
    """
    for found in ExchangeFormat:
        if uri.lower().endswith(found.suffixes):
            return found
    if "." not in uri.rstrip("/").rpartition("/")[2] or "*" in uri:
        return ExchangeFormat.PARQUET
    raise UsageError(
        ErrorKind.BAD_OPTION,
        "its name does not tell what it is",
        where=uri,
        expected=f"a name that ends in {', '.join(found.suffix for found in ExchangeFormat)}",
        hint="say what it is with --format",
    )
