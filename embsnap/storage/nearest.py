"""Names that somebody who mistyped a URI may have meant."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError
from embsnap.storage.base import Store
from embsnap.storage.uri import join_uri, open_store, split_uri

__all__ = ["hint_near", "read_object"]

_MOST = 3


def hint_near(uri: str, options: Mapping[str, str] | None = None) -> str:
    """What to try where there is nothing at `uri`: names like the first part of it that does not exist.

    Costs a listing or two; nothing that goes wrong with them matters.
    """
    missing: list[str] = []
    try:
        while True:
            parent, name = split_uri(uri)
            missing.insert(0, name)
            if names := open_store(parent, options).children():
                break
            uri = parent
    except EmbsnapError:
        return "check the spelling of the URI"
    if f"{name}/" in names:
        return f"there is no file in {uri} yet"
    near = get_close_matches(name, [found.rstrip("/") for found in names], n=_MOST)
    if near:
        return "did you mean " + " or ".join(join_uri(parent, found, *missing[1:]) for found in near)
    return f"check the spelling of the URI; in {parent} there {_are(names)}"


def _are(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_MOST])
    more = len(names) - _MOST
    return f"{'is' if len(names) == 1 else 'are'} {shown}" + (f" and {more} more" if more > 0 else "")


def read_object(uri: str, options: Mapping[str, str] | None = None, *, limit: int) -> bytes:
    """The one small object that `uri` names, whole.

    Raises:
        NotFoundError: There is none, or a directory; names like it are in the hint.
        StorageError: It is larger than `limit` bytes (`object-too-large`), or the storage failed.
        UsageError: `bad-uri`.
    """
    root, name = split_uri(uri)
    try:
        return open_store(root, options).read(name, limit=limit)
    except NotFoundError as error:
        if error.kind is not ErrorKind.NO_SUCH_OBJECT:
            raise
        problem, hint = error.problem, hint_near(uri, options)
        if _is_directory(open_store(root, options), name):
            problem, hint = "is a directory, and a file is needed", "give the URI of a file in it"
        raise NotFoundError(error.kind, problem, where=error.where, hint=hint) from None


def _is_directory(store: Store, name: str) -> bool:
    try:
        return f"{name}/" in store.children()
    except EmbsnapError:
        return False
