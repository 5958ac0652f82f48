"""What dead runs left is removed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embsnap.model.collection import LeftoverKind
from embsnap.ops.gc import plan_gc
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import read_array, write_arrays
from tests.unit.ops.collecting.leftovers import DAY_S, DEAD, ROWS, TEMPORARY, age, collect, dead_run, names, put


def test_a_dry_run_deletes_nothing(committed) -> None:
    dead = dead_run(committed)
    result = plan_gc(str(committed)).result()
    assert (result.applied, result.num_objects, result.num_bytes, result.num_snapshots) == (False, 3, 30, 1)
    assert set(dead) < names(committed)


def test_what_a_dead_run_left_beside_a_snapshot_goes(committed) -> None:
    before = names(committed)
    dead_run(committed)
    result = collect(committed)
    (leftover,) = result.leftovers
    assert (leftover.kind, leftover.name, leftover.num_objects) == (LeftoverKind.RUN, "abababababab-0", 3)
    assert leftover.age_s == pytest.approx(2 * DAY_S, abs=600)
    assert (leftover.collected, result.applied) == (True, True)
    assert names(committed) == before
    assert not (committed / DEAD).exists()
    np.testing.assert_array_equal(read_array(str(committed), "user"), ROWS)


def test_sums_and_later_claims_are_parts_of_a_run(committed) -> None:
    """What a migration that was to be resumed leaves goes as a whole, its claims last."""
    before = names(committed)
    dead_run(committed)
    put(committed, [f"{DEAD}/00000.json", f"{DEAD}/00001.json", f"{DEAD}/run-1.json", f"{DEAD}/run-12.json"])
    (group,) = plan_gc(str(committed)).collected
    assert [info.location for info in group.objects][-3:] == [
        f"{DEAD}/run-1.json",
        f"{DEAD}/run-12.json",
        f"{DEAD}/run.json",
    ]
    assert collect(committed).num_objects == 7
    assert names(committed) == before


def test_the_claims_of_a_committed_run_stay(committed) -> None:
    (run,) = (committed / "embsnap").iterdir()
    claims = put(committed, [f"embsnap/{run.name}/run-1.json"])
    assert collect(committed).num_objects == 0
    assert set(claims) < names(committed)


def test_the_newest_object_of_a_run_decides(tmp_path) -> None:
    """The run is kept as a whole: it may still be writing."""
    dead = dead_run(tmp_path)
    put(tmp_path, [f"{DEAD}/00002"], age_s=DAY_S - 60)
    result = collect(tmp_path)
    assert [(each.num_objects, each.collected) for each in result.leftovers] == [(4, False)]
    assert result.num_objects == 0
    assert names(tmp_path) == {*dead, f"{DEAD}/00002"}
    collect(tmp_path, older_than_s=DAY_S / 2)
    assert names(tmp_path) == set()


def test_runs_are_told_apart(committed) -> None:
    dead_run(committed)
    young = dead_run(committed, "embsnap/cdcdcdcdcdcd-12", age_s=60)
    before = names(committed)
    collect(committed)
    assert before - names(committed) == {f"{DEAD}/run.json", f"{DEAD}/00000", f"{DEAD}/00001"}
    assert set(young) < names(committed)


def test_sidecars_of_other_metadata_go(committed) -> None:
    before = names(committed)
    put(committed, [".embsnap/0123456789abcdef.json"])
    assert [each.kind for each in collect(committed).leftovers] == [LeftoverKind.SIDECAR]
    assert names(committed) == before


def test_what_writers_left_goes_by_its_own_age(committed) -> None:
    put(committed, [f"embsnap/{TEMPORARY}"])
    put(committed, [TEMPORARY], age_s=60)
    result = collect(committed)
    assert [(each.kind, each.name, each.collected) for each in result.leftovers] == [
        (LeftoverKind.WRITER, f"embsnap/{TEMPORARY}", True),
        (LeftoverKind.WRITER, TEMPORARY, False),
    ]
    assert TEMPORARY in names(committed)
    assert f"embsnap/{TEMPORARY}" not in names(committed)


@pytest.mark.parametrize("torn", [True, False])
def test_what_embsnap_did_not_write_is_never_touched(tmp_path, torn) -> None:
    builder = SnapshotBuilder(world_size=2)
    builder.tensor("model/a", ROWS)
    builder.write(tmp_path / "7", commit=not torn)
    foreign = [
        *("notes.txt", "embsnap/notes.txt", "embsnap/abc-0/00000", "embsnap/abababababab-0/weights"),
        *("embsnap/abababababab-0/00000.bak", ".embsnap/notes.json", "deeper/embsnap/abababababab-0/00000"),
    ]
    put(tmp_path / "7", foreign)
    before = names(tmp_path)
    assert collect(tmp_path / "7", older_than_s=0).leftovers == ()
    assert collect(tmp_path, older_than_s=0).leftovers == ()
    assert names(tmp_path) == before


def test_a_run_and_its_steps(tmp_path) -> None:
    for step in (1, 2, 3):
        write_arrays(str(tmp_path / str(step)), {"user": ROWS + step})
        age(tmp_path / str(step), 2 * DAY_S)
        dead_run(tmp_path / str(step))
    (tmp_path / "3" / ".snapshot_metadata").unlink()
    result = collect(tmp_path)
    assert (result.num_roots, result.num_snapshots) == (4, 2)
    assert {Path(each.root).name for each in result.leftovers} == {"1", "2", "3"}
    assert names(tmp_path / "3") == set()  # torn, and with it the run and the sidecar of the snapshot it was
    for step in (1, 2):
        np.testing.assert_array_equal(read_array(f"{tmp_path}@{step}", "user"), ROWS + step)
        assert not (tmp_path / str(step) / DEAD).exists()


def test_one_step_by_its_name(tmp_path) -> None:
    for step in (1, 2):
        write_arrays(str(tmp_path / str(step)), {"user": ROWS})
        dead_run(tmp_path / str(step))
    collect(f"{tmp_path}@latest")
    assert (tmp_path / "1" / DEAD).exists()
    assert not (tmp_path / "2" / DEAD).exists()
