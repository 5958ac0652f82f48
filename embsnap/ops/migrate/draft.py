"""A snapshot as the steps of a migration leave it: its tables, each with where its rows come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from embsnap.config.migration_steps import Placing, StateForm
from embsnap.config.rows import VocabColumns
from embsnap.errors import ErrorKind, NotFoundError
from embsnap.formats.dtypes import from_numpy
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.dtypes import DType
from embsnap.model.findings import Finding
from embsnap.model.table import StateLayout, Table
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.migrate.nodes import RowNode
from embsnap.ops.migrate.tallies import Tally
from embsnap.ops.migrate.transforms import CastErrors

__all__ = ["Draft", "Entities", "Placement", "StateDraft", "TableDraft", "no_table"]


@dataclass(frozen=True, slots=True, eq=False)
class Entities:
    """The vocabulary of a table: one that lies somewhere, or one that the migration makes."""

    uri: str | None
    """None for one that is made."""
    fingerprint: str | None
    """None where nobody has read it yet."""
    load: Callable[[], Vocabulary]
    """Reads it once, and checks it."""
    is_made: bool = False
    columns: VocabColumns | None = None
    """Of its files, where a step names them."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which ranks hold which part of a table."""

    kind: Placing
    """Never `KEEP`."""
    ranks: tuple[int, ...]
    """One for table-wise; one for each range of rows or columns otherwise, in order. Ranks may repeat."""


@dataclass(frozen=True, slots=True, eq=False)
class StateDraft:
    """One optimizer state."""

    path: str
    """Where it lies in the snapshot that it comes from."""
    layout: StateLayout
    """Element-wise, row-wise or single."""
    tail: tuple[int, ...]
    """Its shape without the rows: `()`, `(1,)` or `(D,)`; its whole shape where it has no rows."""
    rows: RowNode

    @property
    def dtype(self) -> DType:
        """Of its elements."""
        return from_numpy(self.rows.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """As it is written."""
        return self.tail if self.layout in (StateLayout.SINGLE, StateLayout.OTHER) else (self.rows.num_rows, *self.tail)


@dataclass(frozen=True, slots=True, eq=False)
class TableDraft:
    """One table."""

    name: str
    weight_path: str
    """Where its weight is to lie."""
    origin: Table
    """The stored table whose names its optimizer state carries."""
    rows: RowNode
    state: tuple[StateDraft, ...]
    state_form: StateForm
    placement: Placement
    entities: Entities | None
    is_changed: bool = False
    """False if it is copied as it lies, entry by entry and byte by byte."""
    is_moved: bool = False
    """Whether its rows or columns are others than before, so that its state cannot stay as it is."""
    is_copy: bool = False
    """Whether it stands beside the table that its rows were of, or is a part of it: optimizers know that one."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Of rows and entities, by what became of them."""
    casts: tuple[tuple[str, CastErrors], ...] = ()
    """Errors of each cast, by its element type, measured while rows are written."""
    tallies: tuple[Tally, ...] = ()
    """Rows that each repair replaced, counted while rows are written."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What steps measured, such as the variance explained by a projection."""
    findings: tuple[Finding, ...] = ()

    @property
    def dtype(self) -> DType:
        """Of its elements."""
        return from_numpy(self.rows.dtype)

    def with_rows(self, rows: RowNode, state: Iterable[StateDraft] | None = None) -> TableDraft:
        """The same table with other rows; without `state`, values of the same ones."""
        if state is None:
            return replace(self, rows=rows, is_changed=True)
        return replace(self, rows=rows, state=tuple(state), is_changed=True, is_moved=True)

    def uncounted(self) -> None:
        """Forget what was measured of rows that were read for planning."""
        for tally in self.tallies:
            tally.reset()
        for _, errors in self.casts:
            errors.reset()

    def counting(self, **counts: int) -> TableDraft:
        """The same with more counted; counts of one name add up, but for `carried`, which is the last step's."""
        merged = dict(self.counts)
        for name, count in counts.items():
            merged[name] = count if name == "carried" else merged.get(name, 0) + count
        return replace(self, counts=merged)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """The whole snapshot."""

    source: Snapshot
    tables: Mapping[str, TableDraft]
    """By name, in the order of the manifest; new ones last."""
    dropped: tuple[str, ...] = ()
    """Logical paths of weights in the old snapshot that have no table any more, or another place."""
    world_size: int = 1
    renamed_prefixes: tuple[tuple[str, str], ...] = ()
    """`APP_KEY/MODULE_PATH` before and after, for entries that are no tables, in order."""

    def table(self, name: str, step: str) -> TableDraft:
        """The table of that name.

        Raises:
            NotFoundError: `no-such-table`.
        """
        found = self.tables.get(name)
        if found is None:
            raise no_table(name, self.tables, step)
        return found

    def replacing(self, table: TableDraft, old_name: str | None = None) -> Draft:
        """The same with one table changed, at the place of the table `old_name` (its own name by default)."""
        old_name = old_name or table.name
        pairs = [(table.name, table) if name == old_name else (name, other) for name, other in self.tables.items()]
        return replace(self, tables=dict(pairs if old_name in self.tables else [*pairs, (table.name, table)]))

    def without(self, names: Iterable[str]) -> Draft:
        """The same without some tables."""
        gone = set(names)
        return replace(self, tables={name: table for name, table in self.tables.items() if name not in gone})


def no_table(name: str, tables: Iterable[str], step: str) -> NotFoundError:
    """A step names a table that is not there."""
    known = sorted(tables)
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return NotFoundError(
        ErrorKind.NO_SUCH_TABLE,
        f"there is no table {name} at that point",
        where=step,
        expected=f"one of {listed}" if known else "a table, of which there are none",
        hint="steps see the tables as the steps before left them; `embsnap inspect` lists those of the snapshot",
    )
