"""Typed access to the fields of untrusted JSON, with the place in every complaint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.storage.base import check_location

__all__ = ["Fields"]

_MAX_INTEGER = (1 << 63) - 1


class Fields:
    """One JSON object. What is asked for is checked; what is not asked for is `extra`."""

    def __init__(self, value: object, where: str) -> None:
        """Wrap `value`, found at `where`.

        Raises:
            SnapshotError: `bad-metadata`: it is no object.
        """
        if type(value) is not dict:
            _refuse(where, "an object", value)
        self._fields: Mapping[str, Any] = value
        self._where = where
        self._known: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all fields."""
        return tuple(self._fields)

    def text(self, name: str) -> str:
        """A string."""
        value = self._get(name)
        return value if type(value) is str else _refuse(self._at(name), "a string", value)

    def integer(self, name: str, *, minimum: int = 0) -> int:
        """An integer from `minimum` to 2^63 - 1."""
        value = self._get(name)
        if type(value) is not int or not minimum <= value <= _MAX_INTEGER:
            _refuse(self._at(name), f"an integer ≥ {minimum}", value)
        return value

    def hex(self, name: str, num_digits: int) -> str:
        """Exactly `num_digits` lower-case hex digits."""
        return _hex(self._get(name), self._at(name), num_digits)

    def hexes(self, name: str, num_digits: int) -> tuple[str, ...]:
        """A list of them."""
        return tuple(_hex(value, self._at(name), num_digits) for value in self._list(name))

    def child(self, name: str) -> Fields:
        """An object."""
        return Fields(self._get(name), self._at(name))

    def children(self, name: str) -> Iterator[tuple[str, Fields]]:
        """An object whose values are objects."""
        child = self.child(name)
        return ((key, child.child(key)) for key in child.names)

    def items(self, name: str) -> Iterator[Fields]:
        """A list of objects."""
        return (Fields(value, f"{self._at(name)}[{index}]") for index, value in enumerate(self._list(name)))

    def extra(self, *also_known: str) -> Mapping[str, Any]:
        """The fields that were not asked for."""
        known = self._known.union(also_known)
        return {name: value for name, value in self._fields.items() if name not in known}

    def safe_location(self, location: str) -> None:
        """Check that `location`, which names this object, stays inside the snapshot."""
        check_location(location, where=self._where)

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        return value if type(value) is list else _refuse(self._at(name), "a list", value)

    def _get(self, name: str) -> Any:
        self._known.add(name)
        return self._fields.get(name)

    def _at(self, name: str) -> str:
        return f"{self._where}.{name}"[:200]


def _hex(value: object, where: str, num_digits: int) -> str:
    if type(value) is str and len(value) == num_digits and re.fullmatch("[0-9a-f]+", value, re.ASCII):
        return value
    return _refuse(where, f"{num_digits} lower-case hex digits", value)


def _refuse(where: str, expected: str, value: object) -> NoReturn:
    found = "nothing" if value is None else repr(value)[:80]
    hint = "delete the sidecar to go on without it"
    raise SnapshotError(
        ErrorKind.BAD_METADATA,
        "a field of the sidecar is wrong",
        where=where,
        expected=expected,
        found=found,
        hint=hint,
    )
