"""The processes that plan one warm start together, and what each of them wants to know of it.

One process that plans alone is a peer of nobody: what it sends comes back to itself.

Shape suffixes: R peers, N items to send, M items received.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from embsnap.errors import ErrorKind, StorageError

__all__ = ["ALONE", "WHOLE", "Peers", "RowRange", "Share", "alike", "together"]

T = TypeVar("T")
RowRange = tuple[int, int]
"""Half-open."""


class Peers(Protocol):
    """All processes of a job; each calls the same methods in the same order."""

    rank: int
    """This process's number in `[0, size)`."""
    size: int

    def agree(self, step: Callable[[], T]) -> list[T]:
        """Take a step in every process; what each one's returned, by rank. What fails in one is raised in all."""

    def exchange(self, items_N: NDArray[Any], counts_R: Sequence[int]) -> tuple[NDArray[Any], list[int]]:
        """Send the first `counts_R[0]` items to peer 0, the next `counts_R[1]` to peer 1, and so on.

        Returns:
            What was sent here, by rank, and how much by each.
        """


class _Alone:
    """One process."""

    rank, size = 0, 1

    def agree(self, step: Callable[[], T]) -> list[T]:
        return [step()]

    def exchange(self, items_N: NDArray[Any], counts_R: Sequence[int]) -> tuple[NDArray[Any], list[int]]:
        return items_N, list(counts_R)


ALONE: Peers = _Alone()


@dataclass(frozen=True, slots=True)
class Share:
    """What one process has to do with a plan."""

    peers: Peers = ALONE
    """Plan it together."""
    wanted: Mapping[str, Sequence[RowRange]] | None = None
    """By new table the rows that this process will ask for, ranges without overlap; None: all of all tables."""

    def rows_of(self, table: str, num_rows: int) -> tuple[RowRange, ...]:
        """Those of one table of `num_rows` rows."""
        return ((0, num_rows),) if self.wanted is None else tuple(sorted(self.wanted.get(table, ())))


WHOLE = Share()
"""Of a process that plans alone."""


def together(peers: Peers, step: Callable[[], T]) -> T:
    """Take a step in every process, whose values the others need not know; what fails in one is raised in all."""
    taken: list[T] = []
    peers.agree(lambda: taken.append(step()))
    return taken[0]


def alike(peers: Peers, step: Callable[[], T], told: Callable[[T], str], where: str) -> T:
    """Take a step that comes to the same in every process; what fails in one is raised in all.

    Args:
        peers: The processes.
        step: Finds something.
        told: What that is, in words that are the same in all processes.
        where: What it is about.

    Raises:
        StorageError: `object-replaced`: the processes have found different things.
    """
    taken: list[T] = []

    def tell() -> str:
        taken.append(step())
        return told(taken[0])

    found = peers.agree(tell)
    if len(set(found)) > 1:
        raise StorageError(
            ErrorKind.OBJECT_REPLACED,
            "the ranks have found different snapshots, vocabularies or settings",
            where=where,
            expected=f"{found[0]}, as on rank 0, on all ranks",
            found=", ".join(f"{words} on rank {rank}" for rank, words in enumerate(found) if words != found[0]),
            hint="name a step instead of @latest, and give all ranks one config",
        )
    return taken[0]
