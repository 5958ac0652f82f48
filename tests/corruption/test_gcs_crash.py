"""Processes that write a snapshot to Cloud Storage and die, are interrupted or race: nothing half is visible."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.testing.tables import read_array
from tests.corruption.write_one import rows
from tests.servers import faults
from tests.servers.fault_proxy import Fault
from tests.servers.gcs import Bucket, FaultyBucket

SCRIPT = str(Path(__file__).with_name("write_one.py"))
COMMIT = rb'"name": ?"warm/\.snapshot_metadata"'


def start(bucket: Bucket, accident: str, number: int = 0) -> subprocess.Popen[str]:
    arguments = [sys.executable, SCRIPT, bucket.uri("warm"), accident, str(number)]
    environ = {**os.environ, **bucket.environ}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(arguments, text=True, env=environ, **pipes)


def run(bucket: Bucket, accident: str = "none") -> tuple[int, str]:
    process = start(bucket, accident)
    _, message = process.communicate(timeout=600)
    return process.returncode, message


def assert_holds(bucket: Bucket, number: int) -> None:
    uri = bucket.uri("warm")
    assert np.array_equal(read_array(uri, "user"), rows(number))
    assert open_snapshot(uri).findings == ()


def race(bucket: Bucket) -> tuple[int, int]:
    """Two processes that commit at the same time; numbers of the winner and of the loser."""
    racers = [start(bucket, "wait", number) for number in range(2)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    messages = [racer.communicate(timeout=600)[1] for racer in racers]
    codes = [racer.returncode for racer in racers]
    assert sorted(codes) == [0, 7], messages
    winner = codes.index(0)
    assert bucket.uri("warm") in messages[1 - winner]
    return winner, 1 - winner


@pytest.mark.parametrize(
    "accident",
    ["die-after-claim", "die-in-first-object", "die-in-last-object", "die-after-objects", "die-after-sidecar"],
)
def test_killed_before_the_commit(gcs: Bucket, accident: str) -> None:
    assert run(gcs, accident)[0] == -signal.SIGKILL
    assert "warm/.snapshot_metadata" not in gcs.names()
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(gcs.uri("warm"))
    assert caught.value.kind in (ErrorKind.NOT_A_SNAPSHOT, ErrorKind.TORN_SNAPSHOT)
    assert run(gcs) == (0, "")
    assert_holds(gcs, 0)


def test_killed_after_the_commit(gcs: Bucket) -> None:
    assert run(gcs, "die-after-commit")[0] == -signal.SIGKILL
    assert_holds(gcs, 0)
    exit_code, message = run(gcs)
    assert exit_code == 7
    assert "holds a snapshot already" in message


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_in_the_middle(gcs: Bucket, signum: int, exit_code: int) -> None:
    writer = start(gcs, "slow")
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signum)
    _, message = writer.communicate(timeout=600)
    assert (writer.returncode, message) == (exit_code, "")
    assert gcs.names() == []


def test_of_two_that_commit_exactly_one_wins(gcs: Bucket) -> None:
    for _ in range(3):
        winner, _ = race(gcs)
        assert_holds(gcs, winner)
        for name in gcs.names():
            gcs.delete(name)


def test_exactly_one_wins_although_replies_are_lost(gcs_proxy: FaultyBucket) -> None:
    """The server has done what it was asked, and neither of the two can know."""
    gcs_proxy.add(Fault(faults.lost_reply(), body=COMMIT, times=2))
    winner, _ = race(gcs_proxy)
    assert_holds(gcs_proxy, winner)
    commits = [request for request in gcs_proxy.log if request.method == "POST" and request.harmed]
    assert len(commits) == 2
