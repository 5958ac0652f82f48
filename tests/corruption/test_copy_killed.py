"""Copies that are killed, interrupted or terminated show nothing, keep what they finished, and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.testing.snapshots import SnapshotBuilder

NUM_OBJECTS = 600
CLAIM = Path(".embsnap") / "copy.json"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of 600 objects of 64 KiB; each is forced to the disk at the destination, so that it takes a while."""
    builder = SnapshotBuilder(batched=False)
    values = np.random.default_rng(0).standard_normal((NUM_OBJECTS, 1 << 14), np.float32)
    for index, row in enumerate(values):
        builder.tensor(f"model/w{index}", row)
    return builder.write(tmp_path_factory.mktemp("snapshot") / "source")


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def start(source: Path, destination: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "embsnap", "copy", str(source), str(destination), "--threads", "1", "--json"]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(source: Path, destination: Path) -> dict[str, object]:
    process = start(source, destination)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return json.loads(stdout)


def num_finished(destination: Path) -> int:
    return sum(1 for _ in destination.glob("0/model/w*"))


def wait_for_objects(process: subprocess.Popen[str], destination: Path, number: int) -> None:
    """Until the copy has finished so many objects."""
    deadline = time.monotonic() + 120
    while num_finished(destination) < number and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def stop(source: Path, root: Path, signum: int, *, after: int, attempts: int = 10) -> tuple[Path, int]:
    """Send a signal to a copy that has finished so many objects; returns its destination and its exit code.

    Where the machine halts this process longer than a copy takes, all objects are there before the signal: tried again.
    """
    for attempt in range(attempts):
        out = root / str(attempt)
        process = start(source, out)
        wait_for_objects(process, out, after)
        process.send_signal(signum)
        stdout, _ = process.communicate(timeout=300)
        if num_finished(out) < NUM_OBJECTS:
            assert stdout == ""
            return out, process.returncode
    raise AssertionError(f"each of {attempts} copies had all its objects before the signal")


@pytest.mark.parametrize(
    ("signum", "exit_code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["SIGKILL", "SIGINT", "SIGTERM"],
)
def test_stopped_in_the_middle(source: Path, tmp_path: Path, signum: int, exit_code: int) -> None:
    out, returned = stop(source, tmp_path, signum, after=10)
    assert returned == exit_code
    assert (out / CLAIM).exists()
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(str(out))
    assert caught.value.kind == ErrorKind.UNFINISHED_COPY
    finished = {path.name: path.stat().st_ino for path in out.glob("0/model/w*")}
    temporary = list(out.rglob(".embsnap-*.tmp"))
    assert 10 <= len(finished) < NUM_OBJECTS
    assert signum == signal.SIGKILL or temporary == []
    result = finish(source, out)
    assert result["present"]["num_objects"] == len(finished)
    assert result["copied"]["num_objects"] == NUM_OBJECTS + 1 - len(finished)
    assert {name: (out / "0" / "model" / name).stat().st_ino for name in finished} == finished
    for path in temporary:
        path.unlink()
    assert tree(out) == tree(source)


def test_killed_again_and_again(source: Path, tmp_path: Path) -> None:
    out, _ = stop(source, tmp_path, signal.SIGKILL, after=1)
    for number in (100, 200, 300):
        process = start(source, out)
        wait_for_objects(process, out, number)
        process.kill()
        process.communicate(timeout=300)
    if not (out / ".snapshot_metadata").exists():
        finish(source, out)
    subprocess.run(
        [sys.executable, "-m", "embsnap", "gc", str(out), "--older-than", "0", "--apply"], check=True, timeout=120
    )
    assert tree(out) == tree(source)


def test_collected_instead(source: Path, tmp_path: Path) -> None:
    out, _ = stop(source, tmp_path, signal.SIGKILL, after=5)
    for path in out.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 172800,) * 2)
    command = [sys.executable, "-m", "embsnap", "gc", str(out)]
    subprocess.run(command, check=True, timeout=120)
    assert len(tree(out)) > 5
    subprocess.run([*command, "--apply"], check=True, timeout=120)
    assert tree(out) == {}


def test_two_at_a_time(source: Path, tmp_path: Path) -> None:
    """The second begins while the first is at work: it joins, compares, and loses at the commit or just before."""
    out = tmp_path / "out"
    first = start(source, out)
    wait_for_objects(first, out, 1)
    second = start(source, out)
    outputs = [process.communicate(timeout=300) for process in (first, second)]
    codes = [first.returncode, second.returncode]
    assert sorted(codes) == [0, 7], outputs
    error = json.loads(outputs[codes.index(7)][1])
    assert error["kind"] == "destination-taken"
    assert "another writer has committed" in error["problem"] or "this very snapshot" in error["problem"]
    assert tree(out) == tree(source)
