"""Copies and collections in object stores, against real servers on loopback."""

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

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.storage.gcs_writer import CHUNK_BYTES
from embsnap.storage.s3_writer import PART_BYTES
from embsnap.storage.uri import open_store
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary
from tests.servers import faults
from tests.servers.fault_proxy import Fault
from tests.servers.gcs import Bucket, FaultyBucket
from tests.servers.s3 import S3Bucket

ROWS = np.random.default_rng(0).standard_normal((4000, 64), np.float32)
DEAD = "to/embsnap/abababababab-0"


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A megabyte, with a sidecar."""
    write_arrays(str(tmp_path / "own"), {"user": ROWS})
    return tmp_path / "own"


@pytest.fixture
def torch_made(tmp_path: Path) -> Path:
    """Forty objects, without a sidecar."""
    builder = SnapshotBuilder(batched=False)
    for index in range(40):
        builder.tensor(f"model/w{index}", ROWS[index])
    return builder.write(tmp_path / "made")


@pytest.mark.parametrize("name", ["own", "torch_made"])
def test_up_and_down_again(embsnap, gcs: Bucket, name, request, tmp_path) -> None:
    source = request.getfixturevalue(name)
    up = json.loads(embsnap("copy", source, gcs.uri("to"), "--json").stdout)
    assert {path.removeprefix("to/") for path in gcs.names()} == set(tree(source))
    down = json.loads(embsnap("copy", gcs.uri("to"), tmp_path / "down", "--json").stdout)
    assert tree(tmp_path / "down") == tree(source)
    assert up["total"] == down["total"]
    assert down["checked"]["num_objects"] == down["total"]["num_objects"] - 1  # the server's sums; not the metadata's
    assert embsnap("copy", source, gcs.uri("to")).exit_code == 7


def test_from_one_cloud_to_another(embsnap, gcs: Bucket, s3: S3Bucket, own, tmp_path) -> None:
    own_uri = s3.upload(own, "from")
    run = embsnap("copy", own_uri, gcs.uri("to"), "--storage-option", "anon=false", "--to-storage-option", "token=anon")
    assert run.exit_code == 0, run.stderr
    assert embsnap("copy", gcs.uri("to"), s3.uri("back")).exit_code == 0
    np.testing.assert_array_equal(read_array(s3.uri("back"), "user"), ROWS)
    assert [name.removeprefix("back/") for name in s3.names("back/")] == sorted(tree(own))


def test_a_vocabulary(embsnap, gcs: Bucket, tmp_path) -> None:
    write_vocabulary(make_vocabulary(list(range(1000))), f"{tmp_path}/user")
    assert embsnap("copy", tmp_path / "user", gcs.uri("vocab/user")).exit_code == 0
    assert gcs.names() == ["vocab/user/part-00000.parquet"]
    assert embsnap("copy", gcs.uri("vocab/*/*.parquet"), tmp_path / "down").exit_code == 0
    assert tree(tmp_path / "down") == {"user/part-00000.parquet": gcs.get("vocab/user/part-00000.parquet")}


def test_a_dry_run_reads_no_object(embsnap, gcs_proxy: FaultyBucket, own) -> None:
    uri = gcs_proxy.upload(own, "from")
    assert embsnap("copy", uri, gcs_proxy.uri("to"), "--dry-run").exit_code == 0
    read = [request.path for request in gcs_proxy.log if request.method == "GET" and "alt=media" in request.path]
    assert len([path for path in read if "00000" in path]) == 0
    assert gcs_proxy.names("to") == []


def test_bits_that_flip_on_the_way_are_noticed(embsnap, gcs_proxy: FaultyBucket, own, torch_made, tmp_path) -> None:
    for name, source, pattern in (("a", own, "00000"), ("b", torch_made, "w7\\b")):
        uri = gcs_proxy.upload(source, name)
        fault = gcs_proxy.add(Fault(faults.flipped(), "GET", rf"{pattern}.*alt=media", times=None))
        run = embsnap("copy", uri, tmp_path / name)
        assert run.exit_code in (4, 6), run.stderr
        assert "CRC-32C" in run.stderr
        assert not (tmp_path / name / ".snapshot_metadata").exists()
        assert fault.seen
        gcs_proxy.proxy.clear()
        assert embsnap("copy", uri, tmp_path / name).exit_code == 0
        assert tree(tmp_path / name) == tree(source)


def test_replies_that_are_lost_cost_nothing(embsnap, gcs_proxy: FaultyBucket, own) -> None:
    """Of the claim, of objects, of the metadata: each is read back instead of being taken for somebody else's."""
    for pattern in ("copy.json", "00000", "snapshot_metadata"):
        gcs_proxy.add(Fault(faults.lost_reply(), "POST", body=pattern.encode()))
        gcs_proxy.add(Fault(faults.lost_reply(), "POST", pattern))
    run = embsnap("copy", own, gcs_proxy.uri("to"))
    assert run.exit_code == 0, run.stderr
    assert {path.removeprefix("to/"): gcs_proxy.get(path) for path in gcs_proxy.names()} == tree(own)


