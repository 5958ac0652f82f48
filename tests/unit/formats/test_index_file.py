"""An index's file: written whole or not at all, and refused when it is not what was written."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from awscrt.checksums import crc32c

from embsnap.errors import ErrorKind, NotFoundError, RefusedError, SnapshotError
from embsnap.formats.index_file import IndexHeader, check_contents, read_index, write_index
from embsnap.kernels.index import IdTable, make_table
from embsnap.model.vocabulary import IdType
from embsnap.testing.vocabularies import bytes_ids

HEADER = IndexHeader(IdType.STRING, 2, (0, 4), "/data/user", "v1:string:2:00")


@pytest.fixture
def table() -> IdTable:
    return make_table(bytes_ids([b"a", b"bc"]), np.array([4, 5]))[0]


@pytest.fixture
def path(tmp_path, table):
    write_index(HEADER, table, str(tmp_path / "user.index"))
    return tmp_path / "user.index"


def _refused(path):
    with pytest.raises(SnapshotError) as caught:
        read_index(str(path))
    assert caught.value.kind is ErrorKind.BAD_INDEX
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("store", ["local", "memory"])
def test_what_is_written_is_read(store, table, tmp_path):
    uri = f"memory://{tmp_path.name}/index" if store == "memory" else str(tmp_path / "deep" / "index")
    write_index(HEADER, table, uri)
    header, found = read_index(uri)
    assert (found.words_W == table.words_W).all()
    assert (found.records_R == table.records_R).all()
    written = replace(HEADER, num_words=len(table.words_W), num_record_bytes=len(table.records_R))
    assert replace(header, contents_crc32c=0) == written
    check_contents(uri, header, found)


def test_the_arrays_are_the_mapped_file(path):
    _, table = read_index(str(path))
    assert not table.words_W.flags.writeable
    assert table.words_W.ctypes.data % 64 == 0
    assert str(path) in Path("/proc/self/maps").read_text()


def test_a_file_that_is_there_is_left_alone(path, table):
    before = path.read_bytes()
    with pytest.raises(RefusedError) as caught:
        write_index(HEADER, table, str(path))
    assert caught.value.kind is ErrorKind.DESTINATION_TAKEN
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_there_is_none(tmp_path):
    with pytest.raises(NotFoundError, match="there is no index"):
        read_index(str(tmp_path / "none"))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 5000])
def test_another_file(tmp_path, data):
    (tmp_path / "other").write_bytes(data)
    assert "is no index of a vocabulary" in _refused(tmp_path / "other")


def test_a_file_that_was_cut_off_or_grew(path):
    data = path.read_bytes()
    for other in (data[:-1], data + b"\0"):
        path.write_bytes(other)
        assert f"expected {len(data):,} bytes, found {len(other):,} bytes" in _refused(path)


def test_a_flipped_bit_of_the_header(path):
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert "has a damaged header" in _refused(path)


def test_a_later_version(path):
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack("<I", 2)
    path.write_bytes(data)
    assert "expected 1, found 2" in _refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"id_type": "float64"},
        {"id_type": "int64"},
        {"oov": [4, 2]},
        {"oov": [1]},
        {"num_words": 7},
        {"num_words": 0},
        {"num_words": None},
        {"num_record_bytes": -1},
        {"contents_crc32c": "no"},
    ],
)
def test_fields_that_cannot_be_right(path, change):
    data = path.read_bytes()
    _, _, length, _ = struct.unpack_from("<8sIII", data)
    text = json.dumps({**json.loads(data[20 : 20 + length]), **change}).encode()
    head = struct.pack("<8sIII", b"EMBSNIDX", 1, len(text), crc32c(text)) + text
    path.write_bytes(head.ljust(4096, b"\0") + data[4096:])
    assert "has a header that cannot be right" in _refused(path)


@pytest.mark.parametrize("place", [4096, -1])
def test_a_flipped_bit_of_the_contents(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    header, table = read_index(str(path))
    with pytest.raises(SnapshotError, match="has other contents than were written"):
        check_contents(str(path), header, table)


def test_a_very_long_name_of_a_vocabulary_is_cut(tmp_path, table):
    write_index(replace(HEADER, vocabulary="/long" * 2000), table, str(tmp_path / "i"))
    assert read_index(str(tmp_path / "i"))[0].vocabulary == ("/long" * 40)
