"""Bringing a vocabulary up to date: nobody's row moves, newcomers take free rows, then new ones.

Shape suffixes: N entities of the old vocabulary, M ids seen since, C candidates, K who stay or come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embsnap import __version__
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.counted_ids import CountedIds
from embsnap.formats.id_arrays import concat_ids, take_ids
from embsnap.formats.vocabulary_aliases import Aliases
from embsnap.kernels.join import join
from embsnap.kernels.rows import check_rows
from embsnap.model.vocabulary import Declared, Vocabulary
from embsnap.ops.vocab_candidates import Candidates, candidates_of, give_rows
from embsnap.ops.vocab_extension import Extended, ExtendOptions, result_of
from embsnap.ops.vocab_left import Left, who_left
from embsnap.ops.vocab_roster import Roster, roster_of
from embsnap.ops.vocab_rows import Evict, best
from embsnap.ops.vocab_times import with_same_times
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.ops.vocabulary_findings import duplicate_ids, refuse_errors, row_errors

__all__ = ["ExtendOptions", "Extended", "extend_vocabulary"]


def extend_vocabulary(
    old: Vocabulary,
    new: CountedIds,
    options: ExtendOptions | None = None,
    *,
    aliases: Aliases | None = None,
    inputs: Sequence[str] = (),
) -> Extended:
    """Give rows to the ids seen since, and leave everybody else's row as it is.

    Free rows are taken first, the lowest by the most frequent newcomer, then rows are appended. Reserved and OOV rows
    are never given. With `max_size` the least frequent (or least recent) leave, newcomers or not.

    Args:
        old: As read. What its metadata declares says which rows are reserved; where there is none, rows before the
            first entity's are taken for reserved, unless `options.reserved` says otherwise.
        new: Distinct ids with their counts and perhaps times.
        options: How.
        aliases: Which old ids are to be which new ones.
        inputs: URIs of `new`, for the record of where the result comes from.

    Returns:
        The vocabulary, by row, and a report of who came, stayed and left.

    Raises:
        UsageError: `bad-option`: eviction or decay by counts or times that are not there.
        IncompatibleError: `id-type-mismatch`; `duplicate-ids` or `duplicate-rows` in the old vocabulary;
            `bad-vocabulary`: times of different types, counts beyond int64, or nobody is left.
    """
    options = options or ExtendOptions()
    _check_types(old, new)
    evict = _evict(old, new, options)
    refuse_errors(row_errors(old, check_rows(old.rows_N, None), None, remedy=""))
    old, new = with_same_times(old, new)
    roster = roster_of(old, aliases)
    found_M = _places(old, roster, new, options.threads)
    is_seen_N = np.zeros(len(roster.rows_N), np.bool_)
    is_seen_N[found_M[found_M >= 0]] = True
    stays_N = is_seen_N | options.keep_missing
    candidates = candidates_of(roster, new, found_M, np.flatnonzero(stays_N), options)
    kept = np.arange(len(candidates.rows_C))
    if options.max_size is not None and len(kept) > options.max_size:
        kept = best(candidates.counts_C, candidates.seen_C, candidates.ties_C, evict)[: options.max_size]
    if not len(kept):
        raise _nobody_left(old)
    layout = _layout(old, options)
    rows_K, free, num_reused = give_rows(candidates, kept, layout)
    declared = replace(
        layout,
        num_rows=max(layout.num_rows or 0, int(rows_K.max()) + 1),
        free=free.ranges(),
        provenance=_provenance(old, inputs, options, evict, aliases),
    )
    vocabulary = _vocabulary(old, new, candidates, kept, rows_K, has_donors=aliases is not None)
    vocabulary = replace(vocabulary, declared=declared)
    had_row_N = roster.rows_N >= 0
    left = _left(old, roster, np.flatnonzero(~stays_N & had_row_N), candidates, kept)
    result = result_of(
        old,
        vocabulary,
        roster,
        left,
        fingerprint=fingerprint_of(vocabulary, threads=options.threads),
        num_seen=len(new),
        num_missing=int((~is_seen_N & had_row_N).sum()),
        num_reused=num_reused,
        num_added=int((candidates.rows_C[kept] < 0).sum()),
        num_without_row=int((candidates.rows_C < 0).sum()),
        num_free=len(free),
        was_declared=_is_declared(old, options),
    )
    return Extended(vocabulary, left, result)


def _check_types(old: Vocabulary, new: CountedIds) -> None:
    if old.id_type is not new.id_type:
        raise IncompatibleError(
            ErrorKind.ID_TYPE_MISMATCH,
            "the new ids are of another type than the old vocabulary's",
            where=old.uri,
            expected=old.id_type,
            found=new.id_type,
            hint="write the ids of both in one type",
        )


def _evict(old: Vocabulary, new: CountedIds, options: ExtendOptions) -> Evict:
    """By what to evict, if what it takes is there."""
    evict = options.evict or Evict.COUNT
    lacks_counts = not new.has_counts and (options.decay is not None or (options.max_size and evict != Evict.RECENCY))
    lacks_times = new.last_seen_N is None and options.max_size is not None and evict != Evict.COUNT
    if lacks_counts or lacks_times:
        what = "counts" if lacks_counts else "times"
        raise UsageError(
            ErrorKind.BAD_OPTION,
            f"needs {what}, and the new ids have none",
            where="--decay" if lacks_counts and options.decay is not None else f"--evict {evict}",
            expected=f"a column of {what}",
            hint="count raw events with --id-column (and --time-column), or choose another --evict",
        )
    return evict


def _places(old: Vocabulary, roster: Roster, new: CountedIds, threads: int) -> NDArray[np.int64]:
    """For each new id its index in the roster, or -1."""
    indices_N, indices_M = np.arange(len(roster.rows_N)), np.arange(len(new))
    joined = join(roster.ids, indices_N, new.ids, indices_M, len(new), threads=threads)
    refuse_errors(duplicate_ids(old, joined.old_duplicates))
    if joined.new_duplicates.count:
        problem = f"{joined.new_duplicates.count:,} of the new ids are there more than once"
        raise IncompatibleError(ErrorKind.DUPLICATE_IDS, problem, expected="distinct ids")
    return joined.row_V


def _is_declared(old: Vocabulary, options: ExtendOptions) -> bool:
    """Whether anything says which rows nobody may have."""
    return bool(options.reserved) or (old.declared is not None and old.declared.num_rows is not None)


def _layout(old: Vocabulary, options: ExtendOptions) -> Declared:
    """The rows of the old table: how many, and which nobody may have."""
    declared = old.declared or Declared()
    reserved = tuple(sorted({*declared.reserved, *options.reserved}))
    if not _is_declared(old, options) and (first := int(old.rows_N.min())):
        reserved = ((0, first),)
    ends = [end for _, end in (*reserved, *((declared.oov,) if declared.oov else ()))]
    num_rows = max([declared.num_rows or 0, int(old.rows_N.max()) + 1, *ends])
    return Declared(num_rows=num_rows, reserved=reserved, oov=declared.oov)


def _vocabulary(
    old: Vocabulary,
    new: CountedIds,
    candidates: Candidates,
    kept: NDArray[np.int64],
    rows_K: NDArray[np.int64],
    *,
    has_donors: bool,
) -> Vocabulary:
    by_row = np.argsort(rows_K)
    kept = kept[by_row]
    ids = take_ids(candidates.ids, kept)
    donors = None
    if has_donors:
        donor_K = candidates.donor_C[kept]
        both = concat_ids([ids, old.ids])
        donors = take_ids(both, np.where(donor_K < 0, np.arange(len(kept)), len(kept) + donor_K))
    has_counts = old.counts_N is not None or new.has_counts
    has_times = old.last_seen_N is not None or new.last_seen_N is not None
    return Vocabulary(
        "the new vocabulary",
        old.id_type,
        ids,
        rows_K[by_row],
        candidates.counts_C[kept] if has_counts else None,
        donors,
        last_seen_N=candidates.seen_C[kept] if has_times else None,
        last_seen_type=(old if new.last_seen_N is None else new).last_seen_type,
    )


def _left(
    old: Vocabulary, roster: Roster, missing: NDArray[np.int64], candidates: Candidates, kept: NDArray[np.int64]
) -> Left:
    """Whoever had a row and has none any more."""
    is_out_C = candidates.rows_C >= 0
    is_out_C[kept] = False
    evicted = np.flatnonzero(is_out_C)
    return who_left(
        old,
        evicted=(take_ids(candidates.ids, evicted), candidates.rows_C[evicted], candidates.counts_C[evicted]),
        missing=(take_ids(roster.ids, missing), roster.rows_N[missing], roster.counts_N[missing]),
        merged=roster.merged,
    )


def _provenance(
    old: Vocabulary, inputs: Sequence[str], options: ExtendOptions, evict: Evict, aliases: Aliases | None
) -> dict[str, object]:
    fingerprint = fingerprint_of(old, threads=options.threads)
    recorded = {
        "keep_missing": options.keep_missing,
        "decay": options.decay,
        "max_size": options.max_size,
        "evict": None if options.max_size is None else evict.value,
    }
    return {
        "tool": f"embsnap {__version__}",
        "command": "vocab extend",
        "inputs": [
            {"uri": old.uri, "fingerprint": fingerprint},
            *({"uri": uri} for uri in sorted(inputs)),
            *([] if aliases is None else [{"uri": aliases.uri}]),
        ],
        "options": recorded,
    }


def _nobody_left(old: Vocabulary) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.BAD_VOCABULARY,
        "nobody is left in the vocabulary",
        where=old.uri,
        expected="an entity",
        hint="keep those that are missing, or check the new ids",
    )
