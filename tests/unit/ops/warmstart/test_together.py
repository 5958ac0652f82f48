"""Several processes plan together what one plans alone; here they are threads."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.ops.warmstart.initial_rows import OldRows
from embsnap.ops.warmstart.peers import Share
from embsnap.ops.warmstart.plan import WarmstartOptions, WarmstartPlan, plan_warmstart
from embsnap.testing.tables import write_arrays

OLD_ROWS, NEW_ROWS, DIM = 1300, 1500, 3


class Job:
    """What the threads of a job share."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier = size, threading.Barrier(size, timeout=60)
        self.board: list[Any] = [None] * size

    def told(self, rank: int, value: Any) -> list[Any]:
        """What every thread says at this point."""
        self.board[rank] = value
        self.barrier.wait()
        said = list(self.board)
        self.barrier.wait()
        return said


@dataclass
class Thread:
    """One of them, as a peer."""

    rank: int
    job: Job
    size: int = field(init=False)
    sent: int = 0
    """Items to other threads."""

    def __post_init__(self) -> None:
        self.size = self.job.size

    def agree(self, step: Callable[[], Any]) -> list[Any]:
        value, own = None, None
        try:
            value = step()
        except EmbsnapError as error:
            own = error
        said = self.job.told(self.rank, (value, own))
        for _, error in [(None, own), *said]:
            if error is not None:
                raise error
        return [value for value, _ in said]

    def exchange(self, items_N: np.ndarray, counts_R: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        assert sum(counts_R) == len(items_N)
        parts = np.split(items_N, np.cumsum(counts_R)[:-1])
        self.sent += len(items_N) - len(parts[self.rank])
        received = [said[self.rank] for said in self.job.told(self.rank, parts)]
        return np.concatenate(received), [len(part) for part in received]


def plan_together(days, num_rows: int, wanted: Sequence[Any], **options: Any) -> list[WarmstartPlan]:
    """The plan of each thread, which wants these rows of the table."""
    job = Job(len(wanted))

    def plan(rank: int) -> WarmstartPlan:
        share = Share(Thread(rank, job), None if wanted[rank] is None else {"user": wanted[rank]})
        return plan_warmstart(days.parsed(num_rows), WarmstartOptions(**options), share=share)

    with ThreadPoolExecutor(len(wanted)) as pool:
        futures = [pool.submit(plan, rank) for rank in range(len(wanted))]
    errors = [str(error) for future in futures if (error := future.exception()) is not None]
    assert len(errors) in (0, len(wanted))
    assert len(set(errors)) <= 1
    return [future.result() for future in futures]


def check_same(days, num_rows: int, wanted: Sequence[Any], **options: Any) -> WarmstartPlan:
    """Each thread's report and rows are those of a plan that is made alone; returns that."""
    alone = plan_warmstart(days.parsed(num_rows), WarmstartOptions(**options))
    expected = rows_of(alone, 0, num_rows)
    for plan, ranges in zip(plan_together(days, num_rows, wanted, **options), wanted, strict=True):
        assert told(plan) == told(alone)
        for start, end in [(0, num_rows)] if ranges is None else ranges:
            np.testing.assert_array_equal(rows_of(plan, start, end), expected[start:end])
    return alone


def told(plan: WarmstartPlan) -> Any:
    return replace(plan.result(), peak_memory_bytes=0, planning_seconds=0.0, seconds=0.0)


def rows_of(plan: WarmstartPlan, start: int, end: int) -> np.ndarray:
    """What the table and its state take: the state in the last column."""
    (table,) = plan.tables
    rows_ND = np.full((end - start, DIM + 1), np.nan, np.float32)
    table.rows.read(start, end, weight := np.empty((end - start, DIM), np.float32))
    rows_ND[:, :DIM] = weight
    for array in table.state_to_write:
        array.source.read(start, end, state := np.empty((end - start, 1), np.float32))
        rows_ND[:, DIM:] = state
    return rows_ND


IDS: dict[str, Callable[[np.ndarray], Any]] = {
    "int64": lambda ids: pa.array(ids - 700, pa.int64()),
    "uint64": lambda ids: pa.array(ids.astype(np.uint64) + np.uint64(2**63 - 700), pa.uint64()),
    "string": lambda ids: pa.array([f"user {'x' * (i % 7)} {i}" for i in ids.tolist()]),
    "binary": lambda ids: pa.array([i.to_bytes(1 + i % 9 + 2, "little") for i in ids.tolist()], pa.binary()),
}
WANTED: dict[str, list[Any]] = {
    "alone": [[(0, NEW_ROWS)]],
    "two": [[(0, 750)], [(750, NEW_ROWS)]],
    "bands": [[(100, 200), (900, 1400)], [], [(0, 100), (200, 900), (1400, NEW_ROWS)], [(650, 950)]],
    "everything": [None, None, None],
}


def write(path: Any, ids: Any, rows: np.ndarray, num_files: int, **columns: Any) -> str:
    """A vocabulary in several files of several row groups."""
    table = pa.table({"id": ids, "row": rows, **columns})
    path.mkdir()
    size = -(-len(rows) // num_files)
    for number in range(num_files):
        pq.write_table(table.slice(number * size, size), path / f"{number}.parquet", row_group_size=90)
    return str(path)


@pytest.fixture
def vocabularies(tmp_path, days, make_rows) -> Callable[..., None]:
    """Two days of a table: 1,200 entities, 1,000 of them on both days, in an order of their own."""

    def make(id_type: str = "int64", *, gap: int = 0, **columns: Any) -> None:
        rng = np.random.default_rng(5)
        state = {
            "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1": np.arange(OLD_ROWS, dtype="f4")
        }
        days.old(make_rows(OLD_ROWS, DIM), [0], **state)
        old, new = rng.permutation(1200), rng.permutation(1200) + 200
        days.pretrained["vocab"] = write(tmp_path / "old", IDS[id_type](old), rng.permutation(OLD_ROWS)[:1200], 3)
        rows = rng.permutation(1200 + gap)[:1200]
        days.table["vocab"] = write(
            tmp_path / "new", IDS[id_type](new), rows, 2, count=rng.integers(0, 99, 1200), **columns
        )

    return make


@pytest.mark.parametrize("id_type", IDS)
@pytest.mark.parametrize("wanted", WANTED)
def test_the_same_rows_and_report(days, vocabularies, id_type, wanted) -> None:
    vocabularies(id_type)
    table = told(check_same(days, NEW_ROWS, WANTED[wanted])).tables[0]
    assert (table.counts.carried, table.counts.new, table.counts.dropped) == (1000, 200, 200)
    assert table.weighted_coverage is not None


def test_gaps_and_reserved_rows(days, vocabularies) -> None:
    vocabularies(gap=40)
    (finding,) = told(check_same(days, NEW_ROWS, WANTED["bands"])).tables[0].findings
    assert finding.kind == "row-gaps"
    days.table["reserved"] = {"rows": "1260:1270"}
    assert told(check_same(days, NEW_ROWS, WANTED["bands"])).tables[0].counts.reserved == 10
    days.table["reserved"] = {"rows": "10:20"}
    with pytest.raises(EmbsnapError, match="reserved rows hold entities") as caught:
        plan_together(days, NEW_ROWS, WANTED["two"])
    assert caught.value.found.startswith("entities in rows 10, 11")


@pytest.mark.parametrize(
    "initializer", ["mean", "mean_covariance", {"donor": {"id": 5}}, {"donor": {"column": "like"}}]
)
def test_initializers_that_start_from_old_rows(days, vocabularies, initializer) -> None:
    like = np.random.default_rng(6).integers(0, 1500, 1200)
    vocabularies(like=pa.array([None if i % 3 == 0 else i - 700 for i in like.tolist()], pa.int64()))
    days.table["initializer"] = initializer
    check_same(days, NEW_ROWS, WANTED["bands"])


@dataclass
class Stored:
    """Old rows in memory."""

    rows_ND: np.ndarray

    def __post_init__(self) -> None:
        self.num_rows, self.dim = self.rows_ND.shape
        self.dtype, self.num_gathered = self.rows_ND.dtype, 0

    def gather(self, rows_N: np.ndarray, out_ND: np.ndarray) -> None:
        self.num_gathered += len(rows_N)
        out_ND[...] = self.rows_ND[rows_N]


def test_moments_of_many_blocks(make_rows) -> None:
    old = make_rows(10 * 65_536 + 7, 2)
    expected = OldRows(Stored(old), "old", None, None).moments(covariance=True)
    job, stored = Job(3), [Stored(old) for _ in range(3)]
    old_rows = [OldRows(rows, "old", None, None, Thread(rank, job)) for rank, rows in enumerate(stored)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda rows: rows.moments(covariance=True), old_rows))
    for moments in found:
        np.testing.assert_array_equal(moments.mean_D, expected.mean_D)
        np.testing.assert_array_equal(moments.covariance_DD, expected.covariance_DD)
    assert max(rows.num_gathered for rows in stored) == 4 * 65_536


@pytest.mark.parametrize("again", ["new", "copy"])
def test_a_vocabulary_that_has_not_changed(tmp_path, days, make_rows, vocabularies, again) -> None:
    vocabularies("string", gap=40)
    if again == "copy":
        shutil.copytree(days.table["vocab"], tmp_path / "copy")
    days.pretrained["vocab"] = str(tmp_path / again)
    for num_rows in (OLD_ROWS, NEW_ROWS):
        (table,) = told(check_same(days, num_rows, [[(0, 500)], [(500, 1300)]])).tables
        assert (table.counts.carried, table.counts.new, table.counts.dropped) == (1200, 0, 0)


def test_a_cold_start(days, vocabularies) -> None:
    vocabularies(gap=40)
    cold = days.parsed(NEW_ROWS).tables[0].model_copy(update={"pretrained": None, "name": "item"})
    config = days.parsed(NEW_ROWS).model_copy(update={"tables": [*days.parsed(NEW_ROWS).tables, cold]})
    days.parsed = lambda _: config  # type: ignore[method-assign]
    alone = plan_warmstart(config)
    for plan in plan_together(days, NEW_ROWS, WANTED["everything"]):
        assert told(plan) == told(alone)
        found, expected = (np.empty((NEW_ROWS, DIM), np.float32) for _ in range(2))
        plan.tables[1].rows.read(0, NEW_ROWS, found)
        alone.tables[1].rows.read(0, NEW_ROWS, expected)
        np.testing.assert_array_equal(found, expected)


def corrupt(what: str, ids: list[Any], rows: list[Any]) -> tuple[Any, Any]:
    """Something wrong, as far apart as can be."""
    match what:
        case "duplicate-ids":
            ids[-1], ids[-2] = ids[0], ids[1]
        case "duplicate-rows":
            rows[-1] = rows[0]
        case "row-out-of-range":
            rows[-1], rows[3] = 5000, 5001
        case "bad-vocabulary":
            ids[2], rows[-2] = None, None
        case "zero-overlap":
            ids = [10_000 + i for i in ids]
        case "id-type-mismatch":
            ids = [str(i) for i in ids]
    return pa.array(ids), pa.array(rows)


@pytest.mark.parametrize(
    "what",
    ["duplicate-ids", "duplicate-rows", "row-out-of-range", "bad-vocabulary", "zero-overlap", "id-type-mismatch"],
)
@pytest.mark.parametrize("day", ["old", "new"])
def test_the_same_refusals(tmp_path, days, make_rows, what, day) -> None:
    days.old(make_rows(OLD_ROWS, DIM), [0])
    for name in ("old", "new"):
        ids, rows = list(range(1200)), list(range(1200))
        columns = corrupt(what, ids, rows) if name == day else (pa.array(ids), pa.array(rows))
        (days.pretrained if name == "old" else days.table)["vocab"] = write(tmp_path / name, *columns, 3)
    with pytest.raises(EmbsnapError) as alone:
        days.plan(NEW_ROWS)
    with pytest.raises(EmbsnapError) as caught:
        plan_together(days, NEW_ROWS, WANTED["bands"])
    assert alone.value.kind.value == what
    assert str(caught.value) == str(alone.value)


def refused(plan_of: Callable[[Thread], WarmstartPlan]) -> list[EmbsnapError]:
    """What two threads are told that do not find the same."""
    job = Job(2)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(plan_of, Thread(rank, job)) for rank in range(2)]
    errors = [future.exception() for future in futures]
    assert all(isinstance(error, EmbsnapError) and error.kind is ErrorKind.OBJECT_REPLACED for error in errors)
    assert all("on rank 1" in str(error) and "@latest" in str(error) for error in errors)
    return errors


