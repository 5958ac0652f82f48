"""`embsnap vocab build` and `embsnap vocab extend` as typed."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.vocabularies import listed, make_vocabulary


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two days of events: 7 thrice, 5 and 3 twice, 9 once, a null."""
    for day, users in enumerate([[7, 5, 7, None], [3, 7, 5, 3, 9]]):
        path = tmp_path / "logs" / f"{day}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"user": pa.array(users, pa.int64()), "at": range(len(users))}), path)
    return tmp_path / "logs"


def rows(uri: object) -> dict[object, int]:
    read = read_vocabulary(str(uri))
    return dict(zip(listed(read.ids), read.rows_N.tolist(), strict=True))


def test_build(embsnap, logs, tmp_path) -> None:
    run = embsnap(
        *("vocab", "build", logs, "--id-column", "user", "--out", tmp_path / "v", "--num-oov", 2, "--reserved", 1),
        *("--time-column", "at", "--min-count", 2, "--max-size", 2, "--json"),
    )
    assert run.exit_code == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["schema"] == "embsnap.vocab_build"
    assert (result["num_events"], result["num_nulls"], result["num_distinct"]) == (8, 1, 4)
    assert (result["num_rare"], result["num_rare_events"]) == (1, 1)
    assert (result["num_beyond"], result["num_beyond_events"]) == (1, 2)
    assert (result["coverage"], result["num_rows"]) == (5 / 8, 5)
    assert rows(tmp_path / "v") == {7: 3, 3: 4}
    read = read_vocabulary(str(tmp_path / "v"))
    assert read.counts_N.tolist() == [3, 2]
    assert read.last_seen_N.tolist() == [2, 3]
    assert read.declared.fingerprint == result["fingerprint"]
    assert (read.declared.reserved, read.declared.oov, read.declared.num_rows) == (((0, 1),), (1, 3), 5)
    assert read.declared.provenance["inputs"] == [{"uri": str(logs)}]


def test_build_is_the_same_whatever_the_files(embsnap, logs, tmp_path) -> None:
    table = pq.read_table(logs)
    pq.write_table(table.take(list(reversed(range(table.num_rows)))), tmp_path / "one.parquet", row_group_size=2)
    prints = []
    for number, events in enumerate([[logs], [logs / "1.parquet", logs / "0.parquet"], [tmp_path / "one.parquet"]]):
        run = embsnap("vocab", "build", *events, "--id-column", "user", "--out", tmp_path / f"v{number}", "--json")
        prints.append(json.loads(run.stdout)["fingerprint"])
    assert len(set(prints)) == 1


def test_build_dry(embsnap, logs, tmp_path) -> None:
    run = embsnap("vocab", "build", logs, "--id-column", "user", "--dry-run", "--out", tmp_path / "v")
    assert run.exit_code == 0
    assert "dry run, nothing written: 9 records in 2 files counted" in run.stdout
    assert "100.00 %" in run.stdout
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("logs", "--id-column", "user"), 2, "--out"),
        (("logs", "--out", "v"), 2, "--id-column"),
        (("logs", "--id-column", "who", "--out", "v"), 5, "who"),
        (("logs", "--id-column", "user", "--min-count", "9", "--out", "v"), 5, "no id is left"),
        (("none", "--id-column", "user", "--out", "v"), 3, "none"),
        (("logs", "--id-column", "who", "--out", "v"), 5, "with --id-column"),
        (("logs", "--id-column", "user", "--out", "v", "--reserved", 2**62, "--num-oov", 1), 2, "leave no row"),
        (("logs", "--id-column", "user", "--out", "logs"), 7, "overwrites nothing"),
    ],
)
def test_build_refused(embsnap, logs, tmp_path, monkeypatch, arguments, exit_code, words) -> None:
    monkeypatch.chdir(tmp_path)
    run = embsnap("vocab", "build", *arguments)
    assert run.exit_code == exit_code, run.stderr
    assert words in run.stderr
    assert not (tmp_path / "v").exists()


@pytest.fixture
def monday(embsnap, logs, tmp_path) -> Path:
    """7, 3, 5, 9 in rows 1, 2, 3, 4, after a reserved one."""
    embsnap("vocab", "build", logs, "--id-column", "user", "--reserved", 1, "--out", tmp_path / "monday", "--quiet")
    return tmp_path / "monday"


