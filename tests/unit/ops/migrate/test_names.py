"""Names that steps give and take, and steps restricted to some tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embsnap
from embsnap.config.step import parse_step
from embsnap.errors import IncompatibleError, UsageError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.migrate.plan import MigrationOptions
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)
Steps = Callable[[Any], Any]


@pytest.fixture
def source(tmp_path: Path) -> str:
    write_arrays(f"{tmp_path}/old", {"a": ROWS, "b": ROWS, "c": ROWS})
    write_vocabulary(make_vocabulary(list(range(10))), f"{tmp_path}/old.parquet")
    return f"{tmp_path}/old"


@pytest.mark.parametrize(
    "give",
    [
        lambda begun: begun.rename({"a": "x.y"}),
        lambda begun: begun.copy("a", "x.y"),
        lambda begun: begun.merge(["a", "b"], "x.y"),
        lambda begun: begun.split("a", {"x.y": {"ids": [1]}}),
        lambda begun: begun.split("a", {"x": {"ids": [1]}}, rest="x.y"),
    ],
)
def test_a_name_by_which_no_table_would_be_found_is_refused(source: str, give: Steps) -> None:
    with pytest.raises(UsageError, match=r"holds no '\.'"):
        give(embsnap.migration(source))


def test_what_is_wrong_is_called_as_it_is_written(source: str) -> None:
    with pytest.raises(UsageError, match=r"it has rename, drop, keep, copy, vocab"):
        parse_step("explode", {}, where="step 1")
    with pytest.raises(UsageError, match=r"^step 1 \(split\): split\.rest: a table's name .* \(found '\.x'\)$"):
        embsnap.migration(source).split("a", {"x": {"ids": [1]}}, rest=".x")
    with pytest.raises(UsageError, match="donor_vocab goes with donor"):
        embsnap.migration(source).repair("a", donor_vocab="v")
    with pytest.raises(IncompatibleError, match="found as last_seen, last_seen_at"):
        embsnap.migration(source).vocab("a", f"{source}.parquet").prune("a", seen_since=3).plan()


@pytest.mark.parametrize("prefix", [{"model": "other"}, {"model/ebc": "other"}, {"model/": "model/x"}, {"/ebc": "/x"}])
def test_a_prefix_that_names_no_module_is_refused(source: str, prefix: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="a prefix is APP_KEY/MODULE_PATH"):
        embsnap.migration(source).rename(prefix=prefix)


@pytest.mark.parametrize(
    ("asked", "give", "expected"),
    [
        ("ab", lambda m: m.rename({"a": "b", "b": "a"}).dim("a", 2, by="truncate").dim("b", 3, by="truncate"), "a2 b3"),
        ("ab", lambda m: m.drop("a").dim("b", 2, by="truncate").optimizer_state("tensor"), "b2"),
        ("ab", lambda m: m.merge(["a", "b"], "m", conflict="mean").shard(placing="table-wise"), "m4"),
        ("a", lambda m: m.split("a", {"x": {"ids": [1]}}, rest="y").shard(placing="row-wise"), "x4 y4 b4"),
        ("a", lambda m: m.rename({"a": "x", "b": "a"}).dim("a", 2, by="truncate"), "x4 b4"),
    ],
)
def test_steps_of_some_tables_follow_their_names(
    tmp_path: Path, source: str, asked: str, give: Steps, expected: str
) -> None:
    begun = embsnap.migration(source, options=MigrationOptions(tables=tuple(asked)))
    for name in asked:
        begun = begun.vocab(name, f"{source}.parquet")
    give(begun).write(f"{tmp_path}/new")
    found = {f"{table.name}{table.embedding_dim}" for table in open_snapshot(f"{tmp_path}/new").tables()}
    assert found == {*expected.split(), "c4"}
