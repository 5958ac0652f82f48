"""`embsnap vocab inspect`, `validate`, `lookup`, `diff` and `coverage`: what they print, and how they end."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.vocabulary import Declared, IdType
from embsnap.testing.vocabularies import make_vocabulary, parquet_bytes


@pytest.fixture
def user(tmp_path):
    """Three users, with counts and metadata."""
    declared = Declared(num_rows=8, reserved=((0, 1),), oov=(1, 2), provenance={"tool": "embsnap 1", "command": "made"})
    vocabulary = replace(make_vocabulary([7, 8, 9], [2, 3, 4], counts=[70, 20, 10]), declared=declared)
    return write_vocabulary(vocabulary, str(tmp_path / "user.parquet"))


@pytest.fixture
def text(tmp_path):
    """Three words, none of them sorted by row."""
    path = tmp_path / "text.parquet"
    path.write_bytes(parquet_bytes({"word": ["a", "A", "b"], "row": [1, 0, 2], "note": [1.5, 2.5, None]}))
    return path


def test_the_group_lists_its_commands(embsnap):
    run = embsnap("vocab", "--help")
    assert run.exit_code == 0
    for name in ("align", "build", "convert", "coverage", "diff", "extend", "inspect", "lookup", "validate"):
        assert f"\n  {name} " in run.stdout
    assert embsnap("vocab").exit_code == 2
    assert "No such command 'nope'" in embsnap("vocab", "nope").stderr


def test_inspect(embsnap, user):
    run = embsnap("vocab", "inspect", user)
    assert run.exit_code == 0
    lines = run.stdout.splitlines()
    assert lines[:2] == [f"vocabulary: {user}", "3 entities, int64 ids, rows 2 to 4, density 60.00 %"]
    assert lines[2].startswith("fingerprint: v1:int64:3:")
    expected = ["reserved rows: [0, 1)", "OOV rows: [1, 2)", "made for a table of 8 rows", "written by embsnap 1: made"]
    assert lines[3:7] == expected
    assert "counts: 100 in all, mean 33.3333, min 10, p25 10, p50 20, p75 70, p90 70, p99 70, max 70" in lines
    assert "the tenth with the largest counts has 70.00 % of them" in lines
    assert [line.split() for line in lines[-3:]] == [["7", "2", "70"], ["8", "3", "20"], ["9", "4", "10"]]


def test_inspect_in_json(embsnap, user, text):
    found = json.loads(embsnap("vocab", "inspect", user, "--json", "--show", 1).stdout)
    assert (found["schema"], found["version"], found["id_type"]) == ("embsnap.vocab.inspect", 1, "int64")
    assert found["sample"] == [{"id": 7, "row": 2, "count": 70}]
    assert [(column["name"], column["role"]) for column in found["columns"]] == [
        ("id", "id"),
        ("row", "row"),
        ("count", "count"),
    ]
    assert found["files"][0]["num_entities"] == 3
    found = json.loads(embsnap("vocab", "inspect", text, "--json", "--vocab-column", "id=word").stdout)
    assert (found["columns"][2]["role"], found["counts"], found["oov"]) == (None, None, None)
    assert found["columns"][2]["type"] == "double"


def test_what_is_no_vocabulary(embsnap, text, tmp_path):
    run = embsnap("vocab", "inspect", text)
    assert (run.exit_code, run.stdout) == (5, "")
    assert "no column looks like the id column" in run.stderr
    assert embsnap("vocab", "inspect", tmp_path / "none").exit_code == 3
    for wrong in ("id", "user=x", "id="):
        assert "is not of the form role=name" in embsnap("vocab", "inspect", text, "--vocab-column", wrong).stderr
    twice = ("--vocab-column", "id=word", "--vocab-column", "id=note")
    assert "given twice: id" in embsnap("vocab", "inspect", text, *twice).stderr


def test_validate(embsnap, user, text):
    run = embsnap("vocab", "validate", user)
    assert run.exit_code == 0
    assert run.stdout.endswith("sound: 0 errors, 0 warnings, 0 notes\n")
    assert "not checked: look-alike ids: the ids are no strings" in run.stdout
    run = embsnap("vocab", "validate", text, "--vocab-column", "id=word")
    assert run.exit_code == 1
    assert "not sound: 0 errors, 1 warning, 1 note" in run.stdout
    found = json.loads(embsnap("vocab", "validate", user, "--num-embeddings", 4, "--json").stdout)
    assert (found["ok"], found["findings"][0]["kind"], found["num_embeddings"]) == (False, "row-out-of-range", 4)


def test_reserved_rows_on_the_command_line(embsnap, tmp_path):
    path = tmp_path / "gap.parquet"
    path.write_bytes(parquet_bytes({"id": [1, 2], "row": [3, 5]}))
    assert embsnap("vocab", "validate", path).exit_code == 1
    assert embsnap("vocab", "validate", path, "--reserved", "0:3").exit_code == 1
    assert embsnap("vocab", "validate", path, "--reserved", "0:3", "--reserved", "4").exit_code == 0
    for wrong, said in (("3:0", "holds no row"), ("a:b", "is not of the form"), ("-1:2", "holds no row")):
        run = embsnap("vocab", "validate", path, "--reserved", wrong)
        assert (run.exit_code, said in run.stderr) == (2, True)


def test_lookup(embsnap, user, tmp_path):
    run = embsnap("vocab", "lookup", user, "--id", 9, "--id", 7, "--row", 3)
    assert run.exit_code == 0
    assert [line.split() for line in run.stdout.splitlines()] == [
        ["id", "row", "count"],
        ["9", "4", "10"],
        ["7", "2", "70"],
        ["8", "3", "20"],
        ["read", "1", "of", "1", "row", "groups"],
    ]
    (tmp_path / "ids.txt").write_text("7\r\n\n1\n")
    run = embsnap("vocab", "lookup", user, "--ids-from", tmp_path / "ids.txt", "--row", 99, "--json")
    found = json.loads(run.stdout)
    assert run.exit_code == 1
    assert found["entities"] == [{"id": 7, "row": 2, "count": 70}]
    assert (found["missing_ids"], found["missing_rows"]) == (["1"], [99])


def test_ids_from_stdin(embsnap, user, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"9\n8"), encoding="utf-8"))
    found = json.loads(embsnap("vocab", "lookup", user, "--ids-from", "-", "--json").stdout)
    assert [entity["id"] for entity in found["entities"]] == [9, 8]


def test_lookup_of_nothing(embsnap, user):
    run = embsnap("vocab", "lookup", user, "--ids-from", f"{user}.none")
    assert (run.exit_code, "No such file" in run.stderr) == (2, True)
    run = embsnap("vocab", "lookup", user, "--id", 1, "--id", 2**64)
    assert run.exit_code == 3
    assert run.stdout.startswith(f"not found: id 1\nnot found: id {2**64}\n")
    run = embsnap("vocab", "lookup", user)
    assert (run.exit_code, "nothing to look up" in run.stderr) == (2, True)
    run = embsnap("vocab", "lookup", user, "--id", "seven")
    assert (run.exit_code, "expected a whole number, found 'seven'" in run.stderr) == (5, True)


def test_lookup_of_binary_and_unsigned_ids(embsnap, tmp_path):
    binary = write_vocabulary(make_vocabulary([b"\0\xff", b"a"]), str(tmp_path / "b.parquet"))
    run = embsnap("vocab", "lookup", binary, "--id", "0x00ff", "--id", "61", "--json")
    assert [entity["id"] for entity in json.loads(run.stdout)["entities"]] == ["0x00ff", "0x61"]
    assert "expected hexadecimal digits" in embsnap("vocab", "lookup", binary, "--id", "0xzz").stderr
    unsigned = make_vocabulary([2**64 - 1], id_type=IdType.UINT64)
    uri = write_vocabulary(unsigned, str(tmp_path / "u.parquet"))
    assert embsnap("vocab", "lookup", uri, "--id", 2**64 - 1).exit_code == 0
    assert embsnap("vocab", "lookup", uri, "--id", -1).exit_code == 3


def test_diff(embsnap, user, tmp_path):
    assert embsnap("vocab", "diff", user, user).stdout.endswith("the vocabularies are the same\n")
    other = write_vocabulary(make_vocabulary([9, 7, 5], [4, 0, 6], counts=[10, 1, 3]), str(tmp_path / "new.parquet"))
    run = embsnap("vocab", "diff", user, other)
    assert run.exit_code == 1
    assert "shared: 2 entities, 50.00 % of those on either side" in run.stdout
    assert "moved: 1 of them have another row" in run.stdout
    assert "weighted by counts: 10.68 %" in run.stdout
    assert "-69" in run.stdout
    found = json.loads(embsnap("vocab", "diff", user, other, "--json").stdout)
    assert found["moved"] == [{"id": 7, "row_a": 2, "row_b": 0}]
    assert found["a"]["only"] == [{"id": 8, "row": 3, "count": 20}]
    assert (found["same"], found["same_rows"], found["num_counts_changed"]) == (False, False, 1)


def test_coverage(embsnap, user, tmp_path):
    path = tmp_path / "events.parquet"
    features = [[1, 5], [1, 6], [0], []]
    path.write_bytes(
        parquet_bytes({"u": [7, 7, 1, None], "liked": [[8], [], [2, 2], None], "discrete_features": features})
    )
    run = embsnap(
        "vocab", "coverage", user, path, "--id-column", "u", "--id-column", "liked", "--stratum", "mobile:0:1"
    )
    assert run.exit_code == 0
    lines = [line.split() for line in run.stdout.splitlines()]
    assert ["all", "u,", "liked", "6", "3", "50.00", "%", "50.00", "%", "4", "2", "1"] in lines
    assert ["column", "u", "3", "2", "66.67", "%", "33.33", "%", "2", "1", "1"] in lines
    assert ["stratum", "mobile", "3", "3", "100.00", "%", "0.00", "%", "2", "2", "0"] in lines
    assert ["2", "2"] in lines
    run = embsnap("vocab", "coverage", user, path, "--id-column", "u", "--min-coverage", 0.9, "--json")
    found = json.loads(run.stdout)
    assert (run.exit_code, found["ok"], found["total"]["num_events"]) == (1, False, 3)
    assert found["missing"] == [{"id": 1, "num_events": 1}]


def test_coverage_of_nothing(embsnap, user, tmp_path):
    path = tmp_path / "events.parquet"
    path.write_bytes(parquet_bytes({"u": [None, None], "v": [1, 2]}))
    for wrong in (f"mobile:{10**20}:1", "mobile", "mobile:a:1", ":0:1", "mobile:-1:1"):
        assert embsnap("vocab", "coverage", user, path, "--id-column", "v", "--stratum", wrong).exit_code == 2
    assert embsnap("vocab", "coverage", user, path).exit_code == 2
    assert embsnap("vocab", "coverage", user, path, "--id-column", "w").exit_code == 5
    assert embsnap("vocab", "coverage", user, tmp_path / "none", "--id-column", "v").exit_code == 3
