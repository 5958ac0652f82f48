"""Steps that compute: casts, widths, repairs, limits, functions, newest of several."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import embsnap
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.migrate.nodes import StoredRows
from embsnap.ops.migrate.plan import MigrationOptions
from embsnap.ops.migrate.transforms import Cast
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(70_000, 6)).astype(np.float32)


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    return f"memory://values/{request.node.name}"


@pytest.fixture
def begun(root: str):
    write_arrays(f"{root}/source", {"user": ROWS}, {"optimizer/state/o.ebc.embedding_bags.user.weight/exp_avg": ROWS})
    return embsnap.migration(f"{root}/source")


def test_fused_8_bit_rows_are_those_of_torch_and_come_back(begun, root: str) -> None:
    torch = pytest.importorskip("torch")
    result = begun.cast("user", "int8").write(f"{root}/out")
    found = read_array(f"{root}/out", "user")
    expected = torch.ops.quantized.embedding_bag_byte_prepack(torch.from_numpy(ROWS)).numpy()
    assert (found != expected).any(axis=1).mean() < 1e-3  # a value between two steps may round either way
    unpacked = torch.ops.quantized.embedding_bag_byte_unpack(torch.from_numpy(found)).numpy()
    embsnap.migration(f"{root}/out").cast("user", "fp32").write(f"{root}/back")
    np.testing.assert_allclose(read_array(f"{root}/back", "user"), unpacked, rtol=1e-6, atol=1e-6)
    [cast] = result.tables[0].casts
    assert cast.largest_error == pytest.approx(np.abs(unpacked - ROWS).max(), rel=1e-4)
    assert cast.rms_error == pytest.approx(np.sqrt(np.square(unpacked - ROWS).mean()), rel=1e-3)


def test_a_cast_beyond_its_bound_writes_nothing(begun, root: str) -> None:
    with pytest.raises(IncompatibleError, match=r"table user, row \d+, column \d: casting to float16") as caught:
        begun.cast("user", "fp16", max_error=1e-6).write(f"{root}/out")
    assert caught.value.kind is ErrorKind.CAST_ERROR
    with pytest.raises(IncompatibleError, match="casting to int8"):
        begun.cast("user", "int8", max_error=1e-6).write(f"{root}/out")
    begun.cast("user", "fp16", max_error=1e-2).write(f"{root}/out")


def test_overflow_is_refused_or_cut(root: str) -> None:
    rows = np.array([[1, 1e6, np.nan], [-1e30, np.inf, 2]], np.float32)
    write_arrays(f"{root}/source", {"user": rows})
    begun = embsnap.migration(f"{root}/source")
    with pytest.raises(IncompatibleError, match="2 finite values of one block do not fit float16") as caught:
        begun.cast("user", "fp16").write(f"{root}/out")
    assert caught.value.kind is ErrorKind.CAST_OVERFLOW
    result = begun.cast("user", "fp16", saturate=True).write(f"{root}/out")
    expected = np.array([[1, 65504, np.nan], [-65504, np.inf, 2]], np.float16)
    np.testing.assert_array_equal(read_array(f"{root}/out", "user"), expected)
    assert result.tables[0].casts[0].num_overflows == 2


def test_projection_by_pca(begun, root: str) -> None:
    result = begun.dim("user", 2, by="pca", center=True).write(f"{root}/out")
    centred = ROWS.astype(np.float64) - ROWS.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(ROWS))
    expected = centred @ vectors[:, ::-1][:, :2]
    found = read_array(f"{root}/out", "user")
    signs = np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-5)
    explained = values[::-1][:2].sum() / values.sum()
    assert result.tables[0].figures["explained_variance"] == pytest.approx(explained)
    state = read_array(f"{root}/out", "optimizer/state/o.ebc.embedding_bags.user.weight/exp_avg")
    assert state.shape == (len(ROWS), 2)
    assert not state.any()


def test_projection_by_a_given_matrix(begun, root: str, tmp_path) -> None:
    matrix = RNG.normal(size=(6, 9))
    np.save(tmp_path / "matrix.npy", matrix)
    begun.dim("user", 9, by="matrix", matrix=str(tmp_path / "matrix.npy")).write(f"{root}/out")
    np.testing.assert_allclose(
        read_array(f"{root}/out", "user"), ROWS.astype(np.float64) @ matrix, rtol=1e-4, atol=1e-5
    )
    np.save(tmp_path / "wrong.npy", matrix.T)
    with pytest.raises(IncompatibleError, match="the matrix does not fit"):
        begun.dim("user", 9, by="matrix", matrix=str(tmp_path / "wrong.npy")).plan()


def test_broken_rows_are_replaced(root: str) -> None:
    rows, donor = ROWS[:50].copy(), ROWS[100:150].copy()
    rows[3, 1], rows[7, 0], rows[9] = np.nan, np.inf, 1e6
    donor[7, 2] = np.nan
    momentum = np.arange(50, dtype=np.float32)
    momentum[4] = np.nan
    state = "optimizer/state/o.ebc.embedding_bags.user.weight/user.momentum1"
    write_arrays(f"{root}/source", {"user": rows}, {state: momentum})
    write_arrays(f"{root}/donor", {"user": donor})
    begun = embsnap.migration(f"{root}/source")
    result = begun.repair("user", max_norm=1e3, donor=f"{root}/donor", initializer="zeros").write(f"{root}/out")
    expected = rows.copy()
    expected[[3, 9]], expected[7] = donor[[3, 9]], 0
    np.testing.assert_array_equal(read_array(f"{root}/out", "user"), expected)
    assert read_array(f"{root}/out", state)[4] == 0
    assert result.tables[0].repaired_rows == 3


def test_norms(begun, root: str) -> None:
    begun.normalize("user", norm=2.0).copy("user", "short").normalize("short", max_norm=1.0).write(f"{root}/out")
    np.testing.assert_allclose(np.linalg.norm(read_array(f"{root}/out", "user"), axis=1), 2, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(read_array(f"{root}/out", "short"), axis=1), 1, rtol=1e-6)


def test_a_function_of_ones_own(begun, root: str) -> None:
    def halves(rows_N, rows_ND):
        return (rows_ND[:, :3] * 0.5 + rows_N[:, None]).astype(np.float64)

    stripped = begun.optimizer_state("drop")
    stripped.map_rows("user", halves, dim=3, dtype="float64").write(f"{root}/out")
    expected = (ROWS[:, :3] * 0.5 + np.arange(len(ROWS))[:, None]).astype(np.float64)
    np.testing.assert_array_equal(read_array(f"{root}/out", "user"), expected)
    with pytest.raises(IncompatibleError, match="custom step halves: the function returned other rows"):
        stripped.map_rows("user", halves, dim=3).write(f"{root}/other")
    with pytest.raises(IncompatibleError, match="optimizer state would not fit"):
        begun.map_rows("user", halves, dim=3, dtype="float64").plan()


def test_the_digest_tells_functions_apart(begun) -> None:
    def scaled(factor):
        return lambda rows_N, rows_ND: rows_ND * np.float32(factor)

    digests = [begun.map_rows("user", scaled(factor), name="scale").plan().digest for factor in (2, 3, 2)]
    assert digests[0] == digests[2] != digests[1]


def test_the_newest_of_several(root: str) -> None:
    write_arrays(f"{root}/source", {"a": ROWS[:3], "b": ROWS[3:6]})
    begun = embsnap.migration(f"{root}/source")
    for name, ids, seen in (("a", [1, 2, 3], [5, 9, 5]), ("b", [3, 2, 4], [7, 8, 1])):
        vocabulary = make_vocabulary(ids)
        object.__setattr__(vocabulary, "last_seen_N", np.array(seen))
        write_vocabulary(vocabulary, f"{root}/{name}.parquet")
        begun = begun.vocab(name, f"{root}/{name}.parquet")
    result = begun.merge(["a", "b"], "b", conflict="newest").write(f"{root}/out")
    np.testing.assert_array_equal(read_array(f"{root}/out", "b"), ROWS[[0, 1, 3, 5]])
    assert result.tables[0].counts == {"carried": 2, "merged": 2, "unoccupied": 0}
    with pytest.raises(IncompatibleError, match="2 entities are in several") as caught:
        begun.merge(["a", "b"], "b").plan()
    assert caught.value.kind is ErrorKind.CONFLICTING_ENTITIES


def test_each_needed_byte_is_read_once(begun, root: str) -> None:
    """However long the chain: the nodes over the stored rows are read block by block."""
    seen = []
    original = StoredRows.read

    def counting(self, start, end, out_ND):
        seen.append((self.reader.array.path, start, end))
        original(self, start, end, out_ND)

    chain = begun.rename({"user": "member"}).cast("member", "fp16").normalize("member", max_norm=1.0)
    plan = chain.dim("member", 4, by="truncate").plan()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredRows, "read", counting)
        plan.apply(f"{root}/out")
    for path in {path for path, _, _ in seen}:
        ranges = sorted((start, end) for found, start, end in seen if found == path)
        assert ranges[0][0] == 0
        assert ranges[-1][1] == len(ROWS)
        assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))


def test_parameters_are_checked_at_once(begun) -> None:
    with pytest.raises(UsageError, match=r"step 1 \(cast\): cast.to: expected 'fp64', .* \(found 'fp61'\)"):
        begun.cast("user", "fp61")
    with pytest.raises(UsageError, match="did you mean initializer"):
        begun.revocab("user", "v", initialiser="zeros")


def test_only_some_tables(root: str) -> None:
    write_arrays(f"{root}/source", {"a": ROWS[:3], "b": ROWS[3:6]})
    begun = embsnap.migration(f"{root}/source", options=MigrationOptions(tables=("a",)))
    result = begun.cast(["a", "b"], "fp16").rename({"a": "c", "b": "d"}).normalize("c", high=0.1).write(f"{root}/out")
    assert [(table.name, table.dtype) for table in result.tables] == [("c", "float16"), ("b", "float32")]


def test_a_cast_is_a_function_of_the_row_alone() -> None:
    cast = Cast("t", 6, np.dtype(np.float16), None, False)
    whole = np.empty((100, 6), np.float16)
    cast.apply(np.arange(100), ROWS[:100], whole)
    assert cast.errors.num_values == 600
    np.testing.assert_array_equal(whole, ROWS[:100].astype(np.float16))


@pytest.mark.parametrize(
    ("dtype", "give"),
    [
        (np.float16, lambda begun, matrix: begun.normalize("user", norm=1e6)),
        (np.float16, lambda begun, matrix: begun.normalize("user", low=1e6)),
        (np.float32, lambda begun, matrix: begun.normalize("user", norm=1e39)),
        (np.float32, lambda begun, matrix: begun.normalize("user", low=1e39)),
        (np.float16, lambda begun, matrix: begun.dim("user", 2, by="matrix", matrix=matrix)),
        (np.uint8, lambda begun, matrix: begun.cast("user", "fp16")),
    ],
)
def test_what_is_computed_does_not_overflow_in_silence(root: str, tmp_path, dtype, give) -> None:
    np.save(tmp_path / "matrix.npy", np.full((6, 2), 1e6))
    rows = np.abs(ROWS[:3]) + np.float32(0.5)
    rows[1] = 0
    ends = np.array([[1e5, 1.0]] * 3, np.float32).view(np.uint8)
    rows = np.hstack([np.full((3, 6), 9, np.uint8), ends]) if dtype == np.uint8 else rows.astype(dtype)
    write_arrays(f"{root}/source", {"user": rows})
    with pytest.raises(IncompatibleError, match=r"table user, row 0, column \d: \d+ .* do not fit float") as caught:
        give(embsnap.migration(f"{root}/source"), str(tmp_path / "matrix.npy")).write(f"{root}/out")
    assert caught.value.kind is ErrorKind.CAST_OVERFLOW


def test_infinities_that_were_there_stay(root: str) -> None:
    rows = np.array([[1, np.inf], [np.nan, 2], [3, 4]], np.float32)
    write_arrays(f"{root}/source", {"user": rows})
    embsnap.migration(f"{root}/source").normalize("user", norm=1.0).write(f"{root}/out")
    found = read_array(f"{root}/out", "user")
    np.testing.assert_array_equal(found[:2], rows[:2])
    np.testing.assert_allclose(found[2], [0.6, 0.8], rtol=1e-6)


def test_8_bit_rows_are_cast_within_bounds(begun, root: str) -> None:
    begun.cast("user", "int8").write(f"{root}/small")
    with pytest.raises(IncompatibleError, match="casting to bfloat16"):
        embsnap.migration(f"{root}/small").cast("user", "bf16", max_error=1e-6).write(f"{root}/out")


@pytest.mark.parametrize(
    "more",
    [
        lambda begun: begun,
        lambda begun: begun.prune("user", min_norm=0.0),
        lambda begun: begun.dim("user", 2, by="pca"),
        lambda begun: begun.copy("user", "again"),
        lambda begun: begun.shard(world_size=2, placing="column-wise"),
    ],
)
def test_a_replaced_row_is_counted_once(root: str, more) -> None:
    rows = ROWS[:20].copy()
    rows[3], rows[4] = np.nan, np.inf
    write_arrays(f"{root}/source", {"user": rows})
    write_vocabulary(make_vocabulary(list(range(20))), f"{root}/vocab.parquet")
    plan = more(embsnap.migration(f"{root}/source").vocab("user", f"{root}/vocab.parquet").repair("user")).plan()
    plan.result()  # a dry run reads some rows
    assert {table.repaired_rows for table in plan.apply(f"{root}/out").tables} == {2}


def test_a_cast_is_measured_where_it_is_written(root: str) -> None:
    write_arrays(f"{root}/source", {"user": ROWS[:20]})
    plan = embsnap.migration(f"{root}/source").cast("user", "bf16").plan()
    plan.result()
    assert plan.apply(f"{root}/out").tables[0].casts[0].num_values == 120


def test_the_digest_holds_every_plain_value_of_a_function(begun) -> None:
    def scaled(by, default):
        def scale(rows_N, rows_ND, *, offset=default):
            return rows_ND * by + offset

        return scale

    given = [(2, 0), (3, 0), (2, 1), (np.float32(2), 0), (np.float32(3), 0)]
    assert len({begun.map_rows("user", scaled(*values)).plan().digest for values in given}) == len(given)


def test_8_bit_rows_are_moved_as_they_are(root: str) -> None:
    rows = RNG.integers(0, 256, (4, 12)).astype(np.uint8)
    write_arrays(f"{root}/source", {"user": rows})
    write_vocabulary(make_vocabulary([1, 2, 3, 4]), f"{root}/old.parquet")
    write_vocabulary(make_vocabulary([4, 3, 2, 1]), f"{root}/turned.parquet")
    write_vocabulary(make_vocabulary([4, 9, 2]), f"{root}/new.parquet")
    begun = embsnap.migration(f"{root}/source").vocab("user", f"{root}/old.parquet")
    begun.revocab("user", f"{root}/turned.parquet").write(f"{root}/turned")
    np.testing.assert_array_equal(read_array(f"{root}/turned", "user"), rows[::-1])
    begun.revocab("user", f"{root}/new.parquet", initializer="zeros").resize("user", 4, initializer="zeros").write(
        f"{root}/moved"
    )
    zeros = np.zeros(12, np.uint8)
    np.testing.assert_array_equal(read_array(f"{root}/moved", "user"), [rows[3], zeros, rows[1], zeros])
    for given in (begun.revocab("user", f"{root}/new.parquet"), begun.resize("user", 9)):
        with pytest.raises(IncompatibleError, match="cast fused 8-bit rows"):
            given.plan()


def test_a_mean_is_of_the_rows_that_are_not_broken(root: str) -> None:
    rows = ROWS[:20].copy()
    rows[3], rows[4, 1], rows[7] = np.nan, np.inf, 1e6
    write_arrays(f"{root}/source", {"user": rows})
    begun = embsnap.migration(f"{root}/source")
    begun.repair("user", max_norm=1e3, initializer="mean").write(f"{root}/out")
    found = read_array(f"{root}/out", "user")
    mean = np.delete(ROWS[:20], [3, 4, 7], axis=0).mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found[[3, 4, 7]], [mean] * 3, rtol=1e-5)
    np.testing.assert_array_equal(np.delete(found, [3, 4, 7], axis=0), np.delete(rows, [3, 4, 7], axis=0))
    with pytest.raises(IncompatibleError, match="there is no row to take a mean of"):
        begun.repair("user", max_norm=1e-9, initializer="mean").plan()


@pytest.mark.parametrize("dim", [0, -1])
def test_a_function_returns_columns(begun, dim: int) -> None:
    with pytest.raises(UsageError, match="at least one column"):
        begun.map_rows("user", lambda rows_N, rows_ND: rows_ND, dim=dim).plan()


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda begun: begun.dim("user", 2, by="pca"), "no principal components"),
        (lambda begun: begun.resize("user", 3, initializer="mean"), "no row to take a mean of"),
        (lambda begun: begun.resize("user", 3, initializer="mean_covariance"), "no row to take a mean of"),
        (lambda begun: begun.repair("user", initializer="mean"), "no row to take a mean of"),
    ],
)
def test_a_table_without_rows_has_no_mean(root: str, give, message: str) -> None:
    write_arrays(f"{root}/source", {"user": ROWS[:0]})
    with pytest.raises(IncompatibleError, match=message):
        give(embsnap.migration(f"{root}/source")).plan()


@pytest.mark.parametrize("row", [[1, np.nan], [np.inf, 1], [np.inf, np.inf], [3e38, -3e38], [1e300, 0]])
def test_what_no_8_bit_row_can_hold_is_refused(root: str, row) -> None:
    write_arrays(f"{root}/source", {"user": np.array([[1, 2], row])})
    with pytest.raises(IncompatibleError, match=r"row 1, column \d: 1 rows of one block do not fit int8") as caught:
        embsnap.migration(f"{root}/source").cast("user", "int8").write(f"{root}/out")
    assert caught.value.kind is ErrorKind.CAST_OVERFLOW
    assert not np.isfinite(float(caught.value.found)) or float(caught.value.found) > 1e38


def test_rows_that_moved_are_not_replaced_by_position(root: str) -> None:
    rows = ROWS[:20].copy()
    rows[3] = np.nan
    write_arrays(f"{root}/source", {"user": rows})
    write_arrays(f"{root}/donor", {"user": ROWS[20:40]})
    write_vocabulary(make_vocabulary(list(range(20))), f"{root}/old.parquet")
    write_vocabulary(make_vocabulary(list(range(19, -1, -1))), f"{root}/new.parquet")
    begun = embsnap.migration(f"{root}/source").vocab("user", f"{root}/old.parquet")
    begun.normalize("user", high=1e9).repair("user", donor=f"{root}/donor").write(f"{root}/out")
    np.testing.assert_array_equal(read_array(f"{root}/out", "user")[3], ROWS[23])
    moved = begun.revocab("user", f"{root}/new.parquet")
    with pytest.raises(IncompatibleError, match="cannot be replaced by position"):
        moved.repair("user", donor=f"{root}/donor").plan()
    moved.repair("user", donor=f"{root}/donor", donor_vocab=f"{root}/old.parquet").write(f"{root}/by-entity")
    np.testing.assert_array_equal(read_array(f"{root}/by-entity", "user")[16], ROWS[23])