def test_ranks_that_find_different_things(days, vocabularies) -> None:
    vocabularies()

    def plan(thread: Thread) -> WarmstartPlan:
        options = WarmstartOptions(prefix=f"model/step{thread.rank}")
        return plan_warmstart(days.parsed(NEW_ROWS), options, share=Share(thread))

    assert all("the plan " in str(error) for error in refused(plan))


@pytest.mark.parametrize("by_position", [False, True])
def test_ranks_that_find_different_steps(days, vocabularies, by_position) -> None:
    """Whose metadata are the same, as those of what torchsnapshot takes can be."""
    vocabularies()
    for step in range(2):
        write_arrays(f"{days.root}/run/{step}", {"user": np.full((OLD_ROWS, DIM), step, np.float32)})
    assert len({open_snapshot(f"{days.root}/run/{step}").metadata_sha256 for step in range(2)}) == 1
    pretrained = {"emb_name": "user", "by_position": by_position}
    pretrained |= {} if by_position else {"vocab": f"{days.root}/old.parquet"}

    def plan(thread: Thread) -> WarmstartPlan:
        step = {"embedding_snapshot_uri": f"{days.root}/run@{thread.rank}"}
        table = {"name": "user", "num_embeddings": OLD_ROWS, "embedding_dim": DIM, "pretrained": pretrained | step}
        table |= {} if by_position else {"vocab": f"{days.root}/new.parquet"}
        config = LargeEmbeddingsConfig.model_validate({"tables": [table]})
        return plan_warmstart(config, share=Share(thread))

    assert all(f"{days.root}/run/0" in str(error) and f"{days.root}/run/1" in str(error) for error in refused(plan))


