"""A migration: planned as data, with every check made before anything is written, and applied in one pass.

plan = plan_migration("runs/day1/7", steps)
plan.apply("runs/migrated")
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from time import monotonic

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.sidecar import TableVocabulary
from embsnap.formats.torchsnapshot.assembly import PlacedArray, kept_bytes
from embsnap.formats.torchsnapshot.layout import OBJECT_BYTES, PIECE_BYTES
from embsnap.formats.torchsnapshot.regrouping import Kept
from embsnap.formats.torchsnapshot.rewriter import Contents, rewrite_snapshot
from embsnap.formats.torchsnapshot.tables import named_weights
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.kernels.loading import kernels_loading, load_migration
from embsnap.model.findings import Finding
from embsnap.model.manifest import ContainerEntry
from embsnap.model.migration import MigrationResult
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.memory import Budget, available_memory
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, TableDraft
from embsnap.ops.migrate.figures import estimate, report
from embsnap.ops.migrate.kept import kept_entries
from embsnap.ops.migrate.opening import open_draft
from embsnap.ops.migrate.output import Reported, check_state, reads, table_arrays
from embsnap.ops.migrate.recording import lineage_of
from embsnap.ops.migrate.spill import spilled
from embsnap.ops.migrate.steps import AnyStep, apply_steps, describe, only_tables
from embsnap.ops.migrate.undo import Undo
from embsnap.ops.migrate.vocabularies import VocabulariesToWrite
from embsnap.storage.uri import absolute_uri, open_store

__all__ = ["DEFAULT_OPTIONS", "MigrationOptions", "MigrationPlan", "plan_migration"]

_LAYOUT = {"pieces": PIECE_BYTES, "objects": OBJECT_BYTES, "version": 1}


@dataclass(frozen=True, slots=True)
class MigrationOptions:
    """What the command line adds to a plan."""

    tables: tuple[str, ...] = ()
    """Tables of the source to migrate; all others are left as they are. Empty for all."""
    max_error: float | None = None
    """Bound of every cast that names none of its own."""
    vocab_out: str | None = None
    """Directory for vocabularies that steps make; absent: the destination's name with `-vocab` added."""
    threads: int = 2
    memory_budget: int | None = None
    """Bytes of row data in memory at once; None is a quarter of what is available."""
    check: bool = True
    """Whether blocks that are read whole are compared with the sidecar's checksums."""
    storage_options: Mapping[str, str] = field(default_factory=dict)


DEFAULT_OPTIONS = MigrationOptions()


