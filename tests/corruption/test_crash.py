"""Processes that die, are interrupted, fill the disk or race: nothing half is visible, and the next run succeeds."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.storage.local import LocalStore
from embsnap.testing.tables import read_array

SCRIPT = str(Path(__file__).with_name("write_one.py"))
ROWS = np.arange(1000 * 16, dtype=np.float32).reshape(1000, 16)


def start(destination: Path, accident: str, number: int = 0) -> subprocess.Popen[str]:
    arguments = [sys.executable, SCRIPT, str(destination), accident, str(number)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(arguments, text=True, **pipes)


def run(destination: Path, accident: str = "none", preexec: Callable[[], None] | None = None) -> tuple[int, str]:
    arguments = [sys.executable, SCRIPT, str(destination), accident]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, preexec_fn=preexec)
    return done.returncode, done.stderr


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def assert_second_run_succeeds(root: Path) -> None:
    assert run(root) == (0, "")
    assert np.array_equal(read_array(str(root), "user"), ROWS)
    assert open_snapshot(str(root)).findings == ()


@pytest.mark.parametrize(
    "accident",
    [
        "die-after-claim",
        "die-in-first-object",
        "die-in-last-object",
        "die-after-objects",
        "die-after-sidecar",
        "die-before-link",
    ],
)
def test_killed_before_the_commit(tmp_path: Path, accident: str) -> None:
    root = tmp_path / "snapshot"
    assert run(root, accident)[0] == -signal.SIGKILL
    assert not (root / ".snapshot_metadata").exists()
    assert files(root)
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(str(root))
    assert caught.value.kind in (ErrorKind.NOT_A_SNAPSHOT, ErrorKind.TORN_SNAPSHOT)
    assert_second_run_succeeds(root)


@pytest.mark.parametrize("accident", ["die-after-link", "die-after-commit"])
def test_killed_after_the_commit(tmp_path: Path, accident: str) -> None:
    assert run(tmp_path, accident)[0] == -signal.SIGKILL
    assert np.array_equal(read_array(str(tmp_path), "user"), ROWS)
    assert open_snapshot(str(tmp_path)).findings == ()
    exit_code, message = run(tmp_path)
    assert exit_code == 7
    assert "holds a snapshot already" in message


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_in_the_middle(tmp_path: Path, signum: int, exit_code: int) -> None:
    root = tmp_path / "snapshot"
    process = start(root, "slow")
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert files(root)
    process.send_signal(signum)
    _, message = process.communicate(timeout=30)
    assert (process.returncode, message) == (exit_code, "")
    assert files(root) == []
    assert_second_run_succeeds(root)
    assert {name.split("/")[1] for name in files(root) if name.startswith("embsnap/")} == {"abababababab-0"}


def test_killed_in_the_middle_from_outside(tmp_path: Path) -> None:
    process = start(tmp_path, "slow")
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.communicate(timeout=30)
    assert list(LocalStore(str(tmp_path)).unfinished())
    assert not (tmp_path / ".snapshot_metadata").exists()
    assert_second_run_succeeds(tmp_path)


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    root = tmp_path / "snapshot"
    exit_code, message = run(root, preexec=limit)
    assert exit_code == 6
    assert "no room to write" in message
    assert files(root) == []
    assert_second_run_succeeds(root)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 kB, where mounting is allowed."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("may not mount a file system")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    root = small_disk / "snapshot"
    exit_code, message = run(root)
    assert exit_code == 6
    assert "No space left on device" in message
    assert str(root) in message
    assert files(root) == []
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    assert_second_run_succeeds(root)


def test_of_two_processes_exactly_one_commits(tmp_path: Path) -> None:
    racers = [start(tmp_path, "wait", number) for number in range(2)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    messages = [racer.communicate(timeout=30)[1] for racer in racers]
    exit_codes = [racer.returncode for racer in racers]
    assert sorted(exit_codes) == [0, 7]
    assert "another writer has committed" in messages[exit_codes.index(7)]
    winner = exit_codes.index(0)
    assert np.array_equal(read_array(str(tmp_path), "user"), ROWS + winner)
    assert len({name.split("/")[1] for name in files(tmp_path) if name.startswith("embsnap/")}) == 1
    assert open_snapshot(str(tmp_path)).findings == ()