@pytest.mark.parametrize("side", ["old", "new"])
def test_ranks_that_find_different_vocabularies(tmp_path, days, make_rows, side) -> None:
    days.old(make_rows(1200, DIM), [0])
    for name in ("old", "new"):
        ids = list(range(1200)) if name == "old" else list(range(1199, -1, -1))
        write(tmp_path / name, pa.array(ids), pa.array(range(1200)), 3)
    configs = []
    for name in ("old", "new"):
        days.table["vocab"] = str(tmp_path / (name if side == "new" else "new"))
        days.pretrained["vocab"] = str(tmp_path / (name if side == "old" else "new"))
        configs.append(days.parsed(1200))
    errors = refused(lambda thread: plan_warmstart(configs[thread.rank], share=Share(thread)))
    assert all(f"{tmp_path}/old" in str(error) and f"{tmp_path}/new" in str(error) for error in errors)


def test_gates_and_restores(days, vocabularies) -> None:
    vocabularies()
    with pytest.raises(EmbsnapError) as gate:
        plan_together(days, NEW_ROWS, WANTED["two"], min_coverage=0.9)
    assert gate.value.kind is ErrorKind.COVERAGE_BELOW_GATE
    with pytest.raises(EmbsnapError) as differs:
        plan_together(days, NEW_ROWS, WANTED["two"], identical=True)
    assert differs.value.kind is ErrorKind.VOCABULARY_MISMATCH


def test_each_holds_its_part(days, vocabularies) -> None:
    vocabularies()
    plans = plan_together(days, NEW_ROWS, WANTED["two"])
    alone = plan_warmstart(days.parsed(NEW_ROWS))
    for plan in plans:
        (table,) = plan.tables
        assert table.num_planning_bytes == alone.tables[0].num_planning_bytes / 2
        assert table.num_map_bytes < 0.6 * alone.tables[0].num_map_bytes
    assert sum(len(plan.tables[0].rows.new_rows_N) for plan in plans) == 200
