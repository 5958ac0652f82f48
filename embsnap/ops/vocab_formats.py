"""From which format to which one a vocabulary is converted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.nvtabular_files import column_of
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.vocabulary import VocabularyColumns
from embsnap.model.vocab_conversion import VocabFormat
from embsnap.model.vocabulary import IdType
from embsnap.storage.uri import open_store, split_uri

__all__ = ["ConvertOptions", "check_options", "told_source", "told_target"]

_STEP = re.compile(r"@(?:latest|[0-9]+)$")
_SUFFIXES = {
    ".parquet": VocabFormat.PARQUET,
    ".pq": VocabFormat.PARQUET,
    ".csv": VocabFormat.CSV,
    ".tsv": VocabFormat.TSV,
    ".txt": VocabFormat.TEXT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """From what, and to what."""

    source: VocabFormat | None = None
    """None to tell by the URI."""
    target: VocabFormat | None = None
    """None to tell by the destination."""
    column: str | None = None
    """NVTabular's column: which one to read, or the name of the one to write."""
    table: str | None = None
    """Table of the managed collision module."""
    id_type: IdType | None = None
    """Of the ids in text."""
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    """Of a parquet source."""
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)


def told_source(uri: str, options: ConvertOptions) -> VocabFormat:
    """What is at a URI, by its name and, if it is a directory, by what is in there."""
    if column_of(uri) is not None:
        return VocabFormat.NVTABULAR
    told = _by_suffix(uri)
    if told is not None:
        return told
    if options.table is not None or _STEP.search(uri):
        return VocabFormat.ZCH
    store = open_store(uri, options.storage_options)
    if _is_file(uri, options):
        return VocabFormat.PARQUET
    if store.stat(METADATA_LOCATION) is not None:
        return VocabFormat.ZCH
    is_nvtabular = any(column_of(name) is not None for name in store.children())
    return VocabFormat.NVTABULAR if is_nvtabular else VocabFormat.PARQUET


def told_target(out: str | None) -> VocabFormat:
    """What is to be written, by the name of the destination; parquet if there is none.

    Raises:
        UsageError: `bad-option`: the name does not tell.
    """
    told = VocabFormat.PARQUET if out is None else _by_suffix(out)
    if told is None:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "the format to write cannot be told from the destination",
            where=f"--out {out}",
            expected=f"a name that ends in {', '.join(_SUFFIXES)}, or --to",
            found="neither",
        )
    return told


def _is_file(uri: str, options: ConvertOptions) -> bool:
    try:
        root, name = split_uri(uri)
    except UsageError:
        return False
    return open_store(root, options.storage_options).stat(name) is not None


def _by_suffix(uri: str) -> VocabFormat | None:
    return next((found for suffix, found in _SUFFIXES.items() if uri.lower().endswith(suffix)), None)


def check_options(source: VocabFormat, target: VocabFormat, options: ConvertOptions) -> None:
    """Refuse what cannot be written, and options that mean nothing to the two formats.

    Raises:
        UsageError: `bad-option`.
    """
    nvtabular, text = VocabFormat.NVTABULAR, {VocabFormat.TEXT, VocabFormat.CSV, VocabFormat.TSV}
    if target is VocabFormat.ZCH:
        raise _bad_option("--to zch", "managed collision buffers are only read", "another format", "zch")
    if target is nvtabular and options.column is None:
        raise _bad_option("--to nvtabular", "its files are named by a column", "--column NAME", "none")
    if options.column is not None and ("/" in options.column or not options.column):
        raise _bad_option("--column", "no file can be named so", "a name without /", repr(options.column))
    unused = {
        "--column": options.column is not None and nvtabular not in (source, target),
        "--table": options.table is not None and source is not VocabFormat.ZCH,
        "--id-type": options.id_type is not None and source not in text,
        "--vocab-column": options.columns != VocabularyColumns() and source is not VocabFormat.PARQUET,
    }
    for name, is_unused in unused.items():
        if is_unused:
            found = f"from {source} to {target}"
            raise _bad_option(name, "means nothing here", "the formats that it is for", found)


def _bad_option(where: str, problem: str, expected: str, found: str) -> UsageError:
    return UsageError(ErrorKind.BAD_OPTION, problem, where=where, expected=expected, found=found)
