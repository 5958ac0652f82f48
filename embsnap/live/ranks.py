"""The processes of a job that do something together: what one of them raises ends the step in all of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from embsnap.errors import EmbsnapError, ErrorKind, StorageError

__all__ = ["Ranks"]

T = TypeVar("T")

_TIMEOUT = timedelta(days=7)
"""One rank may write for hours while others wait; a rank that dies is noticed at once, by its closed connection."""


class Ranks:
    """All ranks of the job, in a gloo group of their own; one rank where torch.distributed is not initialised.

    The group works from any one thread while the training's own groups are in use. It must be made and closed by every
    rank, in the same order.

    Attributes:
        rank, size: This process, and how many there are.
    """

    def __init__(self, *, alone: bool = False) -> None:
        """Join; every rank has to.

        Args:
            alone: The step concerns this process only, whatever the job is.
        """
        self._group: dist.ProcessGroup | None = None
        if not alone and dist.is_available() and dist.is_initialized():
            self._group = cast("dist.ProcessGroup", dist.new_group(backend="gloo", timeout=_TIMEOUT))
        self.rank = 0 if self._group is None else dist.get_rank(self._group)
        self.size = 1 if self._group is None else dist.get_world_size(self._group)

    def agree(self, step: Callable[[], T]) -> list[T]:
        """Take a step on every rank.

        Returns:
            What each rank's returned, by rank.

        Raises:
            BaseException: Where it failed on any rank, on all of them: what it raised on this rank, if it did, else the
                lowest failing rank's error, which names the rank.
        """
        if self._group is None:
            return [step()]
        value, own = None, None
        try:
            value = step()
        except BaseException as failure:
            own = failure
        outcomes = self.gather((value, None if own is None else _sendable(own, self.rank)))
        if own is not None:
            raise own
        for _, error in outcomes:
            if error is not None:
                raise error
        return [cast("T", value) for value, _ in outcomes]

    def gather(self, value: T) -> list[T]:
        """The value of each rank, by rank; it is pickled on its way."""
        if self._group is None:
            return [value]
        values: list[T | None] = [None] * self.size
        with self._talking():
            dist.all_gather_object(values, value, self._group)
        return cast("list[T]", values)

    def exchange(self, items_N: NDArray[Any], counts_R: Sequence[int]) -> tuple[NDArray[Any], list[int]]:
        """Send the first `counts_R[0]` items to rank 0, the next `counts_R[1]` to rank 1, and so on.

        Returns:
            What was sent here, by rank, and how much by each.
        """
        if self._group is None:
            return items_N, list(counts_R)
        items_N, size = np.ascontiguousarray(items_N), items_N.dtype.itemsize
        received_R = torch.empty(self.size, dtype=torch.int64)
        with self._talking():
            dist.all_to_all_single(received_R, torch.tensor(counts_R, dtype=torch.int64), group=self._group)
            counts = received_R.tolist()
            received_M = np.empty(sum(counts), items_N.dtype)
            dist.all_to_all_single(
                torch.from_numpy(received_M.view(np.uint8)),
                torch.from_numpy(items_N.view(np.uint8)),
                [count * size for count in counts],
                [count * size for count in counts_R],
                group=self._group,
            )
        return received_M, counts

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Around what needs all ranks.

        Raises:
            StorageError: `rank-lost`.
        """
        try:
            yield
        except RuntimeError as error:  # of gloo: the connection to a rank was closed
            raise StorageError(
                ErrorKind.RANK_LOST,
                "another rank of the job is gone",
                where=f"rank {self.rank}",
                expected=f"word from all {self.size} ranks",
                found=error,
                hint="read the first error of the job: the rank that ended says why",
            ) from error

    def sum(self, tensor: Tensor) -> Tensor:
        """A CPU tensor, to which those of all other ranks were added."""
        if self._group is not None:
            with self._talking():
                dist.all_reduce(tensor, group=self._group)
        return tensor

    def leave(self) -> None:
        """Give the group back; its threads, which take 20 ms to end, end beside what comes next."""
        if self._group is not None:
            dist.destroy_process_group(self._group)
            ending, self._group = [self._group], None
            Thread(target=ending.clear, name="embsnap-leave").start()


def _sendable(error: BaseException, rank: int) -> BaseException:
    """A copy for the other ranks, which says where it comes from."""
    if isinstance(error, EmbsnapError):
        copy: EmbsnapError = pickle.loads(pickle.dumps(error))
        copy.where = f"rank {rank}" if copy.where is None else f"rank {rank}: {copy.where}"
        return copy
    return RuntimeError(f"rank {rank}: {type(error).__name__}: {error}")
