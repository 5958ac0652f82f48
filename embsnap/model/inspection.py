"""What `inspect` shows: a snapshot, or the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from embsnap.model.findings import Finding
from embsnap.model.table import Piece, Sharding, StateLayout

__all__ = [
    "EntryGroup",
    "InspectedState",
    "InspectedTable",
    "Origin",
    "RunInspection",
    "SnapshotInspection",
    "StepInspection",
    "StoredValue",
]


@dataclass(frozen=True, slots=True)
class InspectedState:
    """One optimizer state of a table."""

    name: str
    path: str
    layout: StateLayout
    dtype: str
    shape: tuple[int, ...]
    num_bytes: int


@dataclass(frozen=True, slots=True)
class InspectedTable:
    """One table."""

    name: str
    path: str
    """Logical path of its weight."""
    num_embeddings: int
    embedding_dim: int
    dtype: str
    num_bytes: int
    """Of the weight, each element counted once."""
    form: str
    """Entry type that holds it."""
    sharding: Sharding
    num_shards: int
    """Pieces with bytes of their own."""
    ranks: tuple[int, ...]
    """That hold a piece, or a copy."""
    state: tuple[InspectedState, ...]
    vocabulary: str | None
    """URI, where the sidecar records one."""
    fingerprint: str | None
    """Of that vocabulary."""
    pieces: tuple[Piece, ...]
    """Where its bytes are; only for tables asked for by name."""


@dataclass(frozen=True, slots=True)
class EntryGroup:
    """Entries that are no part of a table, by app key and type."""

    app_key: str
    type: str
    num_entries: int
    num_bytes: int | None
    """Of tensors, every rank's copy counted; None where the manifest does not say."""


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A number, string, boolean or bytes right under an app key."""

    path: str
    value: int | str | bool | bytes | float


@dataclass(frozen=True, slots=True)
class Origin:
    """What the sidecar records of a snapshot's making."""

    tool: str
    created: str
    """UTC, ISO 8601."""
    command: str | None
    parents: tuple[str, ...]
    """URIs of the snapshots that rows were taken from."""
    counts: Mapping[str, Mapping[str, int]]
    """By table: rows carried, new, dropped, …"""


@dataclass(frozen=True, slots=True)
class SnapshotInspection:
    """A committed snapshot."""

    schema: ClassVar[str] = "embsnap.inspect"
    schema_version: ClassVar[int] = 1

    uri: str
    torchsnapshot_version: str
    world_size: int
    metadata_sha256: str
    metadata_bytes: int
    step: int | None
    walltime: float | None
    tables: tuple[InspectedTable, ...]
    unreadable_tables: tuple[str, ...]
    """Logical paths of tables that cannot be read as they stand; the findings say why."""
    other_entries: tuple[EntryGroup, ...]
    values: tuple[StoredValue, ...]
    origin: Origin | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class StepInspection:
    """One step of a run."""

    step: int
    committed: bool
    uri: str


@dataclass(frozen=True, slots=True)
class RunInspection:
    """The directory of a run: one snapshot for each step."""

    schema: ClassVar[str] = "embsnap.inspect-run"
    schema_version: ClassVar[int] = 1

    uri: str
    steps: tuple[StepInspection, ...]
    latest: int | None
    """Newest committed step."""
