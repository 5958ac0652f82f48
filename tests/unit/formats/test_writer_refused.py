"""What the writer refuses before it has written anything: unreadable contents, destinations that are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embsnap.errors import EmbsnapError, ErrorKind, IncompatibleError, RefusedError, UsageError
from embsnap.formats.torchsnapshot.contents import check_contents
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.model.findings import Severity
from embsnap.storage.uri import open_store
from embsnap.testing.tables import ArrayRows

DIGEST = "ab" * 32


def array_at(path: str, **changes: Any) -> ArrayToWrite:
    fields = {"dtype": DTYPES["float32"], "shape": (3, 2), "source": ArrayRows(np.zeros((3, 2), np.float32)), **changes}
    return ArrayToWrite(path, **fields)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("weight", "names no container"),
        ("model/50%", "not escaped"),
        ("model/a%41", "not escaped"),
        ("model/a%2fb", "not escaped"),
        ("model/\N{GRINNING FACE}", "cannot read back"),
        ("model/\ud800", "cannot read back"),
        ("model/" + "x" * 1015, "too long"),
        ("model/" + "\xe9" * 170, "too long"),
    ],
)
def test_paths_that_torchsnapshot_could_not_read(path: str, part: str) -> None:
    for contents in (([array_at(path)], {}), ([], {path: 1})):
        with pytest.raises(UsageError, match=part) as caught:
            check_contents(*contents)
        assert caught.value.kind == ErrorKind.BAD_OPTION
        assert ascii(path)[1:9] in str(caught.value)


def test_the_longest_path_and_the_last_character_that_work() -> None:
    check_contents([array_at("model/" + "x" * 1014), array_at("model/\uffff"), array_at("model/a%2Fb%25")], {})


@pytest.mark.parametrize("paths", [["model/a", "model/a"], ["model/a", "model/a/b"], ["model/a/b", "model/a"]])
def test_one_path_for_two_things(paths: list[str]) -> None:
    with pytest.raises(UsageError, match="is there twice"):
        check_contents([array_at(path) for path in paths], {})
    with pytest.raises(UsageError, match="is there twice"):
        check_contents([array_at(paths[0])], {paths[1]: 1})


def test_a_value_with_an_emoji() -> None:
    with pytest.raises(UsageError, match="cannot read back"):
        check_contents([], {"extra_state/s": "\N{GRINNING FACE}"})


def test_nothing_to_write() -> None:
    with pytest.raises(UsageError) as caught:
        check_contents([], {})
    assert caught.value.kind == ErrorKind.NOTHING_TO_DO


@pytest.mark.parametrize("shape", [(2, 3), (3,), (3, 2, 1), (), (4, 2)])
def test_a_source_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(IncompatibleError, match="3 rows of 2") as caught:
        check_contents([array_at("model/a", shape=shape)], {})
    assert caught.value.kind == ErrorKind.SHAPE_MISMATCH


@pytest.mark.parametrize(("named", "actual"), [("float16", "float32"), ("complex64", "complex64"), ("uint8", "bool")])
def test_a_source_of_another_or_an_impossible_dtype(named: str, actual: str) -> None:
    source = ArrayRows(np.zeros((3, 2), actual))
    with pytest.raises(IncompatibleError, match=rf"expected {named}.*found {actual}") as caught:
        check_contents([array_at("model/a", dtype=DTYPES[named], source=source)], {})
    assert caught.value.kind == ErrorKind.DTYPE_MISMATCH


@pytest.mark.parametrize("digest", ["", "abc", "ABCDEF012345", "../../../etc/"])
def test_a_plan_digest_that_is_none(tmp_path: Path, digest: str) -> None:
    with pytest.raises(UsageError, match="12 lower-case hex digits"):
        write_snapshot(open_store(str(tmp_path)), [array_at("model/a")], plan_digest=digest)
    assert list(tmp_path.iterdir()) == []


def _put(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


TAKEN: dict[str, Callable[[Path], object]] = {
    "a snapshot": lambda root: _put(root / ".snapshot_metadata", b"{}"),
    "torn metadata": lambda root: _put(root / ".snapshot_metadata", b""),
    "torchsnapshot's objects": lambda root: _put(root / "batched/d6ee7216"),
    "a file": lambda root: _put(root / "notes.txt"),
    "a hidden file": lambda root: _put(root / ".hidden"),
    "a file among ours": lambda root: _put(root / "embsnap/0123456789ab-0/model.py"),
    "a directory among ours": lambda root: _put(root / "embsnap/mine/00000"),
    "a foreign sidecar": lambda root: _put(root / ".embsnap/notes.json"),
    "a link": lambda root: (root / "latest").symlink_to("elsewhere"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_a_destination_that_is_taken(tmp_path: Path, what: str) -> None:
    TAKEN[what](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RefusedError, match="overwrites nothing") as caught:
        write_snapshot(open_store(str(tmp_path)), [array_at("model/a")], plan_digest=DIGEST)
    assert caught.value.kind == ErrorKind.DESTINATION_TAKEN
    assert str(tmp_path) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_destination_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(EmbsnapError) as caught:
        write_snapshot(open_store(str(tmp_path / "file")), [array_at("model/a")], plan_digest=DIGEST)
    assert caught.value.kind == ErrorKind.DESTINATION_TAKEN
    assert (tmp_path / "file").read_bytes() == b"x"


def test_leftovers_of_dead_runs_are_noted_and_passed_by(tmp_path: Path) -> None:
    _put(tmp_path / "embsnap/abababababab-0/run.json", b"{}")
    _put(tmp_path / "embsnap/abababababab-0/00000", b"12345")
    _put(tmp_path / "embsnap/abababababab-0/.embsnap-0123456789abcdef.tmp", b"123")
    _put(tmp_path / ".embsnap/0123456789abcdef.json", b"{}")
    (tmp_path / "empty").mkdir()
    written = write_snapshot(open_store(str(tmp_path)), [array_at("model/a")], plan_digest=DIGEST)
    assert written.run_id == "abababababab-1"
    (note,) = written.notes
    assert (note.severity, note.kind, note.place) == (Severity.NOTE, "leftovers", str(tmp_path))
    assert "4 objects of 12 bytes" in note.message
    assert (tmp_path / "embsnap/abababababab-0/00000").read_bytes() == b"12345"
