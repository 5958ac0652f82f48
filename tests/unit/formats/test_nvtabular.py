"""Categories as NVTabular writes them, by pandas, and as pandas reads what is written."""

from __future__ import annotations

import pandas as pd
import pytest

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, RefusedError, UsageError
from embsnap.formats.nvtabular import read_nvtabular, write_nvtabular
from embsnap.model.vocabulary import Declared, IdType
from embsnap.testing.vocabularies import listed, make_vocabulary


def fit(folder, column, values, sizes=None, num_oov=1, parts=1, observed=(0, 4, 5)):
    """The files of a fitted Categorify, by the same calls of pandas: a range index that begins after the OOV rows."""
    first = 2 + num_oov
    frame = pd.DataFrame({column: values} if sizes is None else {column: values, f"{column}_size": sizes})
    frame.index = pd.RangeIndex(first, first + len(frame))
    unique = folder / f"unique.{column}.parquet"
    if parts == 1:
        frame.to_parquet(unique, compression=None)
    else:
        unique.mkdir(parents=True)
        step = -(-len(frame) // parts)
        for part in range(parts):
            rows = frame.iloc[part * step : (part + 1) * step]
            rows.index = pd.RangeIndex(first + part * step, first + part * step + len(rows))
            rows.to_parquet(unique / f"part.{part}.parquet", compression=None)
    meta = {
        "kind": ["pad", "null", "oov", "unique"],
        "offset": [0, 1, 2, first],
        "num_indices": [1, 1, num_oov, len(frame)],
    }
    if sizes is not None:
        meta["num_observed"] = [*observed, sum(sizes)]
    pd.DataFrame(meta).to_parquet(folder / f"meta.{column}.parquet")
    return str(unique)


def refused(uri, column=None, error=IncompatibleError):
    with pytest.raises(error) as caught:
        read_nvtabular(str(uri), column)
    return caught.value


@pytest.mark.parametrize(("values", "id_type"), [([30, 10, 20], IdType.INT64), (["c", "a", "b"], IdType.STRING)])
@pytest.mark.parametrize("num_oov", [1, 10])
def test_what_categorify_writes(tmp_path, values, id_type, num_oov):
    vocabulary = read_nvtabular(fit(tmp_path, "user", values, [5, 3, 1], num_oov))
    assert vocabulary.id_type is id_type
    assert [v.decode() if isinstance(v, bytes) else v for v in listed(vocabulary.ids)] == values
    assert vocabulary.rows_N.tolist() == [2 + num_oov, 3 + num_oov, 4 + num_oov]
    assert vocabulary.counts_N.tolist() == [5, 3, 1]
    declared = vocabulary.declared
    assert (declared.num_rows, declared.reserved, declared.oov) == (5 + num_oov, ((0, 2),), (2, 2 + num_oov))


def test_without_sizes(tmp_path):
    vocabulary = read_nvtabular(fit(tmp_path, "user", [1, 2]))
    assert vocabulary.counts_N is None
    assert vocabulary.rows_N.tolist() == [3, 4]


def test_parts_beyond_the_ninth(tmp_path):
    values = list(range(100, 124))
    fit(tmp_path, "user", values, parts=12)
    vocabulary = read_nvtabular(str(tmp_path), threads=2)
    assert dict(zip(listed(vocabulary.ids), vocabulary.rows_N.tolist(), strict=True)) == {
        value: row for row, value in enumerate(values, 3)
    }


def test_which_column(tmp_path):
    (tmp_path / "categories").mkdir()
    for column, value in (("user", 1), ("item", 2)):
        fit(tmp_path / "categories", column, [value])
    assert listed(read_nvtabular(str(tmp_path), "item").ids) == [2]
    error = refused(tmp_path, error=NotFoundError)
    assert (error.kind, error.found) == (ErrorKind.AMBIGUOUS_COLUMN, "categories/item, categories/user")
    assert refused(tmp_path, "movie", NotFoundError).kind is ErrorKind.NO_SUCH_OBJECT
    error = refused(tmp_path / "categories" / "unique.user.parquet", "item", UsageError)
    assert (error.kind, error.expected) == (ErrorKind.BAD_OPTION, "--column user")


def test_files_of_before_the_meta_file(tmp_path):
    """The null in front has row 0, which unknown ids get too."""
    frame = pd.DataFrame({"user": ["x", "y"], "user_size": [2, 1]})
    frame = pd.concat([pd.DataFrame({"user": [None], "user_size": [7]}), frame], ignore_index=True)
    frame.to_parquet(tmp_path / "unique.user.parquet", index=False)
    vocabulary = read_nvtabular(str(tmp_path))
    assert (listed(vocabulary.ids), vocabulary.rows_N.tolist()) == ([b"x", b"y"], [1, 2])
    assert vocabulary.counts_N.tolist() == [2, 1]
    assert (vocabulary.declared.oov, vocabulary.declared.reserved) == ((0, 1), ())


def test_an_index_that_is_a_column(tmp_path):
    frame = pd.DataFrame({"user": [7, 8]}, index=[4, 3])
    frame.to_parquet(tmp_path / "unique.user.parquet")
    assert read_nvtabular(str(tmp_path)).rows_N.tolist() == [4, 3]


def test_no_meta_file_and_an_index_that_says_too_little(tmp_path):
    for name, index in (("a", True), ("b", False)):
        folder = tmp_path / name
        folder.mkdir()
        pd.DataFrame({"user": [7, 8]}).to_parquet(folder / "unique.user.parquet", index=index)
        error = refused(folder)
        assert (error.kind, error.problem) == (
            ErrorKind.BAD_VOCABULARY,
            "does not tell which rows its categories have",
        )


def test_an_index_and_a_meta_file_that_differ(tmp_path):
    """As where `vocabs` and `num_buckets` are given together."""
    unique = fit(tmp_path, "user", [7, 8], num_oov=5)
    pd.DataFrame({"user": [7, 8]}, index=pd.RangeIndex(3, 5)).to_parquet(unique)
    error = refused(unique)
    assert error.problem == "its index is not what its meta file says"
    assert (error.expected, error.found) == ("rows 7 to 8", "rows 3 to 4")


def test_a_meta_file_of_another_number(tmp_path):
    unique = fit(tmp_path, "user", [7, 8])
    pd.DataFrame({"user": [7, 8, 9]}, index=pd.RangeIndex(3, 6)).to_parquet(unique)
    assert "another number of categories" in refused(unique).problem


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({"kind": ["pad"]}, "is no meta file of categories"),
        ({"kind": ["pad", "null", "unique", "oov"]}, "lays out its rows in another way"),
        ({"offset": [0, 1, 2, 9]}, "lays out its rows in another way"),
        ({"offset": [0.0, 1.0, 2.0, None]}, "has no column 'offset' of integers"),
    ],
)
def test_other_meta_files(tmp_path, meta, problem):
    unique = fit(tmp_path, "user", [7, 8])
    usual = {"kind": ["pad", "null", "oov", "unique"], "offset": [0, 1, 2, 3], "num_indices": [1, 1, 1, 2]}
    frame = pd.DataFrame(meta) if len(meta.get("kind", range(4))) == 1 else pd.DataFrame(usual | meta)
    frame.to_parquet(tmp_path / "meta.user.parquet")
    error = refused(unique)
    assert error.kind is ErrorKind.BAD_VOCABULARY
    assert problem in error.problem


