"""`embsnap vocab convert` as typed."""

from __future__ import annotations

import json

import pytest

from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.vocabularies import listed, make_vocabulary


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_vocabulary(make_vocabulary([7, 8], [4, 3], counts=[1, 2]), "user.parquet")
    return tmp_path


def test_there_and_back(embsnap, there):
    run = embsnap("vocab", "convert", "user.parquet", "--to", "nvtabular", "--column", "user", "--out", "categories")
    assert run.exit_code == 0, run.stderr
    assert run.stdout.splitlines() == [
        "parquet user.parquet",
        "entities: 2, int64 ids, with counts",
        "rows: 3 to 4",
        run.stdout.splitlines()[3],
        "wrote nvtabular categories/meta.user.parquet and categories/unique.user.parquet",
    ]
    run = embsnap("vocab", "convert", "categories", "--out", "back.parquet")
    assert run.exit_code == 0, run.stderr
    assert "rows: 3 to 4, [0, 2) reserved, [2, 3) for unknown ids" in run.stdout
    assert listed(read_vocabulary("back.parquet").ids) == [8, 7]


def test_json_of_a_dry_run(embsnap, there):
    before = sorted(there.iterdir())
    run = embsnap("vocab", "convert", "user.parquet", "--out", "user.csv", "--dry-run", "--json")
    report = json.loads(run.stdout)
    assert (report["schema"], report["version"], report["destinations"]) == ("embsnap.vocab_convert", 1, [])
    assert (report["source_format"], report["target_format"]) == ("parquet", "csv")
    assert (report["first_row"], report["last_row"], report["num_entities"]) == (3, 4, 2)
    assert sorted(there.iterdir()) == before


def test_text(embsnap, there):
    (there / "v.txt").write_text("12\n-3\n")
    run = embsnap("vocab", "convert", "v.txt", "--id-type", "int64", "--out", "v.tsv")
    assert run.exit_code == 0, run.stderr
    assert (there / "v.tsv").read_text() == "id\trow\n12\t0\n-3\t1\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["user.parquet"], 2, "--out"),
        (["user.parquet", "--out", "user"], 2, "cannot be told"),
        (["user.parquet", "--to", "zch", "--out", "x"], 2, "zch"),
        (["user.parquet", "--to", "nvtabular", "--out", "x"], 2, "--column NAME"),
        (["user.parquet", "--id-type", "string", "--out", "x.csv"], 2, "--id-type"),
        (["none.parquet", "--out", "x.csv"], 3, "none.parquet"),
        (["none.csv", "--out", "x.parquet"], 3, "none.csv"),
        (["run@latest", "--out", "x.parquet"], 3, "run"),
        (["damaged.parquet", "--out", "x.csv"], 4, "no parquet file"),
        (["user.parquet", "--out", "x.txt"], 5, "row 3 where line 1 stands for row 0"),
        (["user.parquet", "--out", "taken.csv"], 7, "taken.csv"),
        (["user.parquet", "--out", "damaged.parquet"], 7, "damaged.parquet"),
    ],
)
def test_exit_codes(embsnap, there, arguments, exit_code, says):
    (there / "damaged.parquet").write_bytes(b"PAR1")
    (there / "taken.csv").write_text("mine")
    run = embsnap("vocab", "convert", *arguments)
    assert (run.exit_code, run.stdout) == (exit_code, "")
    assert says in run.stderr
    assert (there / "taken.csv").read_text() == "mine"
    assert not (there / "x.txt").exists()
