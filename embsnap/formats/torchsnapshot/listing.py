"""A manifest by logical path: which ranks list an entry there, and which should and do not."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from embsnap.model.manifest import ContainerEntry, DTensorEntry, Entry, Manifest, is_replicated
from embsnap.model.paths import child_path, split_entry_path

__all__ = ["Listing"]


class Listing:
    """The entries of all ranks, grouped.

    Attributes:
        manifest: What was grouped.
        by_path: Logical path → rank → entry, in file order.
        missing: Logical path → ranks whose container names it without there being an entry.
        silent_rank: The first rank below the world size that lists nothing at all, or None.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.by_path: dict[str, dict[int, Entry]] = {}
        ranks = set()
        for path, entry in manifest.entries.items():
            rank, logical = _split(path)
            ranks.add(rank)
            self.by_path.setdefault(logical, {})[rank] = entry
        first_absent = next(rank for rank in count() if rank not in ranks)
        self.silent_rank = first_absent if first_absent < manifest.world_size else None
        self.missing = self._missing()

    def entry(self, path: str) -> Entry | None:
        """The entry under a full entry path, or the lowest rank's under a logical path."""
        if path in self.manifest.entries:
            return self.manifest.entries[path]
        ranked = self.by_path.get(path)
        return None if ranked is None else ranked[min(ranked)]

    def _missing(self) -> dict[str, list[int]]:
        missing: dict[str, list[int]] = {}
        for logical, ranked in self.by_path.items():
            for rank, entry in ranked.items():
                if not isinstance(entry, ContainerEntry):
                    continue
                for key in entry.keys:
                    child = child_path(logical, key)
                    if not self._is_listed(child, rank):
                        missing.setdefault(child, []).append(rank)
        return missing

    def _is_listed(self, logical: str, rank: int) -> bool:
        ranked: Mapping[int, Entry] = self.by_path.get(logical, {})
        return rank in ranked or any(_stands_for_all(entry) for entry in ranked.values())


def _split(path: str) -> tuple[int, str]:
    split = split_entry_path(path)
    assert split is not None, "parse_metadata checks every path"
    return split


def _stands_for_all(entry: Entry) -> bool:
    return is_replicated(entry) or isinstance(entry, DTensorEntry)
