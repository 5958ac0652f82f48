"""Vocabularies and single files."""

from __future__ import annotations

from pathlib import Path

import pytest

from embsnap.errors import ErrorKind, RefusedError, SnapshotError
from embsnap.formats.copy_claim import CLAIM_LOCATION
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.copying import CopyTally, CopyWhat
from embsnap.ops.copy import CopyOptions, plan_copy, write_copy
from embsnap.storage.uri import open_store
from embsnap.testing.vocabularies import make_vocabulary
from tests.unit.ops.copying.snapshots import StopAfter, copy, tree


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A vocabulary in two parts, with a file beside them."""
    write_vocabulary(make_vocabulary(list(range(100))), str(tmp_path / "vocab" / "a.parquet"))
    write_vocabulary(
        make_vocabulary(list(range(200, 300)), list(range(100, 200))), str(tmp_path / "vocab" / "b" / "c.pq")
    )
    (tmp_path / "vocab" / "readme.txt").write_text("days")
    return tmp_path / "vocab"


def test_a_directory_of_parquet_files(parts, tmp_path) -> None:
    result = copy(parts, tmp_path / "out")
    assert (result.what, result.total.num_objects) == (CopyWhat.FILES, 2)
    assert [(each.kind, each.examples) for each in result.findings] == [("not-copied", ("readme.txt",))]
    copied = tree(parts)
    del copied["readme.txt"]
    assert tree(tmp_path / "out") == copied
    assert len(read_vocabulary(str(tmp_path / "out"))) == 200


def test_a_glob(parts, memory) -> None:
    assert copy(f"{parts}/**/*.pq", memory.uri).total.num_objects == 1
    assert [info.location for info in memory.list()] == ["b/c.pq"]


@pytest.mark.parametrize("to", ["out.parquet", "x/out.pq"])
def test_one_file_under_a_new_name(parts, tmp_path, to) -> None:
    result = copy(parts / "a.parquet", tmp_path / to)
    assert (result.what, result.present) == (CopyWhat.FILE, CopyTally())
    assert (tmp_path / to).read_bytes() == (parts / "a.parquet").read_bytes()
    with pytest.raises(RefusedError, match="holds something already"):
        copy(parts / "a.parquet", tmp_path / to)


def test_one_file_into_a_directory(parts, tmp_path) -> None:
    copy(parts / "readme.txt", tmp_path / "new")
    assert tree(tmp_path / "new") == {"readme.txt": b"days"}
    with pytest.raises(RefusedError, match=r"holds something already.*readme\.txt"):
        copy(parts / "a.parquet", tmp_path / "new")
    copy(parts / "readme.txt", tmp_path / "renamed.txt")
    assert (tmp_path / "renamed.txt").read_bytes() == b"days"


def test_a_vocabulary_is_none_before_all_of_it_is_there(parts, tmp_path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_copy(plan_copy(str(parts), str(out), CopyOptions(threads=1)), progress=StopAfter(1))
    (out / "a.parquet").write_bytes((parts / "a.parquet").read_bytes())
    for uri in (str(out), f"{out}/*.parquet", f"{tmp_path}/o*/*.parquet"):
        with pytest.raises(SnapshotError, match="unfinished copy") as caught:
            read_vocabulary(uri)
        assert caught.value.kind == ErrorKind.UNFINISHED_COPY
    assert copy(parts, out).present.num_objects == 1
    assert len(read_vocabulary(str(out))) == 200


def test_a_vocabulary_is_copied_twice_at_a_time(parts, tmp_path) -> None:
    """There is nothing to commit: both wrote, or compared, the same bytes."""
    plans = [plan_copy(str(parts), str(tmp_path / "out")) for _ in range(2)]
    results = [write_copy(plan) for plan in plans]
    assert [result.present.num_objects for result in results] == [0, 2]
    assert not (tmp_path / "out" / CLAIM_LOCATION).exists()


def test_a_destination_of_files_holds_nothing_else(parts, tmp_path) -> None:
    open_store(str(tmp_path / "out")).create("other.parquet", b"x")
    with pytest.raises(RefusedError, match=r"holds 'other\.parquet'"):
        copy(parts, tmp_path / "out")
