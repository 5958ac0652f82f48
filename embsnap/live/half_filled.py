"""Tables that a fill left half-done: no lookup and no snapshot is made of them until they are filled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.utils.hooks import RemovableHandle

from embsnap.errors import ErrorKind, RefusedError
from embsnap.live.tables import LiveTable

__all__ = ["check_filled", "mark_filled", "mark_half_filled"]

_marked: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()
"""Names of such tables, by collection."""
_hooks: WeakKeyDictionary[nn.Module, RemovableHandle] = WeakKeyDictionary()


def mark_half_filled(tables: Iterable[LiveTable]) -> None:
    """From now on every lookup in their collections is refused."""
    for table in tables:
        collection = table.collection
        _marked.setdefault(collection, set()).add(table.name)
        if collection not in _hooks:
            _hooks[collection] = collection.register_forward_pre_hook(_refuse)


def mark_filled(tables: Iterable[LiveTable]) -> None:
    """What stopped a lookup in them is over."""
    for table in tables:
        names = _marked.get(table.collection, set())
        names.discard(table.name)
        if not names and table.collection in _hooks:
            _hooks.pop(table.collection).remove()


def check_filled(model: nn.Module) -> None:
    """Refuse a model with half-filled tables.

    Raises:
        RefusedError: `half-filled`.
    """
    for module in model.modules():
        if names := _marked.get(module):
            raise RefusedError(
                ErrorKind.HALF_FILLED,
                "a warm start or restore that failed has filled only a part of the rows",
                where=f"table {', '.join(sorted(names))}",
                expected="filled tables",
                found="old rows and new ones",
                hint="fill the model again, or build it anew",
            )


def _refuse(collection: nn.Module, args: tuple[Any, ...]) -> None:
    check_filled(collection)