@dataclass(frozen=True, eq=False)
class MigrationPlan:
    """The snapshot to come, each table with where its rows come from. Nothing has been written yet."""

    draft: Draft
    steps: tuple[AnyStep, ...]
    undos: tuple[Undo, ...]
    options: MigrationOptions
    context: Context
    budget: Budget
    memory_budget: int
    """Bytes of row data in memory at once."""
    kept: Kept
    findings: tuple[Finding, ...]
    seconds: float
    """Spent on planning."""

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over all that decides what is written: equal digests give equal snapshots."""
        described = {
            "command": "migrate",
            "source": self.draft.source.metadata_sha256,
            "steps": [describe(step) for step in self.steps],
            "inputs": self.context.digest_of_inputs(),
            "max_error": self.options.max_error,
            "layout": _LAYOUT,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    @cached_property
    def num_kept_bytes(self) -> int:
        """Of entries that are copied as they lie."""
        return kept_bytes(self.kept, self.draft.source.store)

    def changed(self) -> list[TableDraft]:
        """Tables that are written anew."""
        return [table for table in self.draft.tables.values() if table.is_changed]

    def arrays(self, progress: Progress = SILENT) -> list[PlacedArray]:
        """Weights and optimizer state of all changed tables."""
        return [array for table in self.changed() for array in table_arrays(table, progress)]

    def result(self) -> MigrationResult:
        """What is reported of the plan alone."""
        return report(self, estimate(self))

    def apply(self, uri: str, *, resume: bool = False, progress: Progress = SILENT) -> MigrationResult:
        """Write the snapshot, and the vocabularies that steps have made.

        Args:
            uri: Destination: missing, empty, or with nothing but what uncommitted runs of embsnap left.
            resume: Take over what an earlier run of this very plan has finished there, and keep what this one
                finishes if it fails.
            progress: Told of every block.

        Raises:
            RefusedError: `destination-taken`.
            IncompatibleError: A cast overflowed, or changed a value by more than is allowed; nothing is visible.
            StorageError: The storage failed; nothing is visible at `uri`.
            SnapshotError: A source failed.
        """
        began = monotonic()
        options = self.options
        made = VocabulariesToWrite(self.draft, options.vocab_out or f"{uri.rstrip('/')}-vocab", options)
        made.check(resume=resume)
        for table in self.changed():
            table.uncounted()
        arrays = self.arrays(progress)
        contents = Contents(
            version=self.draft.source.manifest.version,
            world_size=self.draft.world_size,
            arrays=arrays,
            kept=self.kept,
            kept_store=self.draft.source.store,
            vocabularies=self._vocabularies(made),
            lineage=lineage_of(self),
        )
        try:
            with spilled(
                [each for table in self.changed() for each in reads(table)],
                self.memory_budget,
                options.threads,
                progress,
            ):
                written = rewrite_snapshot(
                    open_store(uri, options.storage_options),
                    contents,
                    plan_digest=self.digest,
                    resume=resume,
                    threads=options.threads,
                    block_bytes=self.budget.block_bytes,
                    progress=progress,
                    before_commit=partial(made.write, write_vocabulary),
                )
        except BaseException:
            made.withdraw(keep=resume)
            raise
        finally:
            for array in arrays:
                if isinstance(array.array.source, Reported):
                    array.array.source.close()
        result = replace(made.named_in(report(self, 0.0, applied=True)), destination=written.uri)
        seconds = self.seconds + monotonic() - began
        findings = (*result.findings, *written.notes)
        return replace(result, seconds=seconds, num_bytes_resumed=written.num_bytes_resumed, findings=findings)

    def _vocabularies(self, made: VocabulariesToWrite) -> dict[str, TableVocabulary]:
        """As the sidecar records them: by the names that tables have then, or by paths where several have one name."""
        names = dict(named_weights(table.weight_path for table in self.draft.tables.values()))
        times = Counter(names.values())
        found = {}
        for table in self.draft.tables.values():
            entities = table.entities
            if entities is None:
                continue
            uri = made.uris.get(table.name) or entities.uri
            if uri is not None and entities.fingerprint is not None:
                name = names[table.weight_path]
                known = name if times[name] == 1 else table.weight_path
                found[known] = TableVocabulary(absolute_uri(uri), entities.fingerprint)
        return found


def plan_migration(
    source: str, steps: Sequence[AnyStep], options: MigrationOptions = DEFAULT_OPTIONS, *, progress: Progress = SILENT
) -> MigrationPlan:
    """Find and check everything that the steps name, and put them on top of the source's tables.

    No row is read, but by steps that cannot be planned otherwise: projections by PCA, pruning by norm, initializers
    from old rows.

    Raises:
        UsageError: There is nothing to do, or a step makes no sense.
        NotFoundError: A snapshot, table or vocabulary does not exist.
        SnapshotError: A snapshot is torn or corrupt.
        IncompatibleError: Shapes, dtypes, vocabularies or row maps do not fit.
    """
    began = monotonic()
    if not steps:
        raise UsageError(ErrorKind.NOTHING_TO_DO, "there is no step", hint="`embsnap copy` copies a snapshot as it is")
    memory_budget = options.memory_budget or available_memory() // 4
    budget = Budget.of(memory_budget, options.threads)
    context = Context(options.storage_options, options.threads, budget.block_bytes, progress, options.max_error)
    context.check = options.check
    snapshot = context.snapshot(source)
    draft = open_draft(snapshot, context)
    if options.tables:
        steps = only_tables(steps, options.tables, draft)
    with kernels_loading(load_migration) if _needs_kernels(steps) else nullcontext():
        draft, undos = apply_steps(steps, draft, context)
    for table in draft.tables.values():
        check_state(table)
    kept, findings = kept_entries(draft)
    if not draft.tables and all(isinstance(entry, ContainerEntry) for entry in kept.values()):
        raise UsageError(ErrorKind.NOTHING_TO_DO, "a snapshot of nothing", hint="keep at least one table")
    seconds = monotonic() - began
    return MigrationPlan(
        draft, tuple(steps), tuple(undos), options, context, budget, memory_budget, kept, findings, seconds
    )


def _needs_kernels(steps: Sequence[AnyStep]) -> bool:
    kinds = {next(iter(describe(step))) for step in steps}
    return bool(kinds & {"cast", "revocab", "merge", "split", "prune", "repair"})
