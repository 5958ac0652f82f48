"""Tables that a fill left half-done: no lookup and no snapshot is made of them until they are filled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from embsnap.errors import ErrorKind, RefusedError
from embsnap.live.tables import LiveTable

__all__ = ["check_filled", "mark_filled", "mark_half_filled"]

_MARK = "_embsnap_half_filled"
"""The attribute of a collection: copies of the model have it too."""


@dataclass(frozen=True, slots=True, eq=False)
class _Mark:
    """That a collection has such tables."""

    tables: set[str]
    hook: RemovableHandle
    """Of what refuses its lookups."""


def mark_half_filled(tables: Iterable[LiveTable]) -> None:
    """From now on every lookup in their collections is refused."""
    for table in tables:
        collection = table.collection
        if not hasattr(collection, _MARK):
            setattr(collection, _MARK, _Mark(set(), collection.register_forward_pre_hook(_refuse)))
        getattr(collection, _MARK).tables.add(table.name)


def mark_filled(tables: Iterable[LiveTable]) -> None:
    """What stopped a lookup in them is over."""
    for table in tables:
        mark = getattr(table.collection, _MARK, None)
        if mark is not None:
            mark.tables.discard(table.name)
            if not mark.tables:
                mark.hook.remove()
                delattr(table.collection, _MARK)


def check_filled(model: nn.Module) -> None:
    """Refuse a model with half-filled tables.

    Raises:
        RefusedError: `half-filled`.
    """
    for module in model.modules():
        if mark := getattr(module, _MARK, None):
            raise RefusedError(
                ErrorKind.HALF_FILLED,
                "a warm start or restore that failed has filled only a part of the rows",
                where=f"table {', '.join(sorted(mark.tables))}",
                expected="filled tables",
                found="old rows and new ones",
                hint="fill the model again, or build it anew",
            )


def _refuse(collection: nn.Module, args: tuple[Any, ...]) -> None:
    check_filled(collection)
