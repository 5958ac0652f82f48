"""What the tables of a snapshot are called, and options that name them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from embsnap.errors import ErrorKind, NotFoundError
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.table import Table

__all__ = ["check_table_names", "table_names", "told_apart"]


def table_names(snapshot: Snapshot) -> dict[str, str]:
    """Logical path of each table's weight by its name, or by itself where several tables have one name."""
    nums = Counter(snapshot.index.names.values())
    return {name if nums[name] == 1 else path: path for path, name in snapshot.index.names.items()}


def told_apart(snapshot: Snapshot, tables: Iterable[Table]) -> list[Table]:
    """Tables called by these names: by the paths of their weights where several of the snapshot have one name."""
    names = {path: name for name, path in table_names(snapshot).items()}
    return [replace(table, name=names.get(table.weight.path, table.name)) for table in tables]


def check_table_names(given: Mapping[str, str], names: Sequence[str], option: str) -> None:
    """Refuse an option for a table that is not concerned.

    Raises:
        NotFoundError: `no-such-table`.
    """
    for name in given:
        if name not in names:
            raise NotFoundError(
                ErrorKind.NO_SUCH_TABLE,
                "no such table is looked at",
                where=f"{option} {name}=…",
                expected=f"one of {', '.join(names)}" if names else "no such option, as no table is looked at",
                hint="name the table as its own snapshot does",
            )
