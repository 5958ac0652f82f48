"""A vocabulary of which each of several processes reads a part.

Shape suffixes: N entities of the part, V rows of the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from embsnap.formats.vocabulary import VocabularyFiles
from embsnap.kernels.hashing import add_sums, fingerprint_sums, fingerprint_text
from embsnap.kernels.rows import HeldRows, is_dense
from embsnap.model.progress import Progress
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.warmstart.peers import Peers
from embsnap.ops.warmstart.routes import union
from embsnap.ops.warmstart.sources import VocabularyRef

__all__ = ["SharedVocabulary", "read_shared"]


@dataclass(frozen=True, slots=True, eq=False)
class SharedVocabulary:
    """The part that was read here, and what is known of all of it."""

    part: Vocabulary
    held: HeldRows
    """The rows that entities have, each one."""
    ref: VocabularyRef
    num_entities: int

    def without_ids(self) -> SharedVocabulary:
        """The same, once the part's entities are with others."""
        nothing = np.empty(0, np.int64)
        return replace(self, part=replace(self.part, ids=nothing, rows_N=nothing, counts_N=None))


class _PartSums(NamedTuple):
    """What one process found in its part."""

    is_sound: bool
    """It has no value that cannot be, and no row beyond the table."""
    sums: tuple[int, int]
    """Of the fingerprint."""


def read_shared(
    files: VocabularyFiles, num_rows: int, *, part: int, peers: Peers, threads: int, progress: Progress
) -> SharedVocabulary | None:
    """Read a part of a vocabulary, and learn what the others find in theirs.

    Args:
        files: Of the vocabulary.
        num_rows: V of its table.
        part: Which of as many parts as there are peers is read here.
        peers: Each reads another part.
        threads: Of the kernels.
        progress: Is told of what is read.

    Returns:
        None, for all, if a value cannot be, a row is beyond the table or given twice, or the rows are too far apart to
        keep a bit for each.

    Raises:
        EmbsnapError: What reading raises in any process.
    """
    num_entities = sum(file.num_rows for file in files.objects)
    if not is_dense(num_rows, num_entities):
        return None
    kept: list[Vocabulary] = []

    def step() -> _PartSums:
        vocabulary, defects = files.read((part, peers.size), progress=progress)
        kept.append(vocabulary)
        is_sound = not defects and int(vocabulary.rows_N.max(initial=-1)) < num_rows
        sums = fingerprint_sums(vocabulary.ids, vocabulary.rows_N, threads=threads)
        return _PartSums(is_sound, sums)

    parts = peers.agree(step)
    if not all(one.is_sound for one in parts):
        return None
    held = union(peers, HeldRows.of(kept[0].rows_N, num_rows))
    if len(held) != num_entities:
        return None
    text = fingerprint_text(files.layout.id_type, num_entities, add_sums([one.sums for one in parts]))
    return SharedVocabulary(kept[0], held, VocabularyRef(files.uri, text), num_entities)
