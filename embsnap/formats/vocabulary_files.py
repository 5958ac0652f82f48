"""Which parquet files a vocabulary URI means: a file, a directory, or a glob."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from embsnap.errors import ErrorKind, NotFoundError, UsageError
from embsnap.formats.copy_claim import check_finished
from embsnap.model.findings import Finding, Severity
from embsnap.storage.base import Store
from embsnap.storage.nearest import hint_near
from embsnap.storage.uri import open_store, split_uri

__all__ = ["FoundFiles", "find_parquet"]

_SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The parquet files that a URI means."""

    store: Store
    locations: tuple[str, ...]
    """Sorted, at least one."""
    findings: tuple[Finding, ...] = ()


def find_parquet(
    uri: str, options: Mapping[str, str] | None = None, *, problem: str = "there is no vocabulary"
) -> FoundFiles:
    """Look up the parquet files of a vocabulary.

    Args:
        uri: A file; a directory, whose `*.parquet` and `*.pq` files are taken at any depth, but for names that begin
            with `.` or `_`; or a glob with `*`, `?`, `[…]` inside names and `**` for any number of directories.
        options: Of the store.
        problem: What to say where there is none.

    Raises:
        NotFoundError: `no-such-object`: there is no such file, or no parquet file there.
        SnapshotError: `unfinished-copy`: some of the directory's files are still missing.
        UsageError: `bad-uri`.
    """
    directory = open_store(uri, options)
    file = _as_file(uri, options)
    if file is not None:
        return file
    if any(character in uri for character in "*?["):
        return _as_glob(uri, options, problem)
    names = [found.location for found in directory.list()]
    visible = [name for name in names if not any(part.startswith((".", "_")) for part in name.split("/"))]
    parquet = tuple(name for name in visible if name.endswith(_SUFFIXES))
    if not parquet:
        hint = None if names else hint_near(uri, options)
        raise _nothing(problem, uri, "a directory of *.parquet or *.pq files", names, hint)
    check_finished(uri, names, parquet)
    others = [name for name in visible if not name.endswith(_SUFFIXES)]
    return FoundFiles(directory, parquet, (_others(uri, others),) if others else ())


def _as_file(uri: str, options: Mapping[str, str] | None) -> FoundFiles | None:
    try:
        root, name = split_uri(uri)
    except UsageError:
        return None
    store = open_store(root, options)
    return FoundFiles(store, (name,)) if store.stat(name) is not None else None


def _as_glob(uri: str, options: Mapping[str, str] | None, problem: str) -> FoundFiles:
    first = min(uri.find(character) for character in "*?[" if character in uri)
    slash = uri.rfind("/", 0, first)
    root, pattern = (uri[:slash] or "/", uri[slash + 1 :]) if slash >= 0 else (".", uri)
    store = open_store(root, options)
    names = [found.location for found in store.list()]
    matching = tuple(name for name in names if _matches(name.split("/"), pattern.split("/")))
    if not matching:
        raise _nothing(problem, uri, f"files that match {pattern!r} under {root}", names)
    check_finished(uri, names, matching)
    return FoundFiles(store, matching)


def _matches(parts: list[str], patterns: list[str]) -> bool:
    """Whether a location fits a glob; hidden names are matched only by a pattern that begins as they do."""
    if not patterns or not parts:
        return parts == patterns or patterns == ["**"]
    head, *rest = patterns
    hidden = parts[0].startswith((".", "_")) and not head.startswith(parts[0][0])
    if head == "**":
        return _matches(parts, rest) or (not hidden and _matches(parts[1:], patterns))
    return not hidden and fnmatchcase(parts[0], head) and _matches(parts[1:], rest)


def _nothing(problem: str, uri: str, expected: str, names: list[str], hint: str | None = None) -> NotFoundError:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return NotFoundError(
        ErrorKind.NO_SUCH_OBJECT,
        problem,
        where=uri,
        expected=f"a parquet file, or {expected}",
        found=shown or "nothing",
        hint=hint or "check the path; a glob in quotes takes files of any name",
    )


def _others(uri: str, names: list[str]) -> Finding:
    return Finding(
        Severity.NOTE,
        "other-files",
        uri,
        f"files beside the parquet files were not read: {len(names)}",
        "give a glob if they belong to the vocabulary",
        len(names),
        tuple(names[:5]),
    )
