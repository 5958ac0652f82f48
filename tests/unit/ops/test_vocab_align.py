"""Row maps from two vocabularies."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from embsnap.errors import ErrorKind, IncompatibleError, RefusedError, UsageError
from embsnap.formats.remap import read_remap
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.vocabulary import IdType
from embsnap.ops.vocab_align import AlignOptions, align_vocabularies, plan_alignment, write_alignment
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.testing.vocabularies import make_vocabulary

_numbers = itertools.count()


@pytest.fixture
def root():
    return f"memory://align{next(_numbers)}"


@pytest.mark.parametrize("id_type", list(IdType))
def test_the_file_against_a_dict(tmp_path, id_type):
    chance = random.Random(len(id_type))
    numbers = chance.sample(range(10_000), 300)
    kinds = {
        IdType.INT64: lambda n: n - 5000,
        IdType.UINT64: lambda n: 2**64 - 1 - n,
        IdType.STRING: "entity {}".format,
        IdType.BINARY: lambda n: n.to_bytes(3, "big"),
    }
    values = [kinds[id_type](number) for number in numbers]
    old_rows, new_rows = chance.sample(range(400), 200), chance.sample(range(500), 200)
    old = make_vocabulary(values[:200], old_rows, id_type=id_type)
    new = make_vocabulary(values[100:], new_rows, id_type=id_type)
    options = AlignOptions(num_embeddings=500, num_old_rows=400, threads=2)
    result = write_alignment(align_vocabularies(old, new, options), f"{tmp_path}/map.parquet")

    old_row = dict(zip(values[:200], old_rows, strict=True))
    expected = sorted((row, old_row.get(value), value) for value, row in zip(values[100:], new_rows, strict=True))
    records = pq.read_table(result.destination).to_pylist()
    assert [(record["new_row"], record["old_row"], record["id"]) for record in records] == expected
    moved = sum(old is not None and old != new for new, old, _ in expected)
    assert (result.num_carried, result.num_new, result.num_dropped) == (100, 100, 100)
    assert (result.num_moved, result.num_unoccupied, result.coverage) == (moved, 300, 0.5)


def test_what_it_was_made_from_is_written(root):
    old, new = make_vocabulary([7, 8]), make_vocabulary([8, 9], counts=[3, 1])
    plan = align_vocabularies(old, new, AlignOptions(with_ids=False))
    result = write_alignment(plan, f"{root}/map.parquet")
    remap = read_remap(f"{root}/map.parquet", num_new_rows=2, num_old_rows=2)
    assert (remap.row_V.tolist(), remap.id_column) == ([1, -1], None)
    origin = remap.origin
    assert (origin.old_fingerprint, origin.new_fingerprint) == (fingerprint_of(old), fingerprint_of(new))
    assert (origin.num_old_rows, origin.num_new_rows) == (2, 2)
    assert [each["uri"] for each in origin.provenance["inputs"]] == [old.uri, new.uri]
    assert (result.weighted_coverage, result.destination) == (0.75, f"{root}/map.parquet")


def test_tables_have_the_rows_that_vocabularies_declare(root):
    built = make_vocabulary([7, 8], [2, 1])
    write_vocabulary(built, f"{root}/v.parquet")
    plan = plan_alignment(f"{root}/v.parquet", f"{root}/v.parquet")
    assert (plan.result.new.num_rows, plan.result.old.num_rows) == (3, 3)
    plan = plan_alignment(f"{root}/v.parquet", f"{root}/v.parquet", AlignOptions(num_embeddings=9))
    assert (plan.result.new.num_rows, plan.result.old.num_rows) == (9, 3)
    np.testing.assert_array_equal(plan.row_map.row_V, [-1, 1, 2, *[-1] * 6])


def test_refused():
    with pytest.raises(UsageError) as usage:
        align_vocabularies(make_vocabulary([7]), make_vocabulary([7]), AlignOptions(num_embeddings=0))
    assert (usage.value.kind, usage.value.where) == (ErrorKind.BAD_OPTION, "--num-embeddings")
    with pytest.raises(IncompatibleError) as error:
        align_vocabularies(make_vocabulary([7]), make_vocabulary([8]))
    assert error.value.kind is ErrorKind.ZERO_OVERLAP
    with pytest.raises(IncompatibleError) as error:
        align_vocabularies(make_vocabulary([7], [3]), make_vocabulary([7]), AlignOptions(num_old_rows=3))
    assert error.value.kind is ErrorKind.ROW_OUT_OF_RANGE


def test_a_taken_destination(root):
    plan = align_vocabularies(make_vocabulary([7]), make_vocabulary([7]))
    write_alignment(plan, f"{root}/map.parquet")
    with pytest.raises(RefusedError) as error:
        write_alignment(plan, f"{root}/map.parquet")
    assert error.value.kind is ErrorKind.DESTINATION_TAKEN
