"""The structure of a manifest: containers list exactly their children, and every entry is of a known type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from embsnap.formats.torchsnapshot.metadata_findings import entry_findings
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.findings import Finding, Severity
from embsnap.model.manifest import ContainerEntry, Entry, is_replicated
from embsnap.model.paths import child_path, join_entry_path
from embsnap.ops.verify.checked import Checked, at_most

__all__ = ["check_structure"]

_Children = Mapping[str, Mapping[str, None]]


def check_structure(snapshot: Snapshot) -> Checked:
    """All that the manifest says of itself, but for its arrays."""
    listing = snapshot.listing
    entries = snapshot.manifest.entries
    return Checked(
        len(entries),
        "entries",
        (
            *entry_findings(listing),
            *_nothing(entries),
            *at_most(_unlisted(listing.by_path)),
            *at_most(_broken_lists(listing.by_path)),
            *at_most(_colliding_keys(entries)),
        ),
    )


def _nothing(entries: Mapping[str, Entry]) -> Iterator[Finding]:
    if not entries:
        yield Finding(Severity.ERROR, "empty-manifest", "the manifest", "it has no entries: there is nothing to check")


def _unlisted(by_path: Mapping[str, Mapping[int, Entry]]) -> Iterator[Finding]:
    """Entries that their container does not name: torchsnapshot would restore without them."""
    named: dict[tuple[int, str], set[str]] = {}
    for path, ranked in by_path.items():
        for rank, entry in ranked.items():
            if isinstance(entry, ContainerEntry) and entry.type != "list":
                named[rank, path] = {child_path(path, key) for key in entry.keys}
    for path, ranked in by_path.items():
        above = path.rpartition("/")[0]
        if not above:
            continue
        for rank in ranked:
            container = by_path.get(above, {}).get(rank)
            if not isinstance(container, ContainerEntry):
                found = "there is no entry" if container is None else f"the entry is of type {container.type!r}"
                message = f"it lies in {join_entry_path(rank, above)!r}, where {found}"
                yield _unreachable(join_entry_path(rank, path), message)
            elif container.type != "list" and path not in named[rank, above]:
                yield _unreachable(join_entry_path(rank, path), "its container does not name it")


def _unreachable(place: str, message: str) -> Finding:
    remedy = "torchsnapshot restores without it; the metadata were edited or are damaged"
    return Finding(Severity.ERROR, "unlisted-entry", place, message, remedy)


def _broken_lists(by_path: Mapping[str, Mapping[int, Entry]]) -> Iterator[Finding]:
    """Lists whose children are not numbered from 0 without a gap. A replicated child stands under one rank for all."""
    children: dict[str, list[str]] = {}
    for path in by_path:
        children.setdefault(path.rpartition("/")[0], []).append(path)
    for path, ranked in by_path.items():
        for rank, entry in ranked.items():
            if isinstance(entry, ContainerEntry) and entry.type == "list":
                held = [child for child in children.get(path, []) if _is_held(by_path[child], rank)]
                expected = {child_path(path, index) for index in range(len(held))}
                if expected != set(held):
                    odd = sorted(set(held) - expected)[0]
                    message = f"its {len(held)} children are not numbered from 0 on: {odd!r} is among them"
                    yield Finding(Severity.ERROR, "missing-entry", join_entry_path(rank, path), message)


def _is_held(ranked: Mapping[int, Entry], rank: int) -> bool:
    return rank in ranked or any(map(is_replicated, ranked.values()))


def _colliding_keys(entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """Containers with keys that name the same entry, as 1 and "1" do."""
    for path, entry in entries.items():
        if isinstance(entry, ContainerEntry):
            twice = [text for text, count in Counter(map(str, entry.keys)).items() if count > 1]
            if twice:
                message = f"{len(twice)} keys stand for one entry each with another key"
                yield Finding(Severity.ERROR, "colliding-keys", path, message, "", len(twice), tuple(twice[:3]))