@pytest.mark.parametrize("values", [["a", None], [None, "a", None], [None, "a"]])
def test_nulls(tmp_path, values):
    assert "holds nulls" in refused(fit(tmp_path, "user", values)).problem


@pytest.mark.parametrize("values", [[], [None]])
def test_no_entity(tmp_path, values):
    frame = pd.DataFrame({"user": pd.Series(values, dtype="Int64")})
    frame.to_parquet(tmp_path / "unique.user.parquet", index=False)
    assert refused(tmp_path).problem == "the vocabulary is empty"


@pytest.mark.parametrize("sizes", [[1.5, 2.5], [1, -1]])
def test_sizes_that_cannot_be(tmp_path, sizes):
    assert "user_size" in refused(fit(tmp_path, "user", ["a", "b"], sizes)).problem


def test_parts_of_two_types(tmp_path):
    fit(tmp_path, "user", [1, 2], parts=2)
    frame = pd.DataFrame({"user": ["b"]}, index=pd.RangeIndex(4, 5))
    frame.to_parquet(tmp_path / "unique.user.parquet" / "part.1.parquet")
    assert refused(tmp_path).kind is ErrorKind.ID_TYPE_MISMATCH


def test_what_is_written_is_what_pandas_wrote(tmp_path):
    """Read, write, and compare frames, indices and the numbers that only the meta file has."""
    (tmp_path / "in").mkdir()
    fit(tmp_path / "in", "user", ["c", "a", "b"], [5, 3, 1], num_oov=4)
    write_nvtabular(read_nvtabular(str(tmp_path / "in")), str(tmp_path / "out"), "user")
    for name in ("unique.user.parquet", "meta.user.parquet"):
        before, after = (pd.read_parquet(tmp_path / folder / name) for folder in ("in", "out"))
        pd.testing.assert_frame_equal(after, before)


def test_the_numbers_observed_of_what_was_not_nvtabular_s(tmp_path):
    write_nvtabular(make_vocabulary([7, 8], [3, 4], counts=[5, 6]), str(tmp_path), "user")
    assert pd.read_parquet(tmp_path / "meta.user.parquet")["num_observed"].tolist() == [0, 0, 0, 11]
    assert "num_observed" not in pd.read_parquet(str(tmp_path / "unique.user.parquet")).columns


@pytest.mark.parametrize(
    ("rows", "declared", "found"),
    [
        ([2, 3], None, "an entity in row 2"),
        ([3, 5], None, "row 5 after 3"),
        ([4, 5], Declared(oov=(2, 3)), "reserved (), for unknown ids (2, 3)"),
        ([3, 4], Declared(reserved=((0, 1),)), "reserved ((0, 1),), for unknown ids None"),
    ],
)
def test_rows_that_categories_cannot_have(tmp_path, rows, declared, found):
    vocabulary = make_vocabulary([7, 8], rows)
    object.__setattr__(vocabulary, "declared", declared)
    with pytest.raises(IncompatibleError) as error:
        write_nvtabular(vocabulary, str(tmp_path), "user")
    assert (error.value.kind, error.value.found) == (ErrorKind.NOT_REPRESENTABLE, found)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_destination(tmp_path):
    write_nvtabular(make_vocabulary([7], [3]), str(tmp_path), "user")
    write_nvtabular(make_vocabulary([7], [3]), str(tmp_path), "item")
    with pytest.raises(RefusedError) as error:
        write_nvtabular(make_vocabulary([7], [3]), str(tmp_path), "user")
    assert error.value.kind is ErrorKind.DESTINATION_TAKEN
