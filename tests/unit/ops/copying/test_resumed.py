"""Copies that stopped go on, and two at a time do not harm each other."""

from __future__ import annotations

import threading

import pytest

from embsnap.errors import EmbsnapError, ErrorKind, RefusedError, SnapshotError
from embsnap.formats.copy_claim import CLAIM_LOCATION
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.progress import SILENT
from embsnap.ops.copy import plan_copy, write_copy
from embsnap.testing.tables import write_arrays
from tests.unit.ops.copying.snapshots import ROWS, copy, tree


def test_an_unfinished_copy_is_no_snapshot_and_goes_on(torch_made, half) -> None:
    assert (half / CLAIM_LOCATION).exists()
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(str(half))
    assert caught.value.kind == ErrorKind.UNFINISHED_COPY
    planned = plan_copy(str(torch_made), str(half)).result()
    result = copy(torch_made, half)
    assert planned.present == result.present
    assert result.present.num_objects > 0
    assert result.copied.num_objects + result.present.num_objects == result.total.num_objects
    assert tree(half) == tree(torch_made)


def test_what_is_there_is_compared_not_trusted(torch_made, half) -> None:
    present = half / "0" / "extra" / "scheduler"
    present.write_bytes(bytes(present.stat().st_size))
    with pytest.raises(RefusedError, match="is there already, with other bytes") as caught:
        copy(torch_made, half)
    assert str(present) in str(caught.value)
    present.unlink()
    copy(torch_made, half)
    assert tree(half) == tree(torch_made)


def test_another_source_does_not_go_on_there(own, half) -> None:
    with pytest.raises(RefusedError, match="holds"):
        copy(own, half)
    for path in half.rglob("*"):
        if path.is_file() and path.name != "copy.json":
            path.unlink()
    with pytest.raises(RefusedError, match="unfinished copy of something else"):
        copy(own, half)


def test_a_warm_start_does_not_write_there(half) -> None:
    with pytest.raises(RefusedError, match="unfinished copy"):
        write_arrays(str(half), {"user": ROWS})


def test_a_claim_that_nobody_understands(torch_made, half) -> None:
    (half / CLAIM_LOCATION).write_text('{"schema": "embsnap.copy", "version": 2}')
    with pytest.raises(SnapshotError, match="claim") as caught:
        copy(torch_made, half)
    assert caught.value.kind == ErrorKind.BAD_METADATA


def test_of_two_copies_one_commits(torch_made, tmp_path) -> None:
    """Both have claimed the destination before either begins."""
    plans = [plan_copy(str(torch_made), str(tmp_path / "out")) for _ in range(2)]
    barrier = threading.Barrier(2)
    outcomes: list[object] = []

    class Together:
        def start(self, task, total, unit="B"):
            barrier.wait(timeout=60)

        advance = staticmethod(SILENT.advance)
        finish = staticmethod(SILENT.finish)

    def run(plan):
        try:
            outcomes.append(write_copy(plan, progress=Together()))
        except EmbsnapError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=[plan]) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [outcome for outcome in outcomes if isinstance(outcome, EmbsnapError)]
    assert [type(error) for error in errors] == [RefusedError]
    assert "another writer has committed" in str(errors[0])
    assert tree(tmp_path / "out") == tree(torch_made)


def test_the_second_of_two_copies_compares_what_the_first_wrote(own, tmp_path) -> None:
    first, second = (plan_copy(str(own), str(tmp_path / "out")) for _ in range(2))
    write_copy(first)
    with pytest.raises(RefusedError, match="another writer has committed"):
        write_copy(second)
    assert tree(tmp_path / "out") == tree(own)


def test_a_copy_that_loses_against_another_snapshot_takes_its_objects_away(torch_made, tmp_path) -> None:
    plan = plan_copy(str(torch_made), str(tmp_path / "out"))
    write_arrays(str(tmp_path / "out"), {"user": ROWS + 1})
    before = tree(tmp_path / "out")
    with pytest.raises(RefusedError, match="another writer has committed"):
        write_copy(plan)
    assert tree(tmp_path / "out") == before


def test_two_sources_do_not_mix(own, torch_made, tmp_path) -> None:
    first, second = (plan_copy(str(source), str(tmp_path / "out")) for source in (torch_made, own))

    class Overtaken:
        def start(self, task, total, unit="B"):
            with pytest.raises(RefusedError, match="is being written by another copy"):
                write_copy(second)

        advance = staticmethod(SILENT.advance)
        finish = staticmethod(SILENT.finish)

    write_copy(first, progress=Overtaken())
    assert tree(tmp_path / "out") == tree(torch_made)
