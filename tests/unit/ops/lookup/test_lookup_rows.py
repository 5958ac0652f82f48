"""Rows by entity id: what is found, and how little is read for it."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.torchsnapshot import snapshot as snapshot_module
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.lookup.options import RowLookupOptions
from embsnap.ops.lookup.rows import look_up_rows
from embsnap.storage.uri import open_store
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

WEIGHT = "model/ebc.embedding_bags.user.weight"
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user"
V, D = 5000, 64


@pytest.fixture
def rows_VD():
    return np.random.default_rng(0).standard_normal((V, D)).astype(np.float32)


@pytest.fixture
def ids():
    return np.random.default_rng(1).permutation(10**6)[:V]


@pytest.fixture
def uri(tmp_path, rows_VD, ids):
    builder = SnapshotBuilder(world_size=3, batched=False)
    builder.sharded(WEIGHT, rows_VD, row_shards(rows_VD.shape, 3))
    builder.sharded(f"{STATE}.momentum1", np.arange(V, dtype=np.float32), row_shards((V,), 3))
    builder.tensor(f"{STATE}.step", np.array(12.0, np.float32))
    builder.write(tmp_path / "run")
    write_vocabulary(make_vocabulary(ids.tolist(), counts=list(range(V))), f"{tmp_path}/vocab.parquet")
    return f"{tmp_path}/run"


@pytest.fixture
def counted(monkeypatch):
    """Stores that snapshots were opened from, counting what is read; they map nothing."""
    stores = []

    def opened(uri, options=None):
        stores.append(CountingStore(open_store(uri, options), maps=False))
        return stores[-1]

    monkeypatch.setattr(snapshot_module, "open_store", opened)
    return stores


def lookup(uri, *ids, **options):
    vocab = options.pop("vocab", uri.rsplit("/", 1)[0] + "/vocab.parquet")
    return look_up_rows(uri, RowLookupOptions(ids=[str(value) for value in ids], vocab=vocab, **options))


def test_an_entity_with_its_state(uri, rows_VD, ids):
    (entity,) = lookup(uri, ids[4321]).entities
    assert (entity.id, entity.found.row, entity.found.count) == (ids[4321], 4321, 4321)
    np.testing.assert_array_equal(entity.found.values, rows_VD[4321])
    np.testing.assert_allclose(entity.found.norm, np.linalg.norm(rows_VD[4321].astype(float)), rtol=1e-14)
    assert {state.name: state.values for state in entity.found.state} == {"momentum1": (4321,), "step": (12,)}
    assert (entity.against, entity.step, entity.found.neighbors) == (None, None, None)


def test_only_the_bytes_of_the_rows_are_read(uri, ids, counted):
    asked = [3, 1600, 2500, 4999]
    found = lookup(uri, *ids[asked])
    assert [entity.found.row for entity in found.entities] == asked
    read = {location: num for location, num in counted[0].bytes_read.items() if "weight_" in location}
    assert sum(read.values()) == len(asked) * D * 4
    momentum = sum(num for location, num in counted[0].bytes_read.items() if "momentum1" in location)
    assert momentum < V * 4


def test_neighbours_are_those_of_the_whole_table(uri, rows_VD, ids):
    (entity,) = lookup(uri, ids[17], neighbors=5, threads=2).entities
    rows = rows_VD.astype(float)
    cosines = rows @ rows[17] / np.linalg.norm(rows, axis=1) / np.linalg.norm(rows[17])
    best = [row for row in np.argsort(-cosines) if row != 17][:5]
    assert [(near.row, near.id) for near in entity.found.neighbors] == [(row, ids[row]) for row in best]
    np.testing.assert_allclose([near.cosine for near in entity.found.neighbors], cosines[best], rtol=1e-12)


def test_what_is_not_there_is_listed(uri, ids):
    found = lookup(uri, ids[0], 10**7, "99999999999999999999")
    assert [entity.id for entity in found.entities] == [ids[0]]
    assert found.missing == (str(10**7), "99999999999999999999")


def test_rows_by_index_with_and_without_a_vocabulary(uri, ids):
    (entity,) = lookup(uri, rows=[8]).entities
    assert entity.id == ids[8]
    (entity,) = lookup(uri, rows=[8], vocab=None).entities
    assert (entity.id, entity.found.row) == (None, 8)


@pytest.fixture
def second(tmp_path, rows_VD, ids):
    write_arrays(f"{tmp_path}/second", {"member": rows_VD[:100][::-1] * 2})
    write_vocabulary(make_vocabulary(ids[:100][::-1].tolist()), f"{tmp_path}/second.parquet")
    return {
        "against": f"{tmp_path}/second",
        "table_against": "member",
        "vocab_against": f"{tmp_path}/second.parquet",
    }


def test_two_snapshots_side_by_side(uri, rows_VD, ids, second):
    found = lookup(uri, ids[40], ids[400], neighbors=3, **second)
    both, one = found.entities
    assert (both.found.row, both.against.row) == (40, 59)
    np.testing.assert_array_equal(both.against.values, rows_VD[40] * 2)
    np.testing.assert_allclose(
        (both.step.distance, both.step.cosine, both.step.relative_l2), (both.found.norm, 1, 1), rtol=1e-12
    )
    assert both.step.neighbors_kept == len(
        {near.id for near in both.found.neighbors} & {near.id for near in both.against.neighbors}
    )
    assert (one.against, one.step) == (None, None)
    assert (found.against.table, found.table.table) == ("member", "user")


def test_an_entity_that_only_the_second_has(uri, ids, second, tmp_path):
    write_vocabulary(make_vocabulary([*ids[:99].tolist(), 5_000_000]), f"{tmp_path}/third.parquet")
    found = lookup(uri, 5_000_000, **{**second, "vocab_against": f"{tmp_path}/third.parquet"})
    (entity,) = found.entities
    assert (entity.id, entity.found, entity.against.row, found.missing) == (5_000_000, None, 99, ())


def test_rows_that_are_no_numbers(tmp_path):
    rows = np.array([[1, np.nan], [0, 0], [2, 3]]).astype(ml_dtypes.bfloat16)
    write_arrays(f"{tmp_path}/a", {"user": rows})
    found = look_up_rows(
        f"{tmp_path}/a", RowLookupOptions(rows=[0, 1, 2], neighbors=2, against=f"{tmp_path}/a")
    ).entities
    assert [entity.found.neighbors for entity in found] == [(), (), ()]
    assert [entity.step.distance for entity in found] == [None, 0, 0]
    assert [entity.step.cosine for entity in found] == [None, None, 1]


def refused(uri, *ids, **options):
    with pytest.raises(EmbsnapError) as raised:
        lookup(uri, *ids, **options)
    return raised.value


def test_an_id_without_a_vocabulary(uri):
    assert refused(uri, 7, vocab=None).kind is ErrorKind.NO_VOCABULARY


def test_nothing_asked_for(uri):
    assert refused(uri).kind is ErrorKind.NOTHING_TO_DO


def test_a_row_beyond_the_table(uri):
    assert refused(uri, rows=[V]).kind is ErrorKind.NO_SUCH_ENTITY
    assert refused(uri, rows=[-1]).kind is ErrorKind.NO_SUCH_ENTITY


def test_a_vocabulary_beyond_the_table(uri, tmp_path):
    write_vocabulary(make_vocabulary([1, 2], [0, V]), f"{tmp_path}/long.parquet")
    assert refused(uri, 2, vocab=f"{tmp_path}/long.parquet").kind is ErrorKind.ROW_OUT_OF_RANGE


def test_several_tables_and_none_is_named(tmp_path):
    rows = np.ones((2, 2), np.float32)
    write_arrays(f"{tmp_path}/two", {"user": rows, "post": rows})
    error = refused(f"{tmp_path}/two", rows=[0], vocab=None)
    assert (error.kind, error.found) == (ErrorKind.AMBIGUOUS_TABLE, "post, user")


def test_complex_rows(tmp_path):
    builder = SnapshotBuilder()
    builder.tensor(WEIGHT, np.ones((2, 2), np.complex64))
    builder.write(tmp_path / "complex")
    assert refused(f"{tmp_path}/complex", rows=[0], vocab=None).kind is ErrorKind.DTYPE_MISMATCH


def test_a_table_of_several_of_one_name_is_held_against_its_own(tmp_path):
    averages = WEIGHT.replace("model", "ema", 1)
    for name, paths in (("both", (WEIGHT, averages)), ("alone", (WEIGHT,))):
        builder = SnapshotBuilder()
        for value, path in enumerate(paths, start=1):
            builder.tensor(path, np.full((2, 2), value, np.float32))
        builder.write(tmp_path / name)
    options = RowLookupOptions(rows=[0], table=averages, against=f"{tmp_path}/both")
    found = look_up_rows(f"{tmp_path}/both", options)
    assert (found.table.table, found.against.table) == (averages, averages)
    assert found.entities[0].step.distance == 0
    with pytest.raises(EmbsnapError) as caught:
        look_up_rows(f"{tmp_path}/both", replace(options, against=f"{tmp_path}/alone"))
    assert caught.value.kind is ErrorKind.NO_SUCH_TABLE


def test_rows_without_entities_are_not_looked_for_among_entities(uri):
    vocab = uri.rsplit("/", 1)[0] + "/vocab.parquet"
    with pytest.raises(EmbsnapError) as caught:
        lookup(uri, rows=[0], vocab=None, against=uri, vocab_against=vocab)
    assert caught.value.kind is ErrorKind.NO_VOCABULARY
