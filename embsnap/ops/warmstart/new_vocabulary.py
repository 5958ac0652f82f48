"""Checking the vocabulary that a new table is to have."""

from __future__ import annotations

from dataclasses import replace

from embsnap.config.embedding import EmbeddingBagConfig
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocabulary import check_vocabulary
from embsnap.ops.vocabulary_findings import ROW_GAPS, refuse_errors

__all__ = ["check_new", "reserved_range"]


def reserved_range(table: EmbeddingBagConfig) -> tuple[int, int] | None:
    """Rows that the config reserves, `[start, end)`."""
    return None if table.reserved is None else (table.reserved.start, table.reserved.end)


def check_new(vocabulary: Vocabulary, table: EmbeddingBagConfig, threads: int) -> tuple[Finding, ...]:
    """Refuse a vocabulary that does not fit its table; gaps are rows to be drawn, and only noted."""
    found = check_vocabulary(vocabulary, table.num_embeddings, reserved=reserved_range(table), threads=threads)
    findings = tuple(
        replace(finding, severity=Severity.NOTE) if finding.kind == ROW_GAPS else finding for finding in found
    )
    refuse_errors(findings)
    return findings
