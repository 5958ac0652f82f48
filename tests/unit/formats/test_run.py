from __future__ import annotations

import pytest

from embsnap.errors import ErrorKind, NotFoundError
from embsnap.formats.torchsnapshot.run import steps
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.step_uri import resolve
from embsnap.testing.snapshots import SnapshotBuilder


@pytest.fixture
def run(tmp_path):
    """Steps 9 and 10 committed, 11 torn, and things that are no steps."""
    for step in (9, 10):
        builder = SnapshotBuilder()
        builder.value("extra_state/step", step)
        builder.write(tmp_path / str(step))
    (tmp_path / "11" / "batched").mkdir(parents=True)
    (tmp_path / "events").mkdir()
    (tmp_path / "12").write_text("a file")
    return tmp_path


def test_steps(run):
    assert [(step.step, step.committed) for step in steps(str(run))] == [(9, True), (10, True), (11, False)]
    assert steps(str(run / "events")) == ()


@pytest.mark.parametrize(
    ("suffix", "step"), [("@latest", 10), ("@9", 9), ("@10", 10), ("@0009", 9), ("@latest/", 10), ("@9/", 9)]
)
def test_a_step_is_named(run, suffix, step):
    assert open_snapshot(f"{run}{suffix}").value("extra_state/step") == step
    assert resolve(f"{run}{suffix}") == str(run / str(step))


@pytest.mark.parametrize(("suffix", "message"), [("@8", "no such committed step"), ("@11", "never finished")])
def test_a_step_that_is_not_there(run, suffix, message):
    with pytest.raises(NotFoundError, match=message) as caught:
        open_snapshot(f"{run}{suffix}")
    assert caught.value.kind is ErrorKind.NO_SUCH_STEP
    assert caught.value.expected == "one of 9, 10"


def test_a_run_without_a_committed_step(tmp_path):
    (tmp_path / "11" / "batched").mkdir(parents=True)
    with pytest.raises(NotFoundError, match="expected a run with a committed step, found 1 steps, 0 of them committed"):
        open_snapshot(f"{tmp_path}@latest")


@pytest.mark.parametrize("suffix", ["@latest", "@5"])
@pytest.mark.parametrize(
    ("place", "kind", "found", "tried"),
    [
        ("rum", ErrorKind.NO_SUCH_OBJECT, None, "did you mean {}/run"),
        ("vocab", ErrorKind.NO_SUCH_STEP, "a directory of parquet files", "a vocabulary goes into the configuration"),
        ("run/9", ErrorKind.NO_SUCH_STEP, "a snapshot", "{}/run/9, which is one snapshot"),
        ("empty", ErrorKind.NO_SUCH_STEP, "an empty directory", "check that the snapshot was written there"),
    ],
)
def test_a_step_of_what_is_no_run(tmp_path, suffix, place, kind, found, tried):
    SnapshotBuilder().write(tmp_path / "run" / "9")
    (tmp_path / "vocab").mkdir()
    (tmp_path / "vocab" / "part-00000.parquet").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError) as caught:
        open_snapshot(f"{tmp_path}/{place}{suffix}")
    assert (caught.value.kind, caught.value.found) == (kind, found)
    assert tried.format(tmp_path) in caught.value.hint


def test_a_snapshot_under_the_name_as_it_stands_comes_first(run):
    builder = SnapshotBuilder()
    builder.value("extra_state/step", 77)
    builder.write(run.parent / f"{run.name}@10")
    assert open_snapshot(f"{run}@10").value("extra_state/step") == 77


@pytest.mark.parametrize("name", ["x@", "x@newest", "x@-1", "user@host", "x@1.5"])
def test_other_suffixes_are_part_of_the_name(tmp_path, name):
    assert resolve(str(tmp_path / name)) == str(tmp_path / name)
