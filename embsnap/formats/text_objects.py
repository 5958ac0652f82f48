"""Text files of vocabularies, read whole."""

from __future__ import annotations

import os
from collections.abc import Mapping

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.storage.nearest import read_object

__all__ = ["read_text_object"]


def read_text_object(uri: str, options: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file, which may take up to a quarter of this machine's memory.

    Raises:
        IncompatibleError: `bad-vocabulary`: it is empty.
        NotFoundError: There is none.
        StorageError: It is too large (`object-too-large`), or the storage failed.
    """
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    data = read_object(uri, options, limit=limit)
    if not data:
        raise IncompatibleError(
            ErrorKind.BAD_VOCABULARY,
            "the vocabulary is empty",
            where=uri,
            expected="at least one entity",
            found="an empty file",
            hint="check that whatever wrote the vocabulary has finished",
        )
    return data
