"""`verify`: every level, from the metadata to the last byte, with all that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.model.progress import SILENT, Progress
from embsnap.model.verification import Level, LevelReport, Outcome, Verification
from embsnap.ops.verify.add_sidecar import add_sidecar, check_no_sidecar
from embsnap.ops.verify.checked import Checked, Skipped, report
from embsnap.ops.verify.committed import check_committed
from embsnap.ops.verify.contents import ReadContents, Wanted, read_contents
from embsnap.ops.verify.geometry import Survey, survey
from embsnap.ops.verify.objects import Objects, look_at_objects
from embsnap.ops.verify.structure import check_structure
from embsnap.ops.verify.vocabularies import check_vocabularies

__all__ = ["Inquiry", "VerifyOptions", "inquire", "verify"]

_DEFAULT_LEVELS = tuple(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How far to go."""

    level: Level | None = None
    """Check up to this level, which must not be skipped; None checks all that can be checked."""
    vocabularies: Mapping[str, str] = field(default_factory=dict)
    """URI by table."""
    sample: float = 1.0
    """Share of the blocks whose values are looked at, in (0, 1]."""
    write_checksums: bool = False
    """Add a sidecar with the sums of all objects, if nothing is wrong and there is none."""
    threads: int = 2
    storage_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A verification, and what it knows of the snapshot's arrays and objects."""

    snapshot: Snapshot
    survey: Survey
    objects: Objects | None
    contents: ReadContents | None
    results: Mapping[Level, Checked | Skipped]


def verify(uri: str, options: VerifyOptions | None = None, *, progress: Progress = SILENT) -> Verification:
    """Check a snapshot level by level and collect all findings; what is broken at one level is left out of the next.

    Every object is read at most once, for all levels together. Memory: a few megabytes where objects can be mapped,
    32 MiB for each thread elsewhere.

    Raises:
        NotFoundError: Nothing is there, no such step, no such table, no such vocabulary.
        SnapshotError: No committed snapshot with readable metadata is there.
        StorageError: The storage failed.
        UsageError: Options that do not go together.
        RefusedError: `destination-taken`: a sidecar is to be added and there is one.
    """
    options, began = options or VerifyOptions(), monotonic()
    _check(options)
    inquiry = inquire(uri, options, progress=progress)
    reports = tuple(
        report(level, result, is_demanded=level is options.level) for level, result in inquiry.results.items()
    )
    ok = all(each.outcome is not Outcome.FAILED for each in reports)
    sidecar = None
    if options.write_checksums and ok and inquiry.contents is not None:
        sidecar = add_sidecar(inquiry.snapshot, inquiry.contents.sums)
    return _verification(inquiry, reports, options, ok, sidecar, monotonic() - began)


def inquire(uri: str, options: VerifyOptions, *, progress: Progress) -> Inquiry:
    """Make the checks of all levels up to the one that is demanded."""
    snapshot = open_snapshot(uri, options=options.storage_options)
    if options.write_checksums:
        check_no_sidecar(snapshot)
    last = _DEFAULT_LEVELS.index(options.level or Level.VOCAB)
    levels = _DEFAULT_LEVELS[: last + 1]
    found = survey(snapshot)
    results: dict[Level, Checked | Skipped] = {
        Level.COMMITTED: check_committed(snapshot),
        Level.STRUCTURE: check_structure(snapshot),
        Level.GEOMETRY: found.checked,
    }
    objects = contents = None
    if Level.BYTES in levels:
        objects = look_at_objects(snapshot, threads=options.threads)
        results[Level.BYTES] = objects.checked
    if Level.CHECKSUMS in levels and objects is not None:
        wanted = Wanted(options.write_checksums, Level.VALUES in levels, options.sample)
        contents = read_contents(snapshot, found.sound, objects, wanted, threads=options.threads, progress=progress)
        snapshot.check_unchanged()
        results |= {Level.CHECKSUMS: contents.checksums, Level.VALUES: contents.values}
    if Level.VOCAB in levels:
        results[Level.VOCAB] = check_vocabularies(
            snapshot,
            options.vocabularies,
            storage_options=options.storage_options,
            threads=options.threads,
            progress=progress,
        )
    return Inquiry(snapshot, found, objects, contents, {level: results[level] for level in levels})


def _check(options: VerifyOptions) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: `bad-option`.
    """
    if not 0 < options.sample <= 1:
        raise UsageError(
            ErrorKind.BAD_OPTION, "no share", where="--sample", expected="above 0, at most 1", found=options.sample
        )
    stops_early = options.level not in (None, Level.VOCAB)
    if stops_early and options.vocabularies:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "vocabularies are checked at the level vocab",
            where=f"--level {options.level}",
            expected="--level vocab, or none, with --vocab",
        )
    if options.write_checksums and options.level not in (None, Level.VALUES, Level.VOCAB):
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "sums are only recorded of what was checked as far as its values",
            where=f"--level {options.level}",
            expected="--level values, or none, with --write-checksums",
        )


def _verification(
    inquiry: Inquiry,
    reports: tuple[LevelReport, ...],
    options: VerifyOptions,
    ok: bool,
    sidecar: str | None,
    seconds: float,
) -> Verification:
    return Verification(
        uri=inquiry.snapshot.uri,
        metadata_sha256=inquiry.snapshot.metadata_sha256,
        levels=reports,
        demanded=options.level,
        num_bytes_read=0 if inquiry.contents is None else inquiry.contents.num_bytes,
        seconds=seconds,
        sidecar=sidecar,
        ok=ok,
    )
