"""How much of the events a vocabulary knows, against counting in Python."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.config.embedding import StratifierConfig
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.ops.vocab_coverage import VocabCoverageOptions, cover_events

NUM = 400


@pytest.fixture(scope="module")
def events():
    """Users, lists of posts, and discrete features; some of them null."""
    choice = random.Random(7)
    users = [choice.choice([None, *range(60)]) for _ in range(NUM)]
    posts = [choice.choice([None, [], [choice.randrange(60) for _ in range(3)], [5, None]]) for _ in range(NUM)]
    features = [[choice.randrange(3), choice.randrange(2)] for _ in range(NUM)]
    return {"user": users, "posts": posts, "discrete_features": features}


@pytest.fixture
def files(tmp_path, events):
    ids = list(range(0, 80, 2))
    vocabulary = {"id": ids, "row": list(range(40)), "count": [i * i % 17 for i in ids]}
    pq.write_table(pa.table(vocabulary), tmp_path / "vocab.parquet")
    for part in range(2):
        half = {name: values[part::2] for name, values in events.items()}
        (tmp_path / "events").mkdir(exist_ok=True)
        pq.write_table(pa.table(half), tmp_path / "events" / f"{part}.parquet")
    return str(tmp_path / "vocab.parquet"), [str(tmp_path / "events")], dict(zip(ids, vocabulary["count"], strict=True))


def flat(events, names, keep=lambda features: True):
    for name in names:
        for value, features in zip(events[name], events["discrete_features"], strict=True):
            if keep(features):
                yield from (value if name == "posts" else [value]) or []


def check(covered, ids, known):
    ids = list(ids)
    counts = Counter(value for value in ids if value is not None)
    hits = sum(number for value, number in counts.items() if value in known)
    assert (covered.num_events, covered.num_hits, covered.num_nulls) == (counts.total(), hits, ids.count(None))
    assert (covered.num_ids, covered.num_known_ids) == (len(counts), sum(value in known for value in counts))
    assert covered.coverage == pytest.approx(hits / counts.total())
    assert covered.oov_rate == pytest.approx(1 - hits / counts.total())


def test_all_columns_strata_deciles_and_missing_ids(files, events):
    uri, places, known = files
    strata = [StratifierConfig(name="first", index=0, value=2), StratifierConfig(name="second", index=1, value=0)]
    names = ("user", "posts")
    found = cover_events(uri, places, VocabCoverageOptions(id_columns=names, strata=strata, num_missing=4))
    check(found.total, flat(events, names), known)
    for column, name in zip(found.columns, names, strict=True):
        assert column.name == name
        check(column, flat(events, [name]), known)
    check(found.strata[0], flat(events, names, lambda features: features[0] == 2), known)
    check(found.strata[1], flat(events, names, lambda features: features[1] == 0), known)
    counts = Counter(value for value in flat(events, names) if value is not None)
    missing = sorted((-number, value) for value, number in counts.items() if value not in known)[:4]
    assert [(-found.num_events, found.id) for found in found.missing] == missing
    ordered = sorted(known, key=lambda value: (-known[value], value))
    for decile in found.deciles:
        inside = ordered[(decile.number - 1) * 4 : decile.number * 4]
        assert (decile.max_count, decile.min_count) == (known[inside[0]], known[inside[-1]])
        assert decile.num_hits == sum(counts[value] for value in inside)
        assert decile.num_seen == sum(value in counts for value in inside)
    assert len(found.deciles) == 10
    assert sum(decile.num_hits for decile in found.deciles) == found.total.num_hits
    assert found.ok


@pytest.mark.parametrize(("gate", "ok"), [(None, True), (0.0, True), (0.2, True), (0.9, False)])
def test_the_gate(files, gate, ok):
    uri, places, _ = files
    found = cover_events(uri, places, VocabCoverageOptions(id_columns=["user"], min_coverage=gate))
    assert (found.ok, found.columns) == (ok, (found.total,))
    assert 0.2 < found.total.coverage < 0.9


def test_no_event_is_never_enough(tmp_path, files):
    pq.write_table(pa.table({"user": pa.array([None, None], pa.int64())}), tmp_path / "none.parquet")
    options = VocabCoverageOptions(id_columns=["user"], min_coverage=0.0)
    found = cover_events(files[0], [str(tmp_path / "none.parquet")], options)
    assert (found.ok, found.total.coverage, found.total.num_nulls, found.missing) == (False, None, 2, ())
    assert {decile.share for decile in found.deciles} == {None}


def test_ids_of_another_type_are_refused(tmp_path, files):
    pq.write_table(pa.table({"user": ["1"]}), tmp_path / "text.parquet")
    with pytest.raises(
        IncompatibleError, match=r"expected int64 ids, as in .*vocab.parquet, found string ids"
    ) as caught:
        cover_events(files[0], [str(tmp_path / "text.parquet")], VocabCoverageOptions(id_columns=["user"]))
    assert caught.value.kind is ErrorKind.ID_TYPE_MISMATCH
