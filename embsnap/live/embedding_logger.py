"""A training-loop hook: the statistics of some tables every few steps, where the tables are.

    logger = EmbeddingLogger(model, config.tables_to_log, every=500, log="logs/run7")
    for step, batch in enumerate(batches):
        train(batch)
        logger.step(step)

Shape suffixes: N rows in hand, V rows of a table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from torch import nn

from embsnap.errors import ErrorKind, NotFoundError, UsageError
from embsnap.formats.scalar_events import ScalarWriter
from embsnap.live.arguments import check_argument
from embsnap.live.parts import local_parts
from embsnap.live.ranks import Ranks
from embsnap.live.row_norms import Figures, figures_of, norms_by_rank, summed_norms
from embsnap.storage.uri import Uri

__all__ = ["EmbeddingLogger"]

Log = Callable[[int, Mapping[str, float]], None]
"""Takes the step and the statistics by name."""

_TABLE = re.compile(r"(?:^|.*\.)embedding(?:_bag)?s\.([^.]+)\.weight")


@dataclass(frozen=True, slots=True)
class _Logged:
    """A table that is logged."""

    name: str
    key: str
    """In the model's state dict."""
    num_rows: int
    is_cut: bool
    """Whether rows are divided over ranks or shards, so that no one has a whole row."""
    own: frozenset[tuple[int, ...]]
    """Offsets of the parts that this rank counts; of what several ranks hold, the lowest one does."""


class EmbeddingLogger:
    """Logs, by table, what its rows are like; every rank of the job makes one and calls `step`.

    For a table `user` with the state key `ebc.embedding_bags.user.weight`:

        user/mean_norm, user/std_norm, user/min_norm, user/max_norm    of the L2 norms of its finite rows
        user/num_dead, user/num_near_zero, user/num_non_finite         rows: all zero; norm ≤ 1e-4; with NaN or infinity
        ebc.embedding_bags.user.weight-norm-3                          mean norm of what rank 3 holds of the rows

    Every row is looked at, in blocks of at most 32 MiB on the device it is on; no rank gathers a table. Only figures
    travel between ranks, and of tables that are cut by columns the squared norms of one block of rows at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        tables_to_log: Iterable[str] | None,
        *,
        every: int = 100,
        log: Log | Uri,
    ) -> None:
        """Find the tables.

        Args:
            model: Contains them, sharded or not.
            tables_to_log: Names of tables, or their state keys, exactly; None for all tables.
            every: Steps from one logging to the next.
            log: Called on rank 0 with the step and the figures; or a directory for TensorBoard, as str or path.

        Raises:
            NotFoundError: `no-such-table` or `ambiguous-table`.
            UsageError: `bad-option`, or `missing-package` where tensorboard is not installed.
        """
        check_argument(isinstance(every, int), "every", every, expected="a number of steps", hint="every=100")
        if every < 1:
            raise UsageError(ErrorKind.BAD_OPTION, "must be at least 1", where="every", found=every)
        check_argument(
            isinstance(log, str | os.PathLike) or callable(log),
            "log",
            log,
            expected="a directory, or what is called with the step and the figures",
            hint='log="logs/run7"',
        )
        check_argument(
            not isinstance(tables_to_log, str),
            "tables_to_log",
            tables_to_log,
            expected="a list of names",
            hint='["user"] names one table',
        )
        self._ranks, self._model, self._every = Ranks(), model, every
        self._is_closed = False
        keys = _find(model, tables_to_log)
        self._tables = [self._look(name, key) for name, key in keys.items()]
        directory = os.fspath(log) if isinstance(log, str | os.PathLike) else None
        self._writer = ScalarWriter(directory) if directory is not None and self._ranks.rank == 0 else None
        self._log: Log | None = log if callable(log) else self._writer.write if self._writer else None

    def step(self, step: int) -> Mapping[str, float] | None:
        """Log, if `step` is a multiple of `every`.

        Returns:
            The figures, the same on every rank; None where nothing was logged.

        Raises:
            UsageError: `bad-option`: `step` is no number, or the logger was closed.
        """
        is_number = isinstance(step, SupportsIndex)
        check_argument(is_number, "step", step, expected="the number of a step", hint="logger.step(1000)")
        check_argument(not self._is_closed, "step", self, expected="a logger that is open", hint="call close() last")
        if step % self._every:
            return None
        figures = self.measure()
        if self._ranks.rank == 0 and self._log is not None:
            self._log(step, figures)
        return figures

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """The figures as they are now, on every rank."""
        state = self._model.state_dict()
        found: dict[str, float] = {}
        for table in self._tables:
            found |= self._measure(table, state[table.key])
        return found

    def close(self) -> None:
        """Finish the log; every rank has to."""
        self._is_closed = True
        if self._writer is not None:
            self._writer.close()
        self._ranks.leave()

    def _look(self, name: str, key: str) -> _Logged:
        weight = self._model.state_dict()[key]
        shape = tuple(weight.size())
        boxes = [(part.offsets, tuple(part.tensor.shape)) for part in local_parts(weight)]
        everyone = self._ranks.gather(boxes)
        lower = {box for other in everyone[: self._ranks.rank] for box in other}
        is_cut = any(sizes[1] != shape[1] for other in everyone for _, sizes in other if 0 not in sizes)
        return _Logged(name, key, shape[0], is_cut, frozenset(box[0] for box in boxes if box not in lower))

    def _measure(self, table: _Logged, weight: Any) -> dict[str, float]:
        parts = [part for part in local_parts(weight) if part.offsets in table.own]
        own = figures_of([part.tensor for part in parts])
        everyone = self._ranks.gather(own)
        total = sum(everyone, Figures())
        if table.is_cut:
            total = summed_norms(parts, table.num_rows, self._ranks.sum)
        found = {f"{table.name}/{name}": value for name, value in total.named().items()}
        return found | norms_by_rank(table.key, everyone)


def _find(model: nn.Module, wanted: Iterable[str] | None) -> dict[str, str]:
    """State key by name of the tables that are wanted; by the key itself where others have the name."""
    matches = {key: match[1] for key in model.state_dict() if (match := _TABLE.fullmatch(key))}
    found: dict[str, str] = {}
    for asked in matches if wanted is None else wanted:
        keys = [key for key, name in matches.items() if asked in (key, name)]
        if len(keys) != 1:
            raise NotFoundError(
                ErrorKind.AMBIGUOUS_TABLE if keys else ErrorKind.NO_SUCH_TABLE,
                f"{len(keys) or 'no'} tables of the model have this name",
                where=f"tables_to_log: {asked}",
                expected="exactly one",
                found=", ".join(keys or matches) or "a model without tables",
                hint="name tables, or their whole state keys",
            )
        name = matches[keys[0]]
        found[keys[0] if list(matches.values()).count(name) > 1 else name] = keys[0]
    return found
