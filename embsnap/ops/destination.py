"""A look at the destination of a snapshot, before anything is read or computed for it."""

from __future__ import annotations

from collections.abc import Mapping

from embsnap.formats.torchsnapshot.destination import check_destination
from embsnap.storage.uri import open_store

__all__ = ["check_free"]


def check_free(uri: str | None, storage_options: Mapping[str, str]) -> None:
    """Refuse now what the writer would refuse after all the reading; None is no destination yet.

    Raises:
        RefusedError: `destination-taken`.
        StorageError: The storage failed.
    """
    if uri is not None:
        check_destination(open_store(uri, storage_options))
