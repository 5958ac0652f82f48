"""Writing a report as one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from embsnap.errors import ErrorKind, RefusedError
from embsnap.report.contents import Report
from embsnap.report.page import page_of
from embsnap.storage.uri import open_store, split_uri

__all__ = ["check_destination", "write_report"]


def check_destination(uri: str, storage_options: Mapping[str, str]) -> None:
    """Refuse a page's name that is taken, before anything is read for it.

    Raises:
        RefusedError: `destination-taken`.
        UsageError: `bad-uri`.
        StorageError: The storage failed.
    """
    root, name = split_uri(uri)
    if open_store(root, storage_options).stat(name) is not None:
        raise RefusedError(
            ErrorKind.DESTINATION_TAKEN,
            "is there already",
            where=uri,
            expected="a file that does not exist",
            found="one that does",
            hint="write to another name, and move it over the old file: readers then never see half of it",
        )


def write_report(
    report: Report, uri: str, storage_options: Mapping[str, str], to_json: Callable[[Report], str]
) -> Report:
    """Write the page of a report: it is there whole, or not at all.

    Args:
        report: What it shows.
        uri: Of the page.
        storage_options: Of its store.
        to_json: What makes JSON of a result.

    Returns:
        The report, which says where it was written.

    Raises:
        RefusedError: `destination-taken`: a file has appeared since.
        StorageError: The disk is full, or the storage failed.
    """
    report = replace(report, destination=uri)
    root, name = split_uri(uri)
    open_store(root, storage_options).create(name, page_of(to_json(report), title=report.source))
    return report
