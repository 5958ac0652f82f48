"""Sending entities to the peers that are to see them.

Shape suffixes: N items to send, M items received, R peers, S segments of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.id_arrays import take_ids
from embsnap.kernels.hashing import id_keys
from embsnap.kernels.rows import HeldRows
from embsnap.kernels.threads import split
from embsnap.model.vocabulary import BytesIds, Ids
from embsnap.ops.warmstart.peers import Peers, RowRange

__all__ = ["Route", "route_by_id", "route_by_row", "union"]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Which items go to which peer; all columns that are sent the same way arrive in the same order."""

    peers: Peers
    index_N: NDArray[np.int64]
    """The items, those for peer 0 first; one may go to several."""
    counts_R: list[int]

    def send(self, column_N: NDArray[Any]) -> NDArray[Any]:
        """The values of all peers' items that came here."""
        return self.peers.exchange(column_N[self.index_N], self.counts_R)[0]

    def send_ids(self, ids: Ids) -> Ids:
        """The same of ids."""
        return self._send_ids(ids)[0]

    def ask(self, ids: Ids, answer: Callable[[Ids], NDArray[Any]]) -> NDArray[Any]:
        """One value for each id, as it is answered where the id goes to.

        Args:
            ids: N.
            answer: Called once in each process, with all ids that come to it.
        """
        asked, counts_R = self._send_ids(ids)
        answers, _ = self.peers.exchange(answer(asked), counts_R)
        answers_N = np.empty(len(self.index_N), answers.dtype)
        answers_N[self.index_N] = answers
        return answers_N

    def _send_ids(self, ids: Ids) -> tuple[Ids, list[int]]:
        if not isinstance(ids, BytesIds):
            return self.peers.exchange(ids[self.index_N], self.counts_R)
        sent = take_ids(ids, self.index_N)
        assert isinstance(sent, BytesIds)
        bounds_R = sent.offsets[np.cumsum([0, *self.counts_R])]
        lengths_M, counts_R = self.peers.exchange(np.diff(sent.offsets), self.counts_R)
        data_N: NDArray[Any] = sent.data[bounds_R[0] : bounds_R[-1]]
        data, _ = self.peers.exchange(data_N, np.diff(bounds_R).tolist())
        return BytesIds(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths_M)]), data), counts_R


def route_by_id(peers: Peers, ids: Ids, threads: int) -> Route:
    """Equal ids meet at one peer. The bits that choose it are none of those by which a join cuts its sides first."""
    bits_N = (id_keys(ids, threads=threads) >> np.uint64(24)) & np.uint64(0xFFFF)
    peer_N = ((bits_N * np.uint64(peers.size)) >> np.uint64(16)).astype(np.uint16)
    return Route(peers, np.argsort(peer_N, kind="stable"), np.bincount(peer_N, minlength=peers.size).tolist())


def route_by_row(peers: Peers, rows_N: NDArray[np.int64], wanted: Sequence[Sequence[RowRange]]) -> Route:
    """Every peer gets the items whose row it wants.

    Args:
        peers: That send and receive.
        rows_N: Of the items.
        wanted: For each peer, ranges without overlap.
    """
    edges_S = np.unique([0, *(edge for ranges in wanted for bounds in ranges for edge in bounds)])
    segment_N = (np.searchsorted(edges_S, rows_N, side="right") - 1).astype(
        np.uint16 if len(edges_S) < 1 << 16 else np.int64
    )
    order_N = np.argsort(segment_N, kind="stable")
    starts_S = np.concatenate([[0], np.cumsum(np.bincount(segment_N, minlength=len(edges_S)))])
    picked = [[order_N[slice(*starts_S[np.searchsorted(edges_S, bounds)])] for bounds in ranges] for ranges in wanted]
    counts_R = [sum(len(index) for index in ranges) for ranges in picked]
    return Route(peers, np.concatenate([order_N[:0], *(index for ranges in picked for index in ranges)]), counts_R)


def union(peers: Peers, held: HeldRows) -> HeldRows:
    """The rows that any peer holds."""
    ranges = [split(len(held.words), peers.size)[rank : rank + 1] for rank in range(peers.size)]
    counts_R = [end - start for found in ranges for start, end in found or [(0, 0)]]
    received, _ = peers.exchange(held.words, counts_R)
    own = np.bitwise_or.reduce(received.reshape(peers.size, -1), axis=0)
    words, _ = peers.exchange(np.tile(own, peers.size), [len(own)] * peers.size)
    return HeldRows(words)
