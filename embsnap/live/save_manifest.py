"""The manifest of a snapshot that several ranks have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.torchsnapshot.arrays import assemble
from embsnap.formats.torchsnapshot.listing import Listing
from embsnap.live.save_entries import RankManifest
from embsnap.model.manifest import ChunkedTensorEntry, ContainerEntry, Entry, Manifest, Shard
from embsnap.model.paths import join_entry_path, last_segment

__all__ = ["merge"]

_VERSION = "0.1.0"


def merge(ranks: Sequence[RankManifest]) -> Manifest:
    """The entries of all ranks, with what is one tensor for all of them under rank 0.

    Raises:
        SnapshotError: `bad-cover`: the ranks' rectangles leave a hole in a tensor.
        IncompatibleError: `shape-mismatch`: they end before it does.
    """
    joined = {path: _joined(path, ranks) for path in sorted({path for rank in ranks for path in rank.pieces})}
    entries: dict[str, Entry] = {}
    for number, rank in enumerate(ranks):
        own: dict[str, Entry] = {**_containers(rank, joined), **rank.entries, **(joined if number == 0 else {})}
        entries |= {join_entry_path(number, path): entry for path, entry in own.items()}
    manifest = Manifest(_VERSION, len(ranks), entries)
    _check_whole(manifest, {path: shape for rank in ranks for path, shape in rank.shapes.items()})
    return manifest


def _joined(path: str, ranks: Sequence[RankManifest]) -> Entry:
    found = [rank.pieces[path] for rank in ranks if path in rank.pieces]
    (shape, dtype, _), parts = found[0], [shard for _, _, shards in found for shard in shards]
    if 0 in shape:
        return ChunkedTensorEntry(dtype, shape, (), replicated=True)
    if len(parts) == 1 and parts[0].sizes == shape:
        return replace(parts[0].tensor, replicated=True)
    return ChunkedTensorEntry(dtype, shape, _sorted(parts), replicated=True)


def _sorted(parts: Sequence[Shard]) -> tuple[Shard, ...]:
    return tuple(sorted(parts, key=lambda shard: shard.offsets))


def _containers(rank: RankManifest, joined: Mapping[str, Entry]) -> dict[str, ContainerEntry]:
    """A rank's containers, and in them every tensor that stands for all ranks, whether it holds a part or not."""
    containers = dict(rank.containers)
    for path in joined:
        while "/" in path:
            parent = path.rpartition("/")[0]
            container = containers.get(parent, ContainerEntry("dict", ()))
            key = last_segment(path)
            if container.type != "list" and key not in map(str, container.keys):
                container = replace(container, keys=(*container.keys, key))
            containers[parent] = container
            path = parent
    return dict(sorted(containers.items(), key=lambda item: item[0].count("/")))


def _check_whole(manifest: Manifest, shapes: Mapping[str, tuple[int, ...]]) -> None:
    listing = Listing(manifest)
    for path, shape in shapes.items():
        if 0 in shape:
            continue
        found = assemble(listing, path).shape
        if found != shape:
            raise IncompatibleError(
                ErrorKind.SHAPE_MISMATCH,
                "the ranks hold less than the whole tensor",
                where=path,
                expected=list(shape),
                found=list(found),
                hint="call save on every rank that holds a shard",
            )
