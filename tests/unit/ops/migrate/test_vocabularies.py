"""What becomes of vocabularies, and of the rows that they declare."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import embsnap
from embsnap.config.migration import MigrationConfig
from embsnap.errors import ErrorKind, IncompatibleError, RefusedError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.vocabulary import Declared
from embsnap.ops.lineage import reverse
from embsnap.ops.migrate.plan import MigrationOptions
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import listed, make_vocabulary

ROWS = np.arange(80, dtype=np.float32).reshape(20, 4)
DECLARED = Declared(num_rows=20, reserved=((0, 2),), oov=(18, 20))


@pytest.fixture
def begun(tmp_path: Path):
    write_arrays(f"{tmp_path}/old", {"user": ROWS})
    known = replace(make_vocabulary(list(range(100, 110)), list(range(2, 12))), declared=DECLARED)
    write_vocabulary(known, f"{tmp_path}/old.parquet")
    return embsnap.migration(f"{tmp_path}/old").vocab("user", f"{tmp_path}/old.parquet")


@pytest.mark.parametrize(("num_rows", "oov"), [(19, (18, 19)), (14, None), (8, None)])
def test_declared_rows_below_a_cut_stay_declared(tmp_path: Path, begun, num_rows: int, oov) -> None:
    begun.resize("user", num_rows, shrink="truncate").write(f"{tmp_path}/new")
    found = read_vocabulary(open_snapshot(f"{tmp_path}/new").sidecar.tables["user"].uri)
    assert len(found) == min(10, num_rows - 2)
    assert (found.declared.num_rows, found.declared.reserved, found.declared.oov) == (num_rows, ((0, 2),), oov)


def test_rows_for_unknown_ids_are_not_cut_off_as_unheld(tmp_path: Path, begun) -> None:
    with pytest.raises(IncompatibleError, match="rows that the vocabulary declares") as caught:
        begun.resize("user", 14, shrink="unheld").plan()
    assert caught.value.kind is ErrorKind.ROW_OUT_OF_RANGE
    assert caught.value.found == "one in row 19"


def test_the_way_back_of_a_revocab_takes_reserved_rows_along(tmp_path: Path, begun) -> None:
    write_vocabulary(make_vocabulary(list(range(100, 120)), list(range(21, 1, -1))), f"{tmp_path}/new.parquet")
    result = begun.revocab("user", f"{tmp_path}/new.parquet", reserved={"rows": 2}).write(f"{tmp_path}/new")
    counts = {"carried": 10, "new": 10, "dropped": 0, "reserved": 2, "unoccupied": 0}
    assert result.tables[0].counts == counts
    assert open_snapshot(f"{tmp_path}/new").sidecar.lineage.counts["user"] == counts
    back = reverse(f"{tmp_path}/new")
    assert not back.remarks
    plan = MigrationConfig.model_validate({"steps": back.steps})
    embsnap.migration(f"{tmp_path}/new").extend(plan).write(f"{tmp_path}/back")
    np.testing.assert_array_equal(read_array(f"{tmp_path}/back", "user")[:12], ROWS[:12])
    emptied = begun.revocab("user", f"{tmp_path}/new.parquet", reserved={"rows": 2, "policy": "zeros"}).plan()
    assert emptied.undos[-1] == "the old rows 0:2 of user are left behind"


def test_tables_of_one_name_keep_their_vocabularies(tmp_path: Path) -> None:
    paths = [f"model/{module}.embedding_bags.user.weight" for module in "ab"]
    builder = SnapshotBuilder()
    for path in paths:
        builder.tensor(path, ROWS)
    builder.write(tmp_path / "old")
    begun, ids = embsnap.migration(f"{tmp_path}/old"), []
    for number, path in enumerate(paths):
        ids.append(list(range(number, number + 20)))
        write_vocabulary(make_vocabulary(ids[-1]), f"{tmp_path}/{number}.parquet")
        begun = begun.vocab(path, f"{tmp_path}/{number}.parquet")
    begun.write(f"{tmp_path}/new")
    second = embsnap.migration(f"{tmp_path}/new").split(paths[1], {"x": {"ids": [20]}}, rest="drop")
    second.write(f"{tmp_path}/second")
    assert set(open_snapshot(f"{tmp_path}/second").sidecar.tables) == {"user", "x"}
    third = embsnap.migration(f"{tmp_path}/second").split("user", {"y": {"ids": [0]}}, rest="drop")
    third.write(f"{tmp_path}/third")
    np.testing.assert_array_equal(read_array(f"{tmp_path}/third", "y"), ROWS[:1])


def test_tables_with_state_of_other_types_are_not_merged(tmp_path: Path) -> None:
    path = "optimizer/state/fused_opt.ebc.embedding_bags.{0}.weight/{0}.momentum1"
    state = {path.format("a"): np.ones(20, np.float32), path.format("b"): np.ones(20, np.float16)}
    write_arrays(f"{tmp_path}/old", {"a": ROWS, "b": ROWS}, state)
    begun = embsnap.migration(f"{tmp_path}/old")
    for number, name in enumerate("ab"):
        write_vocabulary(make_vocabulary(list(range(20 * number, 20 * number + 20))), f"{tmp_path}/{name}.parquet")
        begun = begun.vocab(name, f"{tmp_path}/{name}.parquet")
    with pytest.raises(IncompatibleError, match="tables of another optimizer state cannot be merged") as caught:
        begun.merge(["a", "b"], "c").plan()
    assert caught.value.found == "momentum1 row-wise float16"


def test_the_way_back_of_a_revocab_names_columns(tmp_path: Path) -> None:
    write_arrays(f"{tmp_path}/old", {"user": ROWS})
    numbers = pa.array(range(20))
    pq.write_table(pa.table({"uid": numbers, "idx": numbers, "row": numbers}), tmp_path / "old.parquet")
    write_vocabulary(make_vocabulary(list(range(19, -1, -1))), f"{tmp_path}/new.parquet")
    begun = embsnap.migration(f"{tmp_path}/old")
    begun = begun.vocab("user", f"{tmp_path}/old.parquet", columns={"id": "uid", "row": "idx"})
    begun.revocab("user", f"{tmp_path}/new.parquet").write(f"{tmp_path}/new")
    plan = MigrationConfig.model_validate({"steps": reverse(f"{tmp_path}/new").steps})
    embsnap.migration(f"{tmp_path}/new").extend(plan).write(f"{tmp_path}/back")
    np.testing.assert_array_equal(read_array(f"{tmp_path}/back", "user"), ROWS)


@pytest.mark.parametrize(("num_rows", "shrink"), [(20, None), (13, "unheld")])
def test_a_made_vocabulary_declares_the_rows_of_its_table(tmp_path: Path, begun, num_rows: int, shrink) -> None:
    begun.resize("user", 15, shrink="truncate").resize("user", num_rows, shrink=shrink).write(f"{tmp_path}/new")
    found = read_vocabulary(open_snapshot(f"{tmp_path}/new").sidecar.tables["user"].uri)
    assert found.declared.num_rows == num_rows


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize(
    ("since", "kept"),
    [("2024-05-02", [2, 3]), ("2024-05-02T02:00:00+02:00", [2, 3]), ("2024-05-02T00:00:01", [3]), (20240502, None)],
)
def test_entities_seen_since_a_moment(tmp_path: Path, unit: str, since, kept) -> None:
    write_arrays(f"{tmp_path}/old", {"user": ROWS[:4]})
    seen = pa.array([*(datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2, 3)), None], pa.timestamp(unit, tz="UTC"))
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "row": [0, 1, 2, 3], "last_seen": seen}), tmp_path / "old.parquet")
    begun = embsnap.migration(f"{tmp_path}/old").vocab("user", f"{tmp_path}/old.parquet")
    if kept is None:  # no date, and as microseconds it would keep everything
        with pytest.raises(IncompatibleError, match="a date or time such as 2024-05-01"):
            begun.prune("user", seen_since=since).plan()
        return
    begun.prune("user", seen_since=since).write(f"{tmp_path}/new")
    found = read_vocabulary(open_snapshot(f"{tmp_path}/new").sidecar.tables["user"].uri)
    assert listed(found.ids) == kept
    np.testing.assert_array_equal(read_array(f"{tmp_path}/new", "user"), ROWS[[id_ - 1 for id_ in kept]])


def test_a_vocabulary_with_other_counts_is_not_taken_over(tmp_path: Path) -> None:
    write_arrays(f"{tmp_path}/old", {"user": ROWS})
    for name, factor in (("a", 1), ("b", 10)):
        counts = [factor * number for number in range(20)]
        write_vocabulary(make_vocabulary(list(range(20)), counts=counts), f"{tmp_path}/{name}.parquet")
    begun = embsnap.migration(f"{tmp_path}/old", options=MigrationOptions(vocab_out=f"{tmp_path}/made"))
    first, second = (begun.vocab("user", f"{tmp_path}/{name}.parquet").prune("user", top=5) for name in "ab")
    first.write(f"{tmp_path}/first")
    first.write(f"{tmp_path}/again", resume=True)
    with pytest.raises(RefusedError, match="a vocabulary that the migration makes"):
        second.write(f"{tmp_path}/second", resume=True)