def test_extend_by_events(embsnap, monday, tmp_path) -> None:
    pq.write_table(pa.table({"user": [7, 11, 11, 5, 12, 5, 13, 13, 13]}), tmp_path / "tuesday.parquet")
    run = embsnap(
        *("vocab", "extend", monday, tmp_path / "tuesday.parquet", "--id-column", "user", "--max-size", 4),
        *("--out", tmp_path / "tuesday", "--left", tmp_path / "left.parquet", "--json"),
    )
    assert run.exit_code == 0, run.stderr
    assert rows(tmp_path / "tuesday") == {7: 1, 13: 2, 5: 3, 11: 4}
    result = json.loads(run.stdout)
    assert (result["num_stayed"], result["num_added"], result["num_reused_rows"]) == (2, 2, 2)
    assert (result["num_evicted"], result["num_not_admitted"], result["num_rows"]) == (2, 1, 5)
    assert [(left["id"], left["row"], left["reason"]) for left in result["left"]] == [
        ("3", 2, "evicted"),
        ("9", 4, "evicted"),
    ]
    assert pq.read_table(tmp_path / "left.parquet").to_pydict() == {
        "id": [3, 9],
        "row": [2, 4],
        "count": [0, 0],
        "reason": ["evicted", "evicted"],
    }
    declared = read_vocabulary(str(tmp_path / "tuesday")).declared
    assert declared.provenance["inputs"][0]["fingerprint"] == read_vocabulary(str(monday)).declared.fingerprint


def test_extend_by_counts_with_decay_and_times(embsnap, monday, tmp_path) -> None:
    new = pa.table({"id": [5, 20], "count": [3, 1], "last_seen": [50, 60]})
    pq.write_table(new, tmp_path / "new.parquet")
    out = tmp_path / "tuesday.parquet"
    run = embsnap("vocab", "extend", monday, tmp_path / "new.parquet", "--decay", 0.5, "--out", out)
    assert run.exit_code == 0, run.stderr
    read = read_vocabulary(str(out))
    assert dict(zip(listed(read.ids), read.counts_N.tolist(), strict=True)) == {7: 1, 3: 1, 5: 4, 9: 0, 20: 1}
    assert dict(zip(listed(read.ids), read.last_seen_N.tolist(), strict=True))[5] == 50
    assert pq.read_table(out)["last_seen"].null_count == 3
    assert rows(out) == {7: 1, 3: 2, 5: 3, 9: 4, 20: 5}
    assert "never given: rows [0, 1)\n" in run.stdout


def test_extend_by_ids_alone_and_drop_the_missing(embsnap, monday, tmp_path) -> None:
    pq.write_table(pa.table({"id": [5, 30]}), tmp_path / "ids.parquet")
    out = tmp_path / "tuesday.parquet"
    run = embsnap("vocab", "extend", monday, tmp_path / "ids.parquet", "--drop-missing", "--out", out)
    assert run.exit_code == 0, run.stderr
    assert rows(out) == {30: 1, 5: 3}
    assert read_vocabulary(str(out)).declared.free == ((2, 3), (4, 5))
    assert "missing" in run.stdout


def test_extend_with_aliases(embsnap, monday, tmp_path) -> None:
    """7 is 70 now, 3 and 5 are 35, and 9 is 90 and 91."""
    pq.write_table(
        pa.table({"old_id": [7, 3, 5, 9, 9, 99], "new_id": [70, 35, 35, 90, 91, 1]}), tmp_path / "aliases.parquet"
    )
    pq.write_table(pa.table({"id": [70], "count": [1]}), tmp_path / "new.parquet")
    out = tmp_path / "tuesday.parquet"
    run = embsnap(
        *("vocab", "extend", monday, tmp_path / "new.parquet", "--aliases", tmp_path / "aliases.parquet"),
        *("--decay", 1, "--out", out),
    )
    assert run.exit_code == 0, run.stderr
    read = read_vocabulary(str(out), donor_column="donor")
    table = dict(zip(listed(read.ids), zip(read.rows_N, read.counts_N, listed(read.donors), strict=True), strict=True))
    assert table == {70: (1, 4, 7), 35: (2, 4, 3), 91: (3, 0, 9), 90: (4, 1, 9)}
    assert "aliases of ids that the old vocabulary lacks: 1" in run.stdout


def test_extend_a_foreign_vocabulary(embsnap, tmp_path) -> None:
    """Rows before the first entity's are taken for reserved, unless others are declared."""
    pq.write_table(pa.table({"key": ["a", "b"], "index": [2, 4]}), tmp_path / "old.parquet")
    pq.write_table(pa.table({"id": ["c", "d"]}), tmp_path / "new.parquet")
    for number, (options, expected) in enumerate(
        [
            ((), {b"a": 2, b"b": 4, b"c": 3, b"d": 5}),
            (("--reserved", "0:1", "--reserved", "3"), {b"a": 2, b"b": 4, b"c": 1, b"d": 5}),
        ]
    ):
        out = tmp_path / f"out{number}.parquet"
        run = embsnap("vocab", "extend", tmp_path / "old.parquet", tmp_path / "new.parquet", "--out", out, *options)
        assert run.exit_code == 0, run.stderr
        assert rows(out) == expected
        assert ("assumed" in run.stdout) is not bool(options)


