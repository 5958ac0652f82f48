"""Reading what any parquet writer makes of a vocabulary."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError
from embsnap.formats import vocabulary_reading
from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.model.vocabulary import IdType
from embsnap.storage.memory import MemoryStore
from embsnap.testing.vocabularies import listed, parquet_bytes, put

BIG = 2**63 + 11
UUIDS = [bytes(range(16)), bytes(range(1, 17))]


def write(path: Path, **columns: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(parquet_bytes(columns))
    return str(path)


@pytest.mark.parametrize(
    ("ids", "id_type", "expected"),
    [
        *((pa.array([3, 1], kind()), IdType.INT64, [3, 1]) for kind in (pa.int8, pa.int16, pa.int32, pa.int64)),
        *((pa.array([3, 1], kind()), IdType.INT64, [3, 1]) for kind in (pa.uint8, pa.uint16, pa.uint32)),
        (pa.array([-(2**63), 2**63 - 1]), IdType.INT64, [-(2**63), 2**63 - 1]),
        (pa.array([BIG, 1], pa.uint64()), IdType.UINT64, [BIG, 1]),
        *(
            (pa.array(["é", ""], kind()), IdType.STRING, ["é".encode(), b""])
            for kind in (pa.string, pa.large_string, pa.string_view)
        ),
        (pa.array(["b", "a", "b"]).dictionary_encode(), IdType.STRING, [b"b", b"a", b"b"]),
        (pa.array([5, 6, 5]).dictionary_encode(), IdType.INT64, [5, 6, 5]),
        *(
            (pa.array([b"\xff\0", b"1"], kind()), IdType.BINARY, [b"\xff\0", b"1"])
            for kind in (pa.binary, pa.large_binary, pa.binary_view)
        ),
        (pa.array([b"ab", b"cd"], pa.binary(2)), IdType.BINARY, [b"ab", b"cd"]),
        (pa.array(UUIDS, pa.uuid()), IdType.BINARY, UUIDS),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_id_types(ids: pa.Array, id_type: IdType, expected: list[object], use_dictionary: bool) -> None:
    uri = f"memory://id-types/{ids.type}-{ids[0]}-{use_dictionary}.parquet"
    put(uri, parquet_bytes({"id": ids, "row": range(len(ids))}, use_dictionary=use_dictionary))
    vocabulary = read_vocabulary(uri)
    assert (vocabulary.id_type, listed(vocabulary.ids)) == (id_type, expected)
    assert vocabulary.rows_N.tolist() == list(range(len(ids)))
    assert vocabulary.rows_N.dtype == np.int64
    assert vocabulary.counts_N is None
    assert vocabulary.findings == ()


@pytest.mark.parametrize("kind", [pa.int8, pa.int16, pa.int32, pa.int64, pa.uint8, pa.uint16, pa.uint32, pa.uint64])
def test_rows_of_any_integer_type(tmp_path: Path, kind: object) -> None:
    uri = write(tmp_path / "a.parquet", id=[1, 2, 3], row=pa.array([2, 0, 127], kind()))
    assert read_vocabulary(uri).rows_N.tolist() == [2, 0, 127]


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy", "gzip"])
def test_encodings_of_strings(encoding: str, compression: str) -> None:
    texts = [f"user:{i % 700:x}" for i in range(3000)]
    uri = f"memory://encodings/{encoding}-{compression}.parquet"
    options = {"use_dictionary": False, "column_encoding": {"id": encoding}, "compression": compression}
    put(uri, parquet_bytes({"id": texts, "row": range(3000)}, row_group_size=700, **options))
    assert listed(read_vocabulary(uri, threads=2).ids) == [text.encode() for text in texts]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ids", [range(1000, 2000), [f"e{i}" for i in range(1000)]], ids=["int64", "string"])
def test_files_row_groups_batches_and_threads_keep_the_order(
    threads: int, ids: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary_reading, "_BATCH_ROWS", 17)
    root = f"memory://order/{threads}-{ids[0]}"
    for number, start in enumerate(range(0, 1000, 250)):
        part = {"id": ids[start : start + 250], "row": range(start, start + 250), "freq": [number] * 250}
        put(f"{root}/day={number}/part.pq", parquet_bytes(part, row_group_size=60 + number))
    vocabulary = read_vocabulary(root, threads=threads)
    expected = [i.encode() if isinstance(i, str) else i for i in ids]
    assert listed(vocabulary.ids) == expected
    assert vocabulary.rows_N.tolist() == list(range(1000))
    assert vocabulary.counts_N is not None
    assert vocabulary.counts_N.tolist() == [number for number in range(4) for _ in range(250)]


def test_without_a_map_the_store_s_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    put("memory://unmapped/a.parquet", parquet_bytes({"id": ["x", "y"] * 50, "row": range(100)}, row_group_size=30))
    monkeypatch.setattr(MemoryStore, "map", lambda self, location: None)
    vocabulary = read_vocabulary("memory://unmapped/a.parquet", threads=2)
    assert listed(vocabulary.ids) == [b"x", b"y"] * 50


def test_empty_parts_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", id=pa.array([], pa.int64()), row=pa.array([], pa.int64()))
    write(tmp_path / "b.parquet", id=[4], row=[0])
    assert listed(read_vocabulary(str(tmp_path)).ids) == [4]


def test_an_empty_vocabulary_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", id=pa.array([], pa.string()), row=pa.array([], pa.int32()))
    with pytest.raises(IncompatibleError, match=r"vocabulary is empty .*found no row in 1 file\b") as error:
        read_vocabulary(str(tmp_path))
    assert error.value.kind is ErrorKind.BAD_VOCABULARY
    assert error.value.where == str(tmp_path)


def test_directory_takes_visible_parquet_files_only(tmp_path: Path) -> None:
    write(tmp_path / "b.parquet", id=[2], row=[1])
    write(tmp_path / "a" / "deep" / "x.pq", id=[1], row=[0])
    for hidden in ("_metadata.parquet", ".b.parquet", "_temporary/c.parquet", ".tmp/d.parquet", "_SUCCESS"):
        write(tmp_path / hidden, id=[9], row=[9])
    vocabulary = read_vocabulary(str(tmp_path))
    assert listed(vocabulary.ids) == [1, 2]
    assert vocabulary.findings == ()


def test_other_files_beside_are_a_note(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", id=[2], row=[1])
    (tmp_path / "readme.txt").write_text("hello")
    (finding,) = read_vocabulary(str(tmp_path)).findings
    assert (finding.kind, finding.count, finding.examples) == ("other-files", 1, ("readme.txt",))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", [1, 2]),
        ("part-[1]*", [2]),
        ("part-?.parquet", [1, 2]),
        ("**/*.parquet", [1, 2, 3]),
        ("sub/**", [3]),
        ("*/part-?.parquet", [3]),
        ("**/part-2*", [3]),
        ("_hid*/*", [4]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[int]) -> None:
    write(tmp_path / "part-0.parquet", id=[1], row=[0])
    write(tmp_path / "part-1.parquet", id=[2], row=[1])
    write(tmp_path / "sub" / "part-2.parquet", id=[3], row=[2])
    write(tmp_path / "_hidden" / "part-3.parquet", id=[4], row=[3])
    assert sorted(listed(read_vocabulary(f"{tmp_path}/{pattern}").ids)) == expected


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "v.parquet", id=[1], row=[0])
    monkeypatch.chdir(tmp_path)
    assert [listed(read_vocabulary(uri).ids) for uri in (".", "v.parquet", "*.parquet")] == [[1]] * 3


def test_a_file_of_any_name_even_with_glob_characters(tmp_path: Path) -> None:
    uri = write(tmp_path / "vocab[1]", id=[7], row=[0])
    assert listed(read_vocabulary(uri).ids) == [7]


@pytest.mark.parametrize("uri", ["nowhere", "nowhere/*.parquet", "files", "files/*.pq"])
def test_nothing_there(tmp_path: Path, uri: str) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "vocab.csv").write_text("id,row")
    with pytest.raises(NotFoundError, match="there is no vocabulary") as error:
        read_vocabulary(f"{tmp_path}/{uri}")
    assert error.value.kind is ErrorKind.NO_SUCH_OBJECT
    assert error.value.found == ("vocab.csv" if uri.startswith("files") else "nothing")


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, task: str, total: int, unit: str = "B") -> None:
        self.calls.append(("start", total, unit))

    def advance(self, task: str, amount: int) -> None:
        self.calls.append(("advance", amount))

    def finish(self, task: str) -> None:
        self.calls.append(("finish",))


def test_progress_counts_each_row_once_and_ends_even_on_failure() -> None:
    columns = {"id": range(50), "row": range(50), "count": range(50)}
    put("memory://progress/a.parquet", parquet_bytes(columns, row_group_size=20))
    progress = Recorder()
    read_vocabulary("memory://progress/a.parquet", progress=progress)
    assert progress.calls[0] == ("start", 50, "rows")
    assert sum(int(str(call[1])) for call in progress.calls if call[0] == "advance") == 50
    assert progress.calls[-1] == ("finish",)
    failing = Recorder()
    with pytest.raises(IncompatibleError):
        read_vocabulary("memory://progress/a.parquet", memory_limit=100, progress=failing)
    assert failing.calls[-1] == ("finish",)


def test_donors_of_null_are_the_entities_themselves() -> None:
    columns = {"id": ["a", "b", "c"], "row": [0, 1, 2], "like": ["z", None, "longer"]}
    put("memory://donors/text.parquet", parquet_bytes(columns))
    text = read_vocabulary("memory://donors/text.parquet", donor_column="like")
    assert text.donors is not None
    assert (listed(text.ids), listed(text.donors)) == ([b"a", b"b", b"c"], [b"z", b"b", b"longer"])
    put("memory://donors/int.parquet", parquet_bytes({"like": [None, 7], "row": [0, 1], "id": [4, 5]}))
    numbers = read_vocabulary("memory://donors/int.parquet", donor_column="like")
    assert numbers.donors is not None
    assert (listed(numbers.ids), listed(numbers.donors)) == ([4, 5], [4, 7])


def test_given_columns_win() -> None:
    columns = {"id": [1], "row": [9], "user": [5], "place": [0], "n": [3]}
    put("memory://given/a.parquet", parquet_bytes(columns))
    names = VocabularyColumns(id="user", row="place", count="n")
    vocabulary = read_vocabulary("memory://given/a.parquet", columns=names)
    assert vocabulary.counts_N is not None
    assert (listed(vocabulary.ids), vocabulary.rows_N.tolist(), vocabulary.counts_N.tolist()) == ([5], [0], [3])


MEASURE = """
import sys
import pyarrow as pa
from embsnap.formats.vocabulary import read_vocabulary

anonymous = lambda: int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) // 1024
before = anonymous()
vocabulary = read_vocabulary(sys.argv[1], threads=2)
assert len(vocabulary) == 2_000_000
print(pa.default_memory_pool().max_memory() >> 20, anonymous() - before)
print(sorted({"pandas", "numba", "pyarrow.dataset", "pyarrow.compute"} & set(sys.modules)))
"""


def test_integers_are_held_once(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 2**62, 2_000_000)
    data = parquet_bytes({"id": ids, "row": np.arange(2_000_000)}, use_dictionary=False, row_group_size=2_000_000)
    (tmp_path / "a.parquet").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    figures, modules = done.stdout.splitlines()
    arrow_mb, grown_mb = map(int, figures.split())
    assert arrow_mb <= 16  # of the 32 MB that the columns take
    assert grown_mb <= 32 + 24
    assert modules == "[]"
