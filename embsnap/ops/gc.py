"""Removing what runs, copies and writers left behind that did not come to their end.

Nothing is removed that a committed snapshot names, nor what embsnap did not write, nor what was written lately: its
writer may still be at work. Whether a snapshot is committed is asked again just before anything is deleted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError, StorageError, UsageError
from embsnap.formats.torchsnapshot.metadata import METADATA_LOCATION
from embsnap.formats.torchsnapshot.run import steps
from embsnap.formats.torchsnapshot.step_uri import resolve
from embsnap.kernels.threads import run
from embsnap.model.collection import GcResult, Leftover, LeftoverKind
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.gc_leftovers import Group, Root, find_groups, unclosed
from embsnap.storage.base import ObjectInfo, Store
from embsnap.storage.uri import open_store

__all__ = ["DEFAULT_AGE_S", "GcOptions", "GcPlan", "apply_gc", "plan_gc"]

DEFAULT_AGE_S = 24 * 3600.0
_TASK = "deleting"
_AT_ONCE = 16
_NO_OPTIONS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class GcOptions:
    """What may be removed."""

    older_than_s: float = DEFAULT_AGE_S
    """Since the newest object of a run, a copy or a writer was written; 0 takes all, those at work too."""
    storage_options: Mapping[str, str] = field(default_factory=lambda: _NO_OPTIONS)


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What is to be removed, and what is too young."""

    uri: str
    older_than_s: float
    roots: tuple[Root, ...]
    collected: tuple[Group, ...]
    kept: tuple[Group, ...]
    now: float
    findings: tuple[Finding, ...]

    def result(self, *, applied: bool = False) -> GcResult:
        """What is shown, of a dry run or in the end."""
        objects = [info for group in self.collected for info in group.objects]
        return GcResult(
            uri=self.uri,
            applied=applied,
            older_than_s=self.older_than_s,
            num_roots=len(self.roots),
            num_snapshots=sum(root.metadata is not None for root in self.roots),
            leftovers=(*self._leftovers(self.collected, True), *self._leftovers(self.kept, False)),
            num_objects=len(objects),
            num_bytes=sum(info.size for info in objects),
            findings=self.findings,
        )

    def _leftovers(self, groups: tuple[Group, ...], collected: bool) -> Iterator[Leftover]:
        for group in groups:
            size = (len(group.objects), group.num_bytes)
            yield Leftover(group.kind, group.store.uri, group.name, *size, group.age_s(self.now), collected)


def plan_gc(uri: str, options: GcOptions | None = None) -> GcPlan:
    """Look up what nobody needs. Nothing is deleted.

    Args:
        uri: Where a snapshot or a vocabulary is, or was to be; or a run, whose steps are looked at too.
        options: What may be removed.

    Raises:
        NotFoundError: There is nothing at all.
        SnapshotError: The metadata, or the claim of a copy, cannot be read. (A step of a run with such metadata is left
            alone, and is a finding.)
        UsageError: `bad-option`: a negative age.
        StorageError: The storage failed.
    """
    options = options or GcOptions()
    if not options.older_than_s >= 0:
        raise UsageError(ErrorKind.BAD_OPTION, "no age", expected="seconds ≥ 0", found=options.older_than_s)
    uri = resolve(uri, options=options.storage_options)
    store = open_store(uri, options.storage_options)
    unfinished = unclosed(store)
    if not unfinished and not store.children() and next(store.uploads(), None) is None:
        problem, hint = "there is nothing", "check the URI for typos; give a directory, not one of its files"
        raise NotFoundError(ErrorKind.NO_SUCH_OBJECT, problem, where=uri, expected="a snapshot or a run", hint=hint)
    roots, findings = _roots(uri, store, options.storage_options)
    now = time.time()
    groups = [*(group for root in roots for group in root.groups), *unfinished]
    old = [_is_old(group.age_s(now), options.older_than_s) for group in groups]
    collected = tuple(group for group, is_old in zip(groups, old, strict=True) if is_old)
    kept = tuple(group for group, is_old in zip(groups, old, strict=True) if not is_old)
    return GcPlan(uri, options.older_than_s, tuple(roots), collected, kept, now, tuple(findings))


def apply_gc(plan: GcPlan, *, progress: Progress = SILENT) -> GcResult:
    """Delete what was planned. Interrupted, it can be planned again and goes on.

    Raises:
        StorageError: The storage failed, or a snapshot was committed meanwhile (`object-replaced`); what was to be
            deleted there stays.
    """
    for root in plan.roots:
        if root.store.stat(METADATA_LOCATION) != root.metadata:
            problem, hint = "a snapshot was committed or removed there in the meantime", "run it again"
            raise StorageError(ErrorKind.OBJECT_REPLACED, problem, where=root.store.uri, hint=hint)
    progress.start(_TASK, sum(len(group.objects) for group in plan.collected), "objects")
    for part in (slice(None, -1), slice(-1, None)):  # the claims after all that they speak of
        found = [(group, info) for group in plan.collected for info in group.objects[part]]
        run([partial(_delete, group, info, progress) for group, info in found], _AT_ONCE)
    progress.finish(_TASK)
    return plan.result(applied=True)


def _roots(uri: str, store: Store, options: Mapping[str, str]) -> tuple[list[Root], list[Finding]]:
    """The URI itself and, unless a snapshot is committed there, what may be the steps of a run."""
    roots, findings = [find_groups(store)], []
    if roots[0].metadata is None:
        for step in steps(uri, options=options):
            try:
                roots.append(find_groups(open_store(step.uri, options)))
            except SnapshotError as error:
                message = f"it is left alone, since nobody can tell what it needs: {error.problem}"
                findings.append(Finding(Severity.ERROR, error.kind.value, error.where or step.uri, message))
    return roots, findings


def _is_old(age_s: float | None, older_than_s: float) -> bool:
    """Whether it may go; what has no age does only where age does not matter."""
    return older_than_s == 0 if age_s is None else age_s >= older_than_s or older_than_s == 0


def _delete(group: Group, info: ObjectInfo, progress: Progress) -> None:
    if group.kind is LeftoverKind.UPLOAD:
        group.store.drop_upload(info)
    else:
        group.store.delete(info.location)
    progress.advance(_TASK, 1)