def test_extend_with_times_that_no_unit_of_both_holds(embsnap, tmp_path) -> None:
    old = {"id": [7], "row": [0], "last_seen": pa.array([date(9999, 12, 31)])}
    pq.write_table(pa.table(old), tmp_path / "old.parquet")
    pq.write_table(pa.table({"id": [7], "last_seen": pa.array([1], pa.timestamp("ns"))}), tmp_path / "new.parquet")
    run = embsnap("vocab", "extend", tmp_path / "old.parquet", tmp_path / "new.parquet", "--out", tmp_path / "v")
    assert run.exit_code == 5, run.stderr
    assert "a time of the old vocabulary is too far away" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("monday", "ids.parquet"), 2, "--out"),
        (("monday", "ids.parquet", "--out", "v", "--evict", "count"), 2, "--max-size"),
        (("monday", "ids.parquet", "--out", "v", "--max-size", "3"), 2, "--evict count"),
        (("monday", "ids.parquet", "--out", "v", "--max-size", "3", "--evict", "recency"), 2, "times"),
        (("monday", "ids.parquet", "--out", "v", "--decay", "0.5"), 2, "--decay"),
        (("monday", "ids.parquet", "--out", "v", "--time-column", "at"), 2, "--id-column"),
        (("monday", "texts.parquet", "--out", "v"), 5, "another type"),
        (("monday", "logs", "--out", "v"), 2, "looks like ids"),
        (("monday", "times.parquet", "--out", "v"), 5, "another type"),
        (("monday", "ids.parquet", "--out", "v", "--aliases", "twice.parquet"), 5, "more than once"),
        (("monday", "ids.parquet", "--out", "v", "--aliases", "texts.parquet"), 5, "old_id"),
        (("monday", "ids.parquet", "--out", "v", "--aliases", "nulls.parquet"), 5, "nulls"),
        (("monday", "ids.parquet", "--out", "v", "--aliases", "text_aliases.parquet"), 5, "another type"),
        (("doubled.parquet", "ids.parquet", "--out", "v"), 5, "earlier entity"),
        (("monday", "none.parquet", "--out", "v", "--drop-missing"), 5, "nobody is left"),
        (("monday", "ids.parquet", "counts.parquet", "--out", "v"), 5, "has a column 'count'"),
        (("monday", "ids.parquet", "--out", "v", "--reserved", f"5:{10**30}"), 2, "below 2**62"),
        (("far.parquet", "ids.parquet", "--out", "v"), 5, "a row that no table has"),
        (("monday", "ids.parquet", "--out", "monday"), 7, "overwrites nothing"),
        (("monday", "ids.parquet", "--out", "v", "--left", "v/left.parquet"), 2, "--left"),
        (("monday", "ids.parquet", "--out", "v", "--left", "./v/"), 2, "--left"),
        (("monday", "ids.parquet", "--out", "v/new.parquet", "--left", "v"), 2, "--left"),
    ],
)
def test_extend_refused(embsnap, logs, tmp_path, monkeypatch, arguments, exit_code, words) -> None:
    monkeypatch.chdir(tmp_path)
    embsnap("vocab", "build", logs, "--id-column", "user", "--time-column", "at", "--out", "monday", "--quiet")
    files = {
        "ids": {"id": [7]},
        "counts": {"id": [9], "count": [4]},
        "none": {"id": pa.array([], pa.int64())},
        "texts": {"id": ["7"]},
        "times": {"id": [7], "last_seen": pa.array([1], pa.timestamp("us"))},
        "twice": {"old_id": [7, 7], "new_id": [1, 1]},
        "nulls": {"old_id": [7], "new_id": pa.array([None], pa.int64())},
        "text_aliases": {"old_id": ["7"], "new_id": ["8"]},
    }
    for name, columns in files.items():
        pq.write_table(pa.table(columns), f"{name}.parquet")
    write_vocabulary(make_vocabulary([1, 1]), "doubled.parquet")
    write_vocabulary(make_vocabulary([1, 2], [0, 2**63 - 1]), "far.parquet")
    run = embsnap("vocab", "extend", *arguments)
    assert run.exit_code == exit_code, run.stderr
    assert words in run.stderr
    assert not (tmp_path / "v").exists()
