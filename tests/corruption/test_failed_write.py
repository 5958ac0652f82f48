"""A write that fails at any moment: nothing is visible, nothing of it is left, and a second run succeeds.

Shape suffixes: V rows of a table, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embsnap.errors import EmbsnapError, ErrorKind, RefusedError, SnapshotError, StorageError
from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.destination import claim_run
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, WrittenSnapshot, write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.model.rows import RowSource
from embsnap.storage.base import Store
from embsnap.storage.local import LocalStore
from embsnap.storage.memory import MemoryStore
from embsnap.testing.faults import Fault, FaultStore, disk_full, input_output_error, raising
from embsnap.testing.tables import ArrayRows, read_array

ROWS_VD = np.arange(1000 * 16, dtype=np.float32).reshape(1000, 16)
"""64 bytes a row; eight objects of 125 rows."""
_names = count()


@pytest.fixture(autouse=True)
def _small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PIECE_BYTES", 8000)
    monkeypatch.setattr(layout, "OBJECT_BYTES", 8000)


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield LocalStore(str(tmp_path / "snapshot"))
    else:
        memory = MemoryStore(f"memory://failed-{next(_names)}")
        yield memory
        memory.clear()


def write(store: Store, rows: RowSource | None = None, digest: str = "ab" * 32) -> WrittenSnapshot:
    array = ArrayToWrite(
        "model/ebc.embedding_bags.user.weight", DTYPES["float32"], (1000, 16), rows or ArrayRows(ROWS_VD)
    )
    return write_snapshot(store, [array], plan_digest=digest, threads=3, block_bytes=640)


def assert_nothing_left(store: Store) -> None:
    assert [found.location for found in store.list()] == []
    assert [found.location for found in store.unfinished()] == []


def assert_second_run_succeeds(store: Store) -> None:
    written = write(store)
    assert written.notes == ()
    assert written.run_id.endswith("-0")
    assert np.array_equal(read_array(store.uri, "user"), ROWS_VD)


FAULTS: dict[str, Fault] = {
    "claim": Fault("create", disk_full, match="*/run.json"),
    "after the claim": Fault("create", input_output_error, match="*/run.json", when="after"),
    "interrupt after the claim": Fault("create", raising(KeyboardInterrupt()), match="*/run.json", when="after"),
    "first byte": Fault("write", disk_full, match="*/00000"),
    "in an object": Fault("write", disk_full, match="*/00003", after_bytes=5000),
    "in a block": Fault("write", input_output_error, match="*/00003", after_bytes=5001),
    "end of an object": Fault("close", input_output_error, match="*/00004"),
    "after an object": Fault("close", input_output_error, match="*/00004", when="after"),
    "last object": Fault("close", disk_full, match="*/00007"),
    "sidecar": Fault("create", disk_full, match=".embsnap/*"),
    "after the sidecar": Fault("create", input_output_error, match=".embsnap/*", when="after"),
    "metadata": Fault("create", disk_full, match=".snapshot_metadata"),
    "interrupt in an object": Fault("write", raising(KeyboardInterrupt()), match="*/00002", after_bytes=100),
    "interrupt before the sidecar": Fault("create", raising(KeyboardInterrupt()), match=".embsnap/*"),
    "exit before the metadata": Fault("create", raising(SystemExit()), match=".snapshot_metadata"),
}


@pytest.mark.parametrize("moment", FAULTS)
def test_a_failure_leaves_nothing(store: Store, moment: str) -> None:
    with pytest.raises((StorageError, KeyboardInterrupt, SystemExit)):
        write(FaultStore(store, FAULTS[moment]))
    assert_nothing_left(store)
    assert_second_run_succeeds(store)


def test_a_claim_of_another_run_stands(store: Store) -> None:
    """Both claims are of one plan; the second run fails while it asks whose the first one is."""
    other = claim_run(store, "ab" * 32, "embsnap")
    with pytest.raises(KeyboardInterrupt):
        claim_run(
            FaultStore(store, Fault("create", raising(KeyboardInterrupt()), match="*/run.json")), "ab" * 32, "embsnap"
        )
    assert [found.location for found in store.list()] == [f"embsnap/{other}/run.json"]


def test_the_error_is_the_storage_s_own(store: Store) -> None:
    with pytest.raises(StorageError, match="no room to write") as caught:
        write(FaultStore(store, FAULTS["in an object"]))
    assert caught.value.kind == ErrorKind.DISK_FULL


@pytest.mark.parametrize("action", [raising(KeyboardInterrupt()), input_output_error])
def test_once_committed_it_stands(store: Store, action: Callable[[str], None]) -> None:
    """An interrupt, or a lost answer, right after the metadata became visible."""
    fault = Fault("create", action, match=".snapshot_metadata", when="after")
    with pytest.raises((KeyboardInterrupt, StorageError)):
        write(FaultStore(store, fault))
    assert np.array_equal(read_array(store.uri, "user"), ROWS_VD)
    assert open_snapshot(store.uri).findings == ()


def test_where_nobody_can_tell_whether_it_was_committed_nothing_is_deleted(store: Store) -> None:
    faults = [
        Fault("create", input_output_error, match=".snapshot_metadata", when="after"),
        Fault("read", input_output_error, match=".snapshot_metadata"),
    ]
    with pytest.raises(StorageError):
        write(FaultStore(store, *faults))
    assert np.array_equal(read_array(store.uri, "user"), ROWS_VD)


def test_what_cannot_be_deleted_is_passed_by(store: Store) -> None:
    faults = [FAULTS["sidecar"], Fault("delete", input_output_error, match="*/00003")]
    with pytest.raises(StorageError, match="no room to write"):
        write(FaultStore(store, *faults))
    assert store.stat(".snapshot_metadata") is None
    written = write(store)
    assert written.run_id.endswith("-1")
    assert [note.kind for note in written.notes] == ["leftovers"]
    assert np.array_equal(read_array(store.uri, "user"), ROWS_VD)


class FailingRows:
    """Fails at row 0, and hands out others only then."""

    num_rows, dim = ROWS_VD.shape
    dtype = ROWS_VD.dtype

    def __init__(self) -> None:
        self.num_reads = 0
        self.failed = threading.Event()

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        if start == 0:
            self.failed.set()
            raise SnapshotError(ErrorKind.SHORT_OBJECT, "the source was cut off", where="old")
        assert self.failed.wait(10)
        time.sleep(0.002)  # lets the thread that fails go on and say so
        self.num_reads += 1
        out_ND[...] = ROWS_VD[start:end]


def test_a_source_that_fails_stops_the_others_within_a_block(store: Store) -> None:
    rows = FailingRows()
    with pytest.raises(SnapshotError, match="the source was cut off"):
        write(store, rows)
    assert rows.num_reads < 20
    assert_nothing_left(store)
    assert_second_run_succeeds(store)


def test_no_thread_is_left_behind(store: Store) -> None:
    before = threading.active_count()
    with pytest.raises(StorageError):
        write(FaultStore(store, FAULTS["in an object"]))
    assert threading.active_count() == before


@pytest.mark.parametrize("same_plan", [True, False])
def test_of_two_writers_exactly_one_commits(store: Store, same_plan: bool) -> None:
    """Both have passed every check and written all objects when they come to commit."""
    barrier = threading.Barrier(2)
    at_commit = Fault("create", lambda _: barrier.wait(60) and None, match=".snapshot_metadata")

    def run(number: int) -> WrittenSnapshot | EmbsnapError:
        rows = ArrayRows(ROWS_VD + number)
        try:
            return write(FaultStore(store, at_commit), rows, digest="ab" * 32 if same_plan else f"{number}" * 64)
        except EmbsnapError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, range(2)))
    (winner,) = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, WrittenSnapshot)]
    loser = outcomes[1 - winner]
    assert isinstance(loser, RefusedError)
    assert loser.kind == ErrorKind.DESTINATION_TAKEN
    assert "another writer" in str(loser)
    assert np.array_equal(read_array(store.uri, "user"), ROWS_VD + winner)
    runs = {found.location.split("/")[1] for found in store.list("embsnap/")}
    assert runs == {outcomes[winner].run_id}  # type: ignore[union-attr]
    assert len(list(store.list(".embsnap/"))) == 1
    assert open_snapshot(store.uri).findings == ()


def test_a_writer_that_comes_late_is_refused_at_once(store: Store) -> None:
    write(store)
    with pytest.raises(RefusedError, match="holds a snapshot already"):
        write(store, ArrayRows(ROWS_VD + 1))
    assert np.array_equal(read_array(store.uri, "user"), ROWS_VD)
