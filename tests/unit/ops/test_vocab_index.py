"""From batches of ids to rows, in every form that callers have ids in."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from embsnap.errors import EmbsnapError, ErrorKind, IncompatibleError, NotFoundError, SnapshotError, UsageError
from embsnap.model.vocabulary import BytesIds, Declared, IdType
from embsnap.ops.vocab_index import VocabIndex
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.testing.vocabularies import bytes_ids, make_vocabulary

NUMBERS = make_vocabulary([70, 50, -60], [2, 3, 4])
TEXTS = make_vocabulary(["a", "", "né"], [2, 3, 4])


def _kind(function, *arguments, **options):
    with pytest.raises(EmbsnapError) as caught:
        function(*arguments, **options)
    return caught.value.kind


@pytest.mark.parametrize(
    "ids",
    [
        [-60, 70],
        np.array([-60, 70]),
        np.array([-60, 70], np.int32),
        np.array([-60, 0, 70])[::2],
        pa.array([-60, 70]),
        pa.array([0, -60, 70])[1:],
        pa.array([-60, 70], pa.int16()),
        pa.array([-60, 70]).dictionary_encode(),
        pa.chunked_array([[-60], [70]]),
    ],
    ids=["list", "int64", "int32", "strided", "arrow", "sliced", "int16", "dictionary", "chunked"],
)
def test_integers(ids):
    assert VocabIndex.build(NUMBERS).lookup(ids).tolist() == [4, 2]


@pytest.mark.parametrize(
    "ids",
    [
        ["né", "a"],
        np.array(["né", "a"]),
        np.array(["né", "a"], object),
        pa.array(["né", "a"]),
        pa.array(["x", "né", "a"])[1:],
        pa.array(["né", "a"], pa.large_string()),
        pa.array(["né", "a"], pa.string_view()),
        pa.array(["né", "a"]).dictionary_encode(),
        pa.chunked_array([["né"], ["a"]]),
        bytes_ids(["né".encode(), b"a"]),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_strings(ids):
    assert VocabIndex.build(TEXTS).lookup(ids).tolist() == [4, 2]


def test_unsigned_and_binary_ids():
    unsigned = VocabIndex.build(make_vocabulary([2**64 - 1, 1], id_type=IdType.UINT64))
    assert unsigned.lookup(np.array([1, 2**64 - 1], np.uint64)).tolist() == [1, 0]
    binary = VocabIndex.build(make_vocabulary([b"\xff", b""]))
    assert binary.lookup([b"", b"\xff"]).tolist() == [1, 0]
    assert binary.lookup(pa.array([b"\xff"], pa.binary(1))).tolist() == [0]
    assert binary.lookup(pa.array([b"\xff"], pa.binary_view())).tolist() == [0]


def test_integers_of_python_have_no_width():
    index = VocabIndex.build(make_vocabulary([2**64 - 1, 1], id_type=IdType.UINT64))
    for ids in ([1], [1, 2**64 - 1], [2**64 - 1, 1], np.array([1], object)):
        assert index.lookup(ids).tolist()[ids.index(1) if isinstance(ids, list) else 0] == 1
    for ids in ([-1], [1, 2**64], [-1, 2**64 - 1], np.array([1])):
        assert _kind(index.lookup, ids, "skip") is ErrorKind.ID_TYPE_MISMATCH
    assert _kind(VocabIndex.build(NUMBERS).lookup, [70, 2**63], "skip") is ErrorKind.ID_TYPE_MISMATCH


@pytest.mark.parametrize("vocabulary", [NUMBERS, TEXTS], ids=["numbers", "texts"])
def test_no_ids_at_all(vocabulary):
    index = VocabIndex.build(vocabulary)
    for empty in ([], np.array([], np.int64) if vocabulary is NUMBERS else pa.array([], pa.string())):
        assert index.lookup(empty).tolist() == []


@pytest.mark.parametrize(
    ("vocabulary", "ids"),
    [
        (NUMBERS, np.array([70], np.uint64)),
        (NUMBERS, ["70"]),
        (NUMBERS, [70.0]),
        (NUMBERS, [70, "a"]),
        (NUMBERS, np.array([[70]])),
        (NUMBERS, bytes_ids([b"70"])),
        (TEXTS, [b"a"]),
        (TEXTS, np.array([70])),
    ],
    ids=repr,
)
def test_ids_of_another_type_match_nothing_and_are_refused(vocabulary, ids):
    assert _kind(VocabIndex.build(vocabulary).lookup, ids, "skip") is ErrorKind.ID_TYPE_MISMATCH


def test_null_ids():
    with pytest.raises(IncompatibleError, match="1 of 2 ids to look up are null") as caught:
        VocabIndex.build(NUMBERS).lookup(pa.array([70, None]), "skip")
    assert caught.value.kind is ErrorKind.NULL_IDS


@pytest.mark.parametrize(("vocabulary", "ids"), [(NUMBERS, [9, 70, 8]), (TEXTS, ["x", "a", "y"])])
def test_what_becomes_of_unknown_ids(vocabulary, ids):
    index = VocabIndex.build(vocabulary, oov=(5, 9))
    assert index.lookup(ids, "skip").tolist() == [-1, 2, -1]
    rows = index.lookup(ids, "row")
    assert rows[1] == 2
    assert {5, 6, 7, 8} >= {rows[0], rows[2]}
    assert index.lookup(ids[::-1], "row").tolist() == rows[::-1].tolist()
    with pytest.raises(NotFoundError, match="2 of 3 ids are not in the vocabulary") as caught:
        index.lookup(ids)
    assert caught.value.kind is ErrorKind.NO_SUCH_ENTITY
    assert all(str(one) in str(caught.value) for one in (ids[0], ids[2], vocabulary.uri))
    assert _kind(index.lookup, ids, "drop") is ErrorKind.BAD_OPTION
    assert set(VocabIndex.build(vocabulary, oov=(1, 2)).lookup(ids[::2], "row")) == {1}


def test_rows_for_unknown_ids_are_what_the_vocabulary_declares():
    declared = replace(NUMBERS, declared=Declared(oov=(0, 2)))
    assert VocabIndex.build(declared).oov == (0, 2)
    assert VocabIndex.build(declared, oov=(5, 6)).oov == (5, 6)
    assert _kind(VocabIndex.build(NUMBERS).lookup, [1], "row") is ErrorKind.BAD_OPTION


@pytest.mark.parametrize("oov", [(2, 2), (-1, 2), (0, 2**33)])
def test_ranges_that_are_none(oov):
    assert _kind(VocabIndex.build, NUMBERS, oov=oov) is ErrorKind.BAD_OPTION


def test_vocabularies_that_are_not_sound():
    assert _kind(VocabIndex.build, make_vocabulary([1, 2, 1])) is ErrorKind.DUPLICATE_IDS
    assert _kind(VocabIndex.build, make_vocabulary([1, 2], [0, 0])) is ErrorKind.DUPLICATE_ROWS


def test_rows_go_where_they_are_wanted():
    out, index = np.zeros(6, np.int64), VocabIndex.build(NUMBERS)
    assert np.shares_memory(index.lookup([70, 50], out=out[2:4]), out)
    assert out.tolist() == [0, 0, 2, 3, 0, 0]
    for wrong in (out[:3], out[::3], out.astype(np.int32)[:2]):
        assert _kind(index.lookup, [70, 50], out=wrong) is ErrorKind.BAD_OPTION


@pytest.mark.parametrize("vocabulary", [NUMBERS, TEXTS], ids=["numbers", "texts"])
def test_a_saved_index_is_the_same_opened_pickled_and_opened_again(vocabulary, tmp_path):
    uri = str(tmp_path / "index")
    saved = VocabIndex.build(vocabulary, oov=(0, 1)).save(uri)
    for index in (saved, pickle.loads(pickle.dumps(saved)), VocabIndex.open(uri, verify=True)):
        assert index.lookup(_ids(vocabulary)).tolist() == vocabulary.rows_N.tolist()
        assert (index.uri, index.oov, len(index), index.vocabulary) == (uri, (0, 1), 3, vocabulary.uri)
        assert index.fingerprint == fingerprint_of(vocabulary)
    assert uri in repr(saved)


def _ids(vocabulary):
    ids = vocabulary.ids
    return [ids[i].decode() for i in range(3)] if isinstance(ids, BytesIds) else ids


def test_a_pickle_is_small_and_an_index_in_memory_has_none(tmp_path):
    index = VocabIndex.build(make_vocabulary(range(10_000)))
    assert len(pickle.dumps(index.save(str(tmp_path / "index")))) < 500
    with pytest.raises(UsageError, match="cannot be sent to another process"):
        pickle.dumps(index)


def test_a_file_that_was_replaced_since_it_was_pickled(tmp_path):
    path = tmp_path / "index"
    pickled = pickle.dumps(VocabIndex.build(NUMBERS).save(str(path)))
    path.unlink()
    VocabIndex.build(TEXTS).save(str(path))
    with pytest.raises(IncompatibleError, match="was replaced") as caught:
        pickle.loads(pickled)
    assert caught.value.kind is ErrorKind.VOCABULARY_MISMATCH


def test_damage_is_found_by_who_asks(tmp_path):
    path = tmp_path / "index"
    VocabIndex.build(NUMBERS).save(str(path))
    data = bytearray(path.read_bytes())
    data[5000 - 840] ^= 1
    path.write_bytes(data)
    assert VocabIndex.open(str(path)).lookup([1], "skip").tolist() == [-1]
    with pytest.raises(SnapshotError, match="has other contents"):
        VocabIndex.open(str(path), verify=True)


def test_three_threads_look_up_at_once(tmp_path):
    size = 20_000
    ids = np.random.default_rng(0).permutation(10 * size)[:size]
    index = VocabIndex.build(make_vocabulary(ids.tolist())).save(str(tmp_path / "index"))
    meeting, wrong = threading.Barrier(3), []

    def work(seed):
        asked = np.random.default_rng(seed).integers(0, size, 50_000)
        meeting.wait()
        for threads in (1, 2):
            if (index.lookup(ids[asked], threads=threads) != asked).any():
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
