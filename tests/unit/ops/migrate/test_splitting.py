"""What becomes of entities that no part of a split takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import embsnap
from embsnap.config.migration_steps import RestRule, SplitStep
from embsnap.errors import EmbsnapError, IncompatibleError, UsageError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)
PARTS = {"vip": {"ids": [3, 1]}}


@pytest.fixture
def migration(tmp_path: Path) -> embsnap.Migration:
    write_arrays(f"{tmp_path}/old", {"user": ROWS})
    write_vocabulary(make_vocabulary(list(range(10))), f"{tmp_path}/old.parquet")
    return embsnap.migration(f"{tmp_path}/old").vocab("user", f"{tmp_path}/old.parquet")


@pytest.mark.parametrize("given", [{}, {"rest": "refuse"}])
def test_they_are_refused(tmp_path: Path, migration: embsnap.Migration, given: dict[str, str]) -> None:
    with pytest.raises(EmbsnapError, match="rest: drop"):
        migration.split("user", PARTS, **given).write(f"{tmp_path}/new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("rest", "expected"), [("drop", {"vip"}), ("user", {"vip", "user"}), ("odd", {"vip", "odd"})])
def test_they_are_dropped_or_go_to_a_table_of_any_other_name(
    tmp_path: Path, migration: embsnap.Migration, rest: str, expected: set[str]
) -> None:
    migration.split("user", PARTS, rest=rest).write(f"{tmp_path}/new")
    new = open_snapshot(f"{tmp_path}/new")
    assert {table.name for table in new.tables()} == expected
    np.testing.assert_array_equal(read_array(new, "vip"), ROWS[[1, 3]])
    if rest != "drop":
        np.testing.assert_array_equal(read_array(new, rest), np.delete(ROWS, [1, 3], axis=0))


def test_vocabularies_lie_side_by_side_whatever_their_tables_are_called(
    tmp_path: Path, migration: embsnap.Migration
) -> None:
    migration.rename({"user": "home/user"}).split("home/user", PARTS, rest="home/user").write(f"{tmp_path}/new")
    assert {path.name for path in (tmp_path / "new-vocab").iterdir()} == {"vip.parquet", "home%2Fuser.parquet"}
    np.testing.assert_array_equal(
        read_array(f"{tmp_path}/new", "model/ebc.embedding_bags.home%2Fuser.weight"), np.delete(ROWS, [1, 3], axis=0)
    )


def test_they_take_no_place_of_a_part(migration: embsnap.Migration) -> None:
    with pytest.raises(UsageError, match="rest names a part"):
        migration.split("user", PARTS, rest="vip")
    assert migration.split("user", {**PARTS, "drop": {"ids": [2]}}, rest="drop").steps


@pytest.mark.parametrize("rule", list(RestRule))
def test_a_rule_is_no_name(rule: RestRule) -> None:
    assert SplitStep.model_validate({"table": "user", "parts": PARTS, "rest": rule.value}).rest is rule


def test_ids_that_are_no_hexadecimal_digits_are_named(tmp_path: Path) -> None:
    write_arrays(f"{tmp_path}/old", {"user": ROWS[:2]})
    write_vocabulary(make_vocabulary([b"\x01", b"\xab"]), f"{tmp_path}/old.parquet")
    begun = embsnap.migration(f"{tmp_path}/old").vocab("user", f"{tmp_path}/old.parquet")
    with pytest.raises(IncompatibleError, match=r"binary as 0x and hexadecimal digits") as caught:
        begun.split("user", {"a": {"ids": ["0x01", "0xzz"]}}).plan()
    assert caught.value.found == "'0xzz'"
    begun.split("user", {"a": {"ids": ["0xAB", "ab"]}}, rest="b").write(f"{tmp_path}/new")  # twice the same id
    np.testing.assert_array_equal(read_array(f"{tmp_path}/new", "a"), ROWS[1:2])


def test_the_id_of_another_type_is_named(migration: embsnap.Migration) -> None:
    with pytest.raises(IncompatibleError) as caught:
        migration.split("user", {"vip": {"ids": [3, "1"]}}, rest="drop").plan()
    assert caught.value.found == "'1'"


def test_other_values_in_a_column_make_another_plan(tmp_path: Path) -> None:
    write_arrays(f"{tmp_path}/old", {"user": ROWS[:3]})
    digests = set()
    for number, countries in enumerate((["us", "us", "eu"], ["us", "eu", "us"])):
        columns = {"id": pa.array([1, 2, 3]), "row": pa.array([0, 1, 2]), "country": countries}
        place = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table(columns), place)
        begun = embsnap.migration(f"{tmp_path}/old").vocab("user", str(place))
        parts = {name: {"column": "country", "values": name} for name in ("us", "eu")}
        plan = begun.split("user", parts).plan()
        digests.add(tuple(digest for uri, digest in plan.context.inputs.items() if " country " in uri))
    assert len(digests) == 2
