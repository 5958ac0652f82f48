"""What is written is read back, and nothing is ever half there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.errors import RefusedError
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.vocabulary import BytesIds, IdType
from embsnap.testing.vocabularies import bytes_ids, ids_of, listed, make_vocabulary

IDS = {
    IdType.INT64: st.integers(-(2**63), 2**63 - 1),
    IdType.UINT64: st.integers(0, 2**64 - 1),
    IdType.STRING: st.text(max_size=20),
    IdType.BINARY: st.binary(max_size=20),
}
_names = count()


@given(st.data())
def test_written_then_read_is_the_same(data: st.DataObject) -> None:
    id_type = data.draw(st.sampled_from(list(IdType)))
    ids = data.draw(st.lists(IDS[id_type], min_size=1, max_size=40))
    numbers = st.lists(st.integers(0, 2**63 - 1), min_size=len(ids), max_size=len(ids))
    rows, counts = data.draw(numbers), data.draw(st.none() | numbers)
    vocabulary = make_vocabulary(ids, rows, counts=counts, id_type=id_type)
    uri = f"memory://writer/{next(_names)}"
    write_vocabulary(vocabulary, uri, rows_per_group=data.draw(st.integers(1, 50)))
    read = read_vocabulary(uri, threads=data.draw(st.integers(1, 3)))
    assert (read.id_type, listed(read.ids)) == (id_type, listed(vocabulary.ids))
    assert read.rows_N.tolist() == rows
    assert (read.counts_N is None) == (counts is None)
    assert counts is None or (read.counts_N is not None and read.counts_N.tolist() == counts)


def test_donors_are_written(tmp_path: Path) -> None:
    vocabulary = replace(make_vocabulary(["a", "b"]), donors=ids_of(["x", "yy"], IdType.STRING))
    write_vocabulary(vocabulary, str(tmp_path / "v"))
    read = read_vocabulary(str(tmp_path / "v"), donor_column="donor")
    assert read.donors is not None
    assert listed(read.donors) == [b"x", b"yy"]


def test_ids_that_are_a_view_of_others() -> None:
    whole = bytes_ids([b"left out", b"a", b"", b"bc"])
    vocabulary = replace(make_vocabulary(["a", "", "bc"]), ids=BytesIds(whole.offsets[1:], whole.data))
    write_vocabulary(vocabulary, "memory://writer/view", rows_per_group=2)
    assert listed(read_vocabulary("memory://writer/view").ids) == [b"a", b"", b"bc"]


def test_a_file_or_a_directory_with_one(tmp_path: Path) -> None:
    vocabulary = make_vocabulary([5, 6])
    assert write_vocabulary(vocabulary, f"{tmp_path}/one.parquet") == f"{tmp_path}/one.parquet"
    assert write_vocabulary(vocabulary, f"{tmp_path}/dir") == f"{tmp_path}/dir/part-00000.parquet"
    assert listed(read_vocabulary(f"{tmp_path}/dir").ids) == [5, 6]


def test_other_readers_see_plain_columns_without_nulls(tmp_path: Path) -> None:
    uri = write_vocabulary(make_vocabulary([2**64 - 1], id_type=IdType.UINT64, counts=[3]), f"{tmp_path}/v")
    table = pq.read_table(uri)
    assert table.to_pydict() == {"id": [2**64 - 1], "row": [0], "count": [3]}
    assert [str(field.type) for field in table.schema] == ["uint64", "int64", "int64"]
    assert not any(field.nullable for field in table.schema)


def test_a_taken_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    uri = write_vocabulary(make_vocabulary([1]), f"{tmp_path}/v")
    with pytest.raises(RefusedError):
        write_vocabulary(make_vocabulary([2]), f"{tmp_path}/v")
    assert listed(read_vocabulary(uri).ids) == [1]
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["part-00000.parquet"]


WRITE_WITHOUT_SPACE = """
import resource
import sys
from embsnap.errors import StorageError
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.vocabularies import make_vocabulary

vocabulary = make_vocabulary(range(200_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    write_vocabulary(vocabulary, sys.argv[1], rows_per_group=50_000)
except StorageError as error:
    print(error.kind.value, error.where)
"""


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_WITHOUT_SPACE, str(tmp_path / "v")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    kind, where = done.stdout.split()
    assert kind in ("disk-full", "storage-failed")
    assert where.startswith(str(tmp_path / "v"))
    assert list((tmp_path / "v").iterdir()) == []


def test_columns_of_different_lengths_are_refused() -> None:
    vocabulary = replace(make_vocabulary(["a", "b"]), counts_N=np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="column count has 3 values, row has 2"):
        write_vocabulary(vocabulary, "memory://writer/uneven")
