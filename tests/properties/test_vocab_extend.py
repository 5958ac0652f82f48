"""Extending a vocabulary: nobody's row moves, no row is given twice, and nothing depends on the order of the input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embsnap.formats.counted_ids import CountedIds
from embsnap.formats.vocabulary_aliases import Aliases
from embsnap.model.vocabulary import Declared, IdType
from embsnap.ops.vocab_extend import extend_vocabulary
from embsnap.ops.vocab_extension import ExtendOptions
from embsnap.ops.vocab_rows import Evict, FreeRows
from embsnap.testing.vocabularies import ids_of, listed, make_vocabulary

KINDS = {IdType.INT64: lambda n: n - 5, IdType.STRING: lambda n: f"e{n}"}
NUMBERS = st.integers(0, 25)


@st.composite
def _old(draw, id_type):
    """A vocabulary with gaps, and with reserved and OOV rows."""
    who = draw(st.lists(NUMBERS, min_size=1, max_size=12, unique=True))
    num_reserved, num_oov = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    first = num_reserved + num_oov
    num_rows = first + len(who) + draw(st.integers(0, 4))
    rows = draw(st.permutations(range(first, num_rows)))[: len(who)]
    counts = draw(st.lists(st.integers(0, 5), min_size=len(who), max_size=len(who)))
    made = make_vocabulary([KINDS[id_type](n) for n in who], rows, counts=counts)
    declared = Declared(
        num_rows=num_rows,
        reserved=((0, num_reserved),) if num_reserved else (),
        oov=(num_reserved, first) if num_oov else None,
    )
    seen = draw(st.lists(st.integers(-3, 3), min_size=len(who), max_size=len(who)))
    return replace(made, declared=declared, last_seen_N=np.array(seen, np.int64))


def _new(who, counts, seen, id_type):
    ids = ids_of([KINDS[id_type](n) for n in who], id_type)
    return CountedIds.of(id_type, ids, np.array(counts, np.int64), np.array(seen, np.int64))


@st.composite
def _cases(draw):
    id_type = draw(st.sampled_from(list(KINDS)))
    who = draw(st.lists(NUMBERS, max_size=15, unique=True))
    counts = draw(st.lists(st.integers(0, 5), min_size=len(who), max_size=len(who)))
    seen = draw(st.lists(st.integers(-3, 3), min_size=len(who), max_size=len(who)))
    limited = draw(st.booleans())
    options = ExtendOptions(
        max_size=draw(st.integers(1, 15)) if limited else None,
        evict=draw(st.none() | st.sampled_from(list(Evict))) if limited else None,
        keep_missing=draw(st.booleans()) if who else True,
        decay=draw(st.none() | st.sampled_from([0.0, 0.5, 1.0])),
        reserved=tuple((row, row + 1) for row in draw(st.lists(st.integers(0, 40), max_size=2))),
    )
    return id_type, draw(_old(id_type)), (who, counts, seen), options, draw(st.randoms(use_true_random=False))


def _rows(vocabulary):
    return dict(zip(listed(vocabulary.ids), vocabulary.rows_N.tolist(), strict=True))


@settings(deadline=None, max_examples=200)
@given(case=_cases())
def test_invariants(case):
    id_type, old, (who, counts, seen), options, chance = case
    extended = extend_vocabulary(old, _new(who, counts, seen, id_type), options)
    vocabulary, result = extended.vocabulary, extended.result
    before, after = _rows(old), _rows(vocabulary)
    declared = vocabulary.declared
    never = {row for start, end in declared.special for row in range(start, end)}
    newcomers = after.keys() - before.keys()

    assert len(after) == len(vocabulary)
    assert len(set(after.values())) == len(after)
    assert {who: after[who] for who in after.keys() & before.keys()} == {
        who: before[who] for who in after.keys() & before.keys()
    }
    assert not {after[who] for who in newcomers} & never
    assert options.max_size is None or len(after) <= options.max_size
    stayed = {before[who] for who in before.keys() & after.keys()}
    end = max([old.declared.num_rows, int(old.rows_N.max()) + 1, *(end for _, end in declared.special)])
    free = sorted(set(range(end)) - stayed - never)
    expected = [*free, *range(end, end + len(newcomers))][: len(newcomers)]
    assert sorted(after[who] for who in newcomers) == expected
    by_count = dict(zip(listed(vocabulary.ids), vocabulary.counts_N.tolist(), strict=True))
    assert [after[who] for who in sorted(newcomers, key=lambda who: (-by_count[who], who))] == expected

    assert declared.num_rows == max([end, *(row + 1 for row in after.values())])
    is_free = {row for start, stop in declared.free for row in range(start, stop)}
    assert is_free == set(range(declared.num_rows)) - set(after.values()) - never
    gone = before.keys() - after.keys()
    assert (result.num_stayed, result.num_added) == (len(after.keys() & before.keys()), len(newcomers))
    assert result.num_evicted + result.num_dropped == len(gone)
    assert sorted(listed(extended.left.ids)) == sorted(gone)
    assert result.num_not_admitted == len(
        {*listed(_new(who, counts, seen, id_type).ids)} - before.keys() - after.keys()
    )

    order = list(range(len(who)))
    chance.shuffle(order)
    again = _new(*([values[i] for i in order] for values in (who, counts, seen)), id_type)
    mixed = chance.sample(range(len(old)), len(old))
    shuffled = replace(
        make_vocabulary(
            [listed(old.ids)[i].decode() if id_type is IdType.STRING else listed(old.ids)[i] for i in mixed],
            old.rows_N[mixed].tolist(),
            counts=old.counts_N[mixed].tolist(),
        ),
        declared=old.declared,
        last_seen_N=old.last_seen_N[mixed],
    )
    same = extend_vocabulary(shuffled, again, options)
    assert _rows(same.vocabulary) == after
    assert same.result.fingerprint == result.fingerprint


@settings(deadline=None, max_examples=200)
@given(case=_cases())
def test_whoever_leaves_is_no_better_than_whoever_stays(case):
    id_type, old, (who, counts, seen), options, _ = case
    unlimited = extend_vocabulary(old, _new(who, counts, seen, id_type), replace(options, max_size=None, evict=None))
    limited = extend_vocabulary(old, _new(who, counts, seen, id_type), options)
    everybody = unlimited.vocabulary
    values = zip(everybody.counts_N.tolist(), everybody.last_seen_N.tolist(), strict=True)
    value = dict(zip(listed(everybody.ids), values, strict=True))
    inside = {*listed(limited.vocabulary.ids)}
    place = {Evict.RECENCY: 1}.get(options.evict, 0)
    scores = {who: pair[place] for who, pair in value.items()}
    if options.evict is Evict.BOTH:
        scores = {
            who: sum(sum(other[i] < pair[i] for other in value.values()) for i in (0, 1)) for who, pair in value.items()
        }
    worst_inside = min(scores[who] for who in inside)
    assert all(scores[who] <= worst_inside for who in value.keys() - inside)
    assert len(inside) == min(len(value), options.max_size or len(value))


@settings(deadline=None, max_examples=200)
@given(
    case=_cases(),
    pairs=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12, unique=True),
    weights=st.lists(st.integers(1, 3), min_size=12, max_size=12),
)
def test_aliases(case, pairs, weights):
    id_type, old, (who, counts, seen), options, _ = case
    options = replace(options, max_size=None, evict=None, keep_missing=True)
    name = KINDS[id_type]
    key = (lambda n: name(n).encode()) if id_type is IdType.STRING else name
    sides = [ids_of([name(pair[i]) for pair in pairs], id_type) for i in (0, 1)]
    aliases = Aliases("memory://aliases", *sides, np.array(weights[: len(pairs)], np.float64))
    extended = extend_vocabulary(old, _new(who, counts, seen, id_type), options, aliases=aliases)
    before, after = _rows(old), _rows(extended.vocabulary)
    becomes = {who: [who] for who in before}
    becomes |= {key(a): sorted(key(d) for c, d in pairs if c == a) for a, _ in pairs if key(a) in before}
    first = {who: who if who in names else names[0] for who, names in becomes.items()}
    known = dict(zip(listed(old.ids), old.counts_N.tolist(), strict=True))
    keepers = {}
    for target in set(first.values()):
        claims = [who for who in first if first[who] == target]
        keepers[target] = min(claims, key=lambda who: (who != target, -known[who], before[who]))
    assert {target: after[target] for target in keepers} == {target: before[who] for target, who in keepers.items()}
    assert len(set(after.values())) == len(after)
    everybody = {name for names in becomes.values() for name in names}
    assert set(after) == everybody | {key(n) for n in who}
    assert extended.result.num_merged == len(before) - len(keepers)
    assert extended.result.num_renamed == sum(who != target for target, who in keepers.items())
    assert extended.result.num_split == len(everybody - set(keepers))
    donors = dict(zip(listed(extended.vocabulary.ids), listed(extended.vocabulary.donors), strict=True))
    weight = {(key(a), key(b)): w for (a, b), w in zip(pairs, weights, strict=False)}
    for target in after:
        if target in keepers:
            assert donors[target] == keepers[target]
        elif target in everybody:
            claims = [who for who in becomes if target in becomes[who]]
            assert donors[target] == min(claims, key=lambda who: (-weight[who, target], -known[who], before[who]))
        else:
            assert donors[target] == target


@given(
    taken=st.lists(st.integers(0, 30), unique=True),
    special=st.lists(
        st.tuples(st.integers(0, 10), st.integers(0, 10)).map(lambda pair: tuple(sorted(pair))), max_size=3
    ),
    num=st.integers(0, 40),
)
def test_free_rows_are_the_rest(taken, special, num):
    num_rows = max([30, *taken]) + 1
    free = FreeRows.of(np.array(taken, np.int64), special, num_rows)
    expected = sorted(set(range(num_rows)) - set(taken) - {row for start, end in special for row in range(start, end)})
    assert free.first(num).tolist() == expected[:num]
    assert len(free) == len(expected)
    assert [row for start, end in free.ranges() for row in range(start, end)] == expected
