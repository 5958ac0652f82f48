"""Two snapshots as wholes: structure, bits, vocabularies that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.snapshot_diff import MatchedBy
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.diff.snapshots import diff_snapshots
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

WEIGHT = "model/ebc.embedding_bags.user.weight"
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
BITS = DiffOptions(bit_exact=True, neighbors=0)


def build(root, *, rows=None, state=None, dense=None, step=7, blob=b"pickle", world_size=1):
    rows = np.arange(24, dtype=np.float32).reshape(8, 3) if rows is None else rows
    builder = SnapshotBuilder(world_size=world_size)
    builder.sharded(WEIGHT, rows, row_shards(rows.shape, world_size))
    if state is not None:
        builder.sharded(STATE, state, row_shards(state.shape, world_size))
    builder.chunked("model/dense.weight", np.ones((4, 2, 2), np.float32) if dense is None else dense, num_rows=2)
    builder.value("progress/step", step)
    builder.opaque("extra/rng", blob)
    for rank in range(1, world_size):
        builder.value("progress/rank", rank, rank=rank)
    return str(builder.write(root))


def test_a_snapshot_is_the_same_as_itself(tmp_path):
    uri = build(tmp_path / "a", state=np.ones(8, np.float32))
    diff = diff_snapshots(uri, uri, BITS)
    assert diff.same
    assert [(bits.what, bits.num_rows, bits.num_differing) for bits in diff.tables[0].bits] == [
        ("weight", 8, 0),
        ("momentum1", 8, 0),
    ]
    assert diff.tables[0].matching.by is MatchedBy.POSITION
    assert diff.tables[0].findings[0].kind == "matched-by-position"


def test_another_world_size_changes_where_things_lie_and_not_what_they_are(tmp_path):
    a, b = build(tmp_path / "a"), build(tmp_path / "b", world_size=2)
    table = diff_snapshots(a, b, BITS).tables[0]
    assert {change.what for change in table.changes} == {"sharding", "ranks"}
    assert table.drift.num_identical == 8


@pytest.mark.parametrize(
    ("other", "place", "what"),
    [
        ({"step": 8}, "progress/step", "value"),
        ({"dense": np.zeros((4, 2, 2), np.float32)}, "model/dense.weight", "bits"),
        ({"dense": np.ones((4, 2, 3), np.float32)}, "model/dense.weight", "array"),
        ({"blob": b"pickles"}, "extra/rng", "bytes"),
        ({"blob": b"tickle"}, "extra/rng", "bits"),
    ],
)
def test_entries_outside_of_tables(tmp_path, other, place, what):
    diff = diff_snapshots(build(tmp_path / "a"), build(tmp_path / "b", **other), BITS)
    assert [(change.place, change.what) for change in diff.changes] == [(place, what)]
    assert not diff.same


def test_one_bit_of_one_weight_or_state(tmp_path):
    rows, state = np.ones((8, 3), np.float32), np.zeros((8, 3), np.float32)
    a = build(tmp_path / "a", rows=rows, state=state)
    rows[5, 1], state[2, 0] = np.nextafter(np.float32(1), 2), -0.0
    diff = diff_snapshots(a, build(tmp_path / "b", rows=rows, state=state), BITS)
    found = {bits.what: (bits.num_differing, bits.examples) for bits in diff.tables[0].bits}
    assert found == {"weight": (1, ("row 5",)), "momentum1": (1, ("row 2",))}
    assert not diff.same


def test_state_that_one_side_lacks_is_a_change(tmp_path):
    a, b = build(tmp_path / "a", state=np.ones(8, np.float32)), build(tmp_path / "b")
    diff = diff_snapshots(a, b, BITS)
    assert [(change.what, change.b) for change in diff.tables[0].changes] == [("state momentum1", None)]
    assert not diff.same


def of_one_name(root, **scales):
    """A table `user` under each of some app keys, each filled with one number."""
    builder = SnapshotBuilder()
    for app_key, scale in scales.items():
        builder.tensor(f"{app_key}/ebc.embedding_bags.user.weight", np.full((4, 2), scale, np.float32))
    return str(builder.write(root))


def test_tables_of_one_name_are_told_apart(tmp_path):
    paths = [f"{app_key}/ebc.embedding_bags.user.weight" for app_key in ("model", "ema")]
    a, b = of_one_name(tmp_path / "a", model=1, ema=2), of_one_name(tmp_path / "b", model=1, ema=5)
    diff = diff_snapshots(a, b, DiffOptions(neighbors=0, fail_if=["distance.max>0"]))
    assert [table.name for table in diff.tables] == paths
    assert [(gate.table, gate.met) for gate in diff.gates] == list(zip(paths, (False, True), strict=True))


def test_a_table_finds_its_own_where_a_side_has_several_of_its_name(tmp_path):
    path = "model/ebc.embedding_bags.user.weight"
    a, b = of_one_name(tmp_path / "a", model=1), of_one_name(tmp_path / "b", ema=5, model=1)
    for one, other, names in ((a, b, ("user", path)), (b, a, (path, "user"))):
        diff = diff_snapshots(one, other, DiffOptions(neighbors=0))
        assert [(table.a.name, table.b.name, table.drift.num_identical) for table in diff.tables] == [(*names, 4)]
        assert sorted([*diff.only_a, *diff.only_b]) == [path.replace("model", "ema", 1)]


def test_bits_follow_entities_and_name_them(write_days, tmp_path):
    rng = np.random.default_rng(0)
    a_VD, ids = rng.standard_normal((300, 4)).astype(np.float32), np.arange(300)
    order = rng.permutation(300)
    b_VD = a_VD[order]
    days = write_days(a_VD, b_VD, ids, ids[order])
    assert days.diff(bit_exact=True).same
    b_VD[17, 3] += 1
    (bits,) = write_days(a_VD, b_VD, ids, ids[order]).diff(bit_exact=True).tables[0].bits
    assert (bits.num_rows, bits.num_differing, bits.examples) == (300, 1, (str(ids[order][17]),))


def test_row_wise_state_of_column_shards(tmp_path):
    rows = np.ones((4, 6), np.float32)
    shards = {0: [((0, 0), (4, 3))], 1: [((0, 3), (4, 3))]}
    halves = {0: [((0,), (4,))], 1: [((4,), (4,))]}
    uris = []
    for name, values in (("a", np.arange(8)), ("b", np.arange(8)[[3, 2, 1, 0, 7, 6, 5, 4]])):
        builder = SnapshotBuilder(world_size=2)
        builder.sharded(WEIGHT, rows, shards)
        builder.sharded(STATE, values.astype(np.float32), halves)
        uris.append(str(builder.write(tmp_path / name)))
        write_vocabulary(
            make_vocabulary([0, 1, 2, 3], [0, 1, 2, 3] if name == "a" else [3, 2, 1, 0]), f"{tmp_path}/v{name}"
        )
    vocabularies = {"vocab_a": {"user": f"{tmp_path}/va"}, "vocab_b": {"user": f"{tmp_path}/vb"}}
    assert diff_snapshots(*uris, DiffOptions(bit_exact=True, neighbors=0, **vocabularies)).same
    assert not diff_snapshots(*uris, BITS).same


def test_tables_that_one_side_lacks(tmp_path):
    rows = np.ones((2, 2), np.float32)
    write_arrays(f"{tmp_path}/a", {"user": rows, "old": rows})
    write_arrays(f"{tmp_path}/b", {"user": rows, "new": rows})
    diff = diff_snapshots(f"{tmp_path}/a", f"{tmp_path}/b")
    assert (diff.only_a, diff.only_b, [table.name for table in diff.tables]) == (("old",), ("new",), ["user"])
    assert not diff.same
    renamed = diff_snapshots(f"{tmp_path}/a", f"{tmp_path}/b", DiffOptions(tables=["old=new"]))
    assert [table.name for table in renamed.tables] == ["old → new"]
    assert renamed.same


def test_by_position_beyond_both_tables(tmp_path):
    write_arrays(f"{tmp_path}/a", {"user": np.ones((5, 2), np.float32)})
    write_arrays(f"{tmp_path}/b", {"user": np.ones((3, 2), np.float32)})
    matching = diff_snapshots(f"{tmp_path}/a", f"{tmp_path}/b").tables[0].matching
    assert (matching.num_shared, matching.num_born, matching.num_gone, matching.num_moved) == (3, 0, 2, 0)


def refused(days, **options):
    with pytest.raises(EmbsnapError) as raised:
        days.diff(**options)
    return raised.value


def test_a_vocabulary_on_one_side_only(days):
    error = refused(days, vocab_b={})
    assert error.kind is ErrorKind.NO_VOCABULARY
    assert error.hint == "give --vocab-b user=URI, or --by-position to compare row by row"
    assert days.diff(vocab_b={}, by_position=True).tables[0].matching.by is MatchedBy.POSITION


def test_a_vocabulary_of_a_table_that_is_not_compared(days):
    error = refused(days, vocab_a={"usr": "x"})
    assert error.kind is ErrorKind.NO_SUCH_TABLE
    assert error.where == "--vocab-a usr=…"


def test_ids_of_another_type(days):
    write_vocabulary(make_vocabulary([str(entity) for entity in days.ids_b.tolist()]), f"{days.root}/text.parquet")
    error = refused(days, vocab_b={"user": f"{days.root}/text.parquet"})
    assert error.kind is ErrorKind.ID_TYPE_MISMATCH


def test_no_such_table(days):
    assert refused(days, tables=["post"]).kind is ErrorKind.NO_SUCH_TABLE


def test_nothing_to_compare(tmp_path):
    SnapshotBuilder().write(tmp_path / "a")
    with pytest.raises(EmbsnapError) as raised:
        diff_snapshots(f"{tmp_path}/a", f"{tmp_path}/a")
    assert raised.value.kind is ErrorKind.NOTHING_TO_DO