@pytest.mark.parametrize("way", ["up", "down"])
def test_an_object_that_changes_on_its_way_is_copied_again(embsnap, gcs_proxy: FaultyBucket, tmp_path, way) -> None:
    """The server takes a chunk twice whose reply was lost; or a bit flips in what it sends."""
    rows = np.arange((CHUNK_BYTES + 4096) // 4, dtype=np.float32).reshape(-1, 16)
    write_arrays(str(tmp_path / "from"), {"user": rows})
    (path,) = (path for path in (tmp_path / "from" / "embsnap").rglob("*") if path.stat().st_size > CHUNK_BYTES)
    if way == "up":
        fault = Fault(faults.lost_reply(), "PUT")
        source, to = tmp_path / "from", gcs_proxy.uri("to")
    else:
        fault = Fault(faults.flipped(), "GET", f"{path.name}.*alt=media")
        source, to = gcs_proxy.upload(tmp_path / "from", "from"), str(tmp_path / "to")
    gcs_proxy.add(fault)
    run = embsnap("copy", source, to)
    assert run.exit_code == 0, run.stderr
    assert fault.seen > fault.times
    np.testing.assert_array_equal(read_array(str(to), "user"), rows)


def start(source: object, destination: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "embsnap", "copy", str(source), destination, "--threads", "1", "--json"]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_stopped_and_run_again(embsnap, gcs_proxy: FaultyBucket, torch_made, signum) -> None:
    """Uploads take a tenth of a second each, so that the copy is in the middle when the signal comes."""
    slow = gcs_proxy.add(Fault(faults.delayed(0.1), "POST", "upload", times=None))
    process = start(torch_made, gcs_proxy.uri("to"))
    while len(gcs_proxy.names("to/0/")) < 5 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == (-signal.SIGKILL if signum == signal.SIGKILL else 130), stderr
    finished = gcs_proxy.names("to/0/")
    assert 5 <= len(finished) < 40
    assert "to/.snapshot_metadata" not in gcs_proxy.names()
    assert embsnap("inspect", gcs_proxy.uri("to")).exit_code == 4
    slow.times = 0
    result = json.loads(embsnap("copy", torch_made, gcs_proxy.uri("to"), "--json").stdout)
    assert result["present"]["num_objects"] >= len(finished)
    assert result["present"]["num_objects"] + result["copied"]["num_objects"] == 41
    assert {path.removeprefix("to/"): gcs_proxy.get(path) for path in gcs_proxy.names()} == tree(torch_made)


def test_two_at_a_time(gcs: Bucket, torch_made) -> None:
    racers = [start(torch_made, gcs.uri("to")) for _ in range(2)]
    outputs = [racer.communicate(timeout=300) for racer in racers]
    codes = [racer.returncode for racer in racers]
    assert sorted(codes) == [0, 7], outputs
    assert json.loads(outputs[codes.index(7)][1])["kind"] == "destination-taken"
    assert {path.removeprefix("to/"): gcs.get(path) for path in gcs.names()} == tree(torch_made)


def test_what_dead_runs_left_is_collected(embsnap, gcs: Bucket, own) -> None:
    gcs.upload(own, "to")
    gcs.put(f"{DEAD}/run.json", b"{}")
    gcs.put(f"{DEAD}/00000", bytes(1000))
    assert "keep" in embsnap("gc", gcs.uri("to")).stdout  # it is a second old
    assert embsnap("gc", gcs.uri("to"), "--older-than", "0").exit_code == 0
    assert f"{DEAD}/00000" in gcs.names()
    run = embsnap("gc", gcs.uri("to"), "--older-than", "0", "--apply")
    assert run.stdout.splitlines()[-1] == "deleted 2 objects, 1002 B"
    assert {path.removeprefix("to/") for path in gcs.names()} == set(tree(own))
    np.testing.assert_array_equal(read_array(gcs.uri("to"), "user"), ROWS)


def test_only_the_environment_is_needed(gcs: Bucket, own) -> None:
    """As a user would run it, in a process of its own."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(own.parent), **gcs.environ}
    command = [sys.executable, "-m", "embsnap", "copy", str(own), gcs.uri("to")]
    started = time.monotonic()
    subprocess.run(command, env=environ, check=True, timeout=120, capture_output=True)
    assert time.monotonic() - started < 30
    assert {path.removeprefix("to/") for path in gcs.names()} == set(tree(own))


def test_uploads_of_dead_runs_are_collected(embsnap, s3: S3Bucket, own) -> None:
    """S3 keeps the parts of an object that nobody put together, unseen; whose they are shows in their place alone."""
    s3.upload(own, "to")
    store = open_store(s3.uri("to"))
    places = ["embsnap/abababababab-0/00000", "model/somebody-elses"]
    writers = [store.writer(place) for place in places]
    for writer in writers:
        writer.write(bytes(PART_BYTES + 1))
    run = embsnap("gc", s3.uri("to"), "--json")
    (leftover,) = json.loads(run.stdout)["leftovers"]
    assert [leftover[key] for key in ("kind", "name", "num_bytes", "collected")] == [
        "upload",
        places[0],
        PART_BYTES,
        False,
    ]
    assert embsnap("gc", s3.uri("to"), "--apply", "--older-than", "0").stdout.endswith("deleted 1 objects, 16.0 MiB\n")
    assert [found.location for found in store.uploads()] == places[1:]
    assert embsnap("verify", s3.uri("to")).exit_code == 0
    for writer in writers:
        writer.abort()
