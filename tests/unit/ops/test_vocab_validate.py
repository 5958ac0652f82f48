"""All findings of a vocabulary, whether it can be read as it stands or not."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError
from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.formats.vocabulary_metadata import encode_declared
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.findings import Severity
from embsnap.model.vocabulary import Declared
from embsnap.ops.vocab_validate import VocabValidateOptions, validate_vocabulary
from embsnap.testing.vocabularies import make_vocabulary, parquet_bytes


@pytest.fixture
def validate(tmp_path):
    """Writes each of some columns as a file, and checks the directory."""

    def check(*files, **options):
        for number, columns in enumerate(files):
            (tmp_path / f"{number}.parquet").write_bytes(parquet_bytes(columns))
        return validate_vocabulary(str(tmp_path), VocabValidateOptions(**options))

    return check


def kinds(found):
    return {(finding.severity.value, finding.kind, finding.count) for finding in found.findings}


def skipped(found):
    return {check.name for check in found.checks if check.skipped is not None}


def test_a_sound_one(validate):
    found = validate({"id": ["a", "b"], "row": [0, 1]}, {"id": ["c"], "row": [2]}, num_embeddings=3)
    assert (found.ok, found.findings, found.num_entities, found.id_types) == (True, (), 3, ("string",))
    assert found.fingerprint.startswith("v1:string:3:")
    assert skipped(found) == {"reserved rows", "fingerprint"}


def test_everything_at_once(validate):
    found = validate(
        {"id": ["a", "a", "B", "b", "e"], "row": [9, 1, 1, 30, 0]}, num_embeddings=20, reserved=[(0, 1), (2, 4)]
    )
    assert kinds(found) == {
        ("error", "duplicate-ids", 1),
        ("error", "duplicate-rows", 1),
        ("error", "row-out-of-range", 1),
        ("error", "row-gaps", 5),
        ("error", "bad-vocabulary", 1),
        ("warning", "look-alike-ids", 1),
        ("note", "unsorted-rows", 2),
    }
    assert not found.ok


def test_a_warning_alone_is_not_sound_and_a_note_alone_is(validate):
    assert not validate({"id": ["a", "A"], "row": [0, 1]}).ok
    found = validate({"id": ["a", "c"], "row": [1, 0]})
    assert (found.ok, kinds(found)) == (True, {("note", "unsorted-rows", 1)})


def test_defects_of_reading_are_findings_and_the_rest_is_checked(validate):
    found = validate(
        {"id": pa.array([1, None, 3, 3], pa.int64()), "row": [0, 1, -5, None], "count": [1, None, 1, -2]},
        {"id": [4, 4], "row": [1, 7], "count": [1, 1]},
    )
    assert kinds(found) == {
        ("error", "bad-vocabulary", 1),
        ("error", "duplicate-ids", 1),
        ("error", "row-gaps", 5),
    }
    problems = {finding.message for finding in found.findings if finding.kind == "bad-vocabulary"}
    assert problems == {
        "nulls in column 'id': 1",
        "nulls in column 'row': 1",
        "nulls in column 'count': 1",
        "values in column 'row' below 0 or beyond int64: 1",
        "values in column 'count' below 0 or beyond int64: 1",
    }
    assert (found.num_entities, found.fingerprint) == (3, None)
    assert "fingerprint" in skipped(found)


def test_files_of_different_id_types(validate):
    found = validate({"id": [1, 1], "row": [0, 1]}, {"id": ["x", "X"], "row": [0, 1]}, {"id": [b"x"], "row": [0]})
    assert kinds(found) == {
        ("error", "id-type-mismatch", 1),
        ("error", "duplicate-ids", 1),
        ("warning", "look-alike-ids", 1),
    }
    assert found.id_types == ("int64", "string", "binary")
    (first, second) = [finding for finding in found.findings if finding.kind == "id-type-mismatch"]
    assert "holds string ids, while" in first.message
    assert second.place.endswith("2.parquet")


def test_a_file_without_the_columns(validate):
    found = validate({"id": [1], "row": [0]}, {"id": [2], "place": [1]})
    assert kinds(found) == {("error", "bad-vocabulary", 1)}
    assert "no column looks like the row column" in found.findings[0].message
    assert found.num_entities == 1
    found = validate({"x": [1]}, {"x": [2]})
    assert (found.ok, found.num_entities, len(found.findings)) == (False, 0, 2)


def test_an_empty_one_is_never_sound(validate):
    found = validate({"id": pa.array([], pa.int64()), "row": pa.array([], pa.int64())})
    assert (found.ok, kinds(found)) == (False, {("error", "bad-vocabulary", 1)})
    assert "the vocabulary is empty" in found.findings[0].message
    assert {"duplicate ids", "gaps"} <= skipped(found)


def test_columns_by_name(validate):
    found = validate({"user": [1], "id": ["x"], "row": [0]}, columns=VocabularyColumns(id="user"))
    assert (found.ok, found.id_types) == (True, ("int64",))


@pytest.fixture
def declared(tmp_path):
    """A vocabulary whose metadata declare reserved, OOV and free rows."""
    vocabulary = make_vocabulary([10, 11, 12], [3, 4, 7])
    special = Declared(num_rows=10, reserved=((0, 1),), oov=(1, 3), free=((5, 7),))
    return write_vocabulary(replace(vocabulary, declared=special), str(tmp_path / "declared.parquet"))


def test_declared_rows_are_no_gap(declared):
    found = validate_vocabulary(declared)
    assert (found.ok, found.findings, found.num_embeddings) == (True, (), 10)
    assert skipped(found) == {"look-alike ids"}


def test_what_the_metadata_declare_holds_for_sound_records_too(tmp_path):
    declared = encode_declared(Declared(num_rows=4, reserved=((1, 3),))).decode()
    table = pa.table({"id": [1, 2, None], "row": [0, 3, 9]}).replace_schema_metadata({"embsnap": declared})
    pq.write_table(table, tmp_path / "v.parquet")
    found = validate_vocabulary(str(tmp_path / "v.parquet"))
    assert (kinds(found), found.num_embeddings) == ({("error", "bad-vocabulary", 1)}, 4)


def test_entities_in_rows_that_were_declared_reserved(declared):
    found = validate_vocabulary(declared, VocabValidateOptions(reserved=[(4, 5)], num_embeddings=5))
    assert kinds(found) == {("error", "bad-vocabulary", 1), ("error", "row-out-of-range", 1)}
    assert ("row 4 of 11",) in [finding.examples for finding in found.findings]


def test_a_recorded_fingerprint_that_is_another(declared, tmp_path):
    vocabulary = read_vocabulary(declared)
    wrong = replace(vocabulary.declared, fingerprint="v1:int64:3:" + "0" * 32)
    files = parquet_bytes_with(declared, vocabulary.declared.fingerprint, wrong.fingerprint)
    (tmp_path / "other.parquet").write_bytes(files)
    found = validate_vocabulary(str(tmp_path / "other.parquet"))
    (finding,) = found.findings
    assert (finding.severity, finding.kind) == (Severity.ERROR, ErrorKind.VOCABULARY_MISMATCH.value)
    assert wrong.fingerprint in finding.message
    assert found.fingerprint in finding.message


def parquet_bytes_with(uri, recorded, other):
    """A file's bytes with another fingerprint of the same length in its metadata."""
    with open(uri, "rb") as file:
        data = file.read()
    assert data.count(recorded.encode()) == 1
    return data.replace(recorded.encode(), other.encode())


def test_what_is_not_there_or_damaged_is_refused(tmp_path):
    with pytest.raises(NotFoundError):
        validate_vocabulary(str(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(SnapshotError) as caught:
        validate_vocabulary(str(tmp_path))
    assert caught.value.kind is ErrorKind.BAD_PARQUET
