"""What is in a vocabulary: its entities read once, its files by their footers.

Shape suffixes: N entities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.formats.vocabulary_survey import survey
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocab_inspection import CountDistribution, VocabInspection
from embsnap.model.vocabulary import Declared, Vocabulary
from embsnap.ops.vocab_entities import entities_at, exact_sum, largest
from embsnap.ops.vocabulary import fingerprint_of

__all__ = ["VocabInspectOptions", "inspect_vocabulary"]

_QUANTILES = {"p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabInspectOptions:
    """How to read it, and how much of it to show."""

    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    num_shown: int = 5
    """Entities in the sample, and among those with the largest counts."""
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)


def inspect_vocabulary(
    uri: str, options: VocabInspectOptions | None = None, *, progress: Progress = SILENT
) -> VocabInspection:
    """What is in the vocabulary at a URI.

    Raises:
        IncompatibleError: `bad-vocabulary`, `id-type-mismatch`: as `read_vocabulary` says.
        NotFoundError: No parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    options = options or VocabInspectOptions()
    given, storage, threads = options.columns, options.storage_options, options.threads
    vocabulary = read_vocabulary(uri, columns=given, options=storage, threads=threads, progress=progress)
    files, columns = survey(uri, columns=given, options=storage, threads=threads)
    declared = vocabulary.declared or Declared()
    last_row = int(vocabulary.rows_N.max())
    return VocabInspection(
        uri=uri,
        num_entities=len(vocabulary),
        id_type=vocabulary.id_type,
        fingerprint=fingerprint_of(vocabulary, threads=threads),
        first_row=int(vocabulary.rows_N.min()),
        last_row=last_row,
        density=_num_distinct(vocabulary.rows_N, last_row) / (last_row + 1),
        num_rows=declared.num_rows,
        reserved=declared.reserved,
        free=declared.free,
        oov=declared.oov,
        made_by=_made_by(declared),
        files=files,
        columns=columns,
        sample=entities_at(vocabulary, range(min(options.num_shown, len(vocabulary)))),
        counts=_distribution(vocabulary, options.num_shown),
        findings=vocabulary.findings,
    )


def _num_distinct(rows_N: NDArray[np.int64], last_row: int) -> int:
    if last_row < 64 * len(rows_N):
        held = np.zeros(last_row + 1, np.bool_)
        held[rows_N] = True
        return int(np.count_nonzero(held))
    return 1 + int(np.count_nonzero(np.diff(np.sort(rows_N))))


def _made_by(declared: Declared) -> str | None:
    parts = [str(declared.provenance[name]) for name in ("tool", "command") if declared.provenance.get(name)]
    return ": ".join(parts) or None


def _distribution(vocabulary: Vocabulary, num_shown: int) -> CountDistribution | None:
    counts_N = vocabulary.counts_N
    if counts_N is None:
        return None
    ascending_N = np.sort(counts_N)
    total = exact_sum(counts_N)
    num_top = -(-len(counts_N) // 10)
    return CountDistribution(
        total=total,
        mean=total / len(counts_N),
        quantiles={"min": int(ascending_N[0]), **_quantiles(ascending_N), "max": int(ascending_N[-1])},
        top=entities_at(vocabulary, largest(counts_N, num_shown, vocabulary.rows_N)),
        top_decile_share=exact_sum(ascending_N[-num_top:]) / total if total else None,
    )


def _quantiles(ascending_N: NDArray[np.int64]) -> dict[str, int]:
    """The least value that at least such a share of all does not exceed."""
    num = len(ascending_N)
    return {name: int(ascending_N[max(0, int(np.ceil(share * num)) - 1)]) for name, share in _QUANTILES.items()}
