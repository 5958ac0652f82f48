"""What the store in Cloud Storage asks of the server, and how it behaves around forks and interruptions."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from embsnap.errors import ErrorKind, RefusedError, StorageError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.storage.base import RangeRead
from embsnap.storage.gcs_writer import CHUNK_BYTES
from embsnap.storage.uri import open_store
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from tests.servers import faults
from tests.servers.fault_proxy import Fault
from tests.servers.gcs import Bucket, FaultyBucket

MIB = 1 << 20


def _requests(bucket: FaultyBucket) -> list[tuple[str, str]]:
    """Method and the name of the object, or what else was asked, of every request."""
    return [(request.method, request.path.partition("/o")[2].split("?")[0].lstrip("/")) for request in bucket.log]


def test_a_small_object_is_one_request_each_way(gcs_proxy: FaultyBucket) -> None:
    store = open_store(gcs_proxy.uri("root"))
    store.create("a", b"hello")
    assert store.read("a", limit=5) == b"hello"
    with store.writer("b") as writer:
        writer.write(b"hello")
    assert _requests(gcs_proxy) == [("POST", ""), ("GET", "root/a"), ("POST", "")]


def test_a_table_streams_in_parts_of_8_mib_8_at_a_time(gcs_proxy: FaultyBucket) -> None:
    data = random.Random(0).randbytes(100 * MIB)
    gcs_proxy.put("root/a", data)
    gcs_proxy.add(Fault(faults.delayed(0.3), method="GET", times=None))
    buffer = bytearray(len(data))
    open_store(gcs_proxy.uri("root")).read_ranges("a", [RangeRead(0, memoryview(buffer))])
    assert buffer == data
    assert sorted(request.num_sent for request in gcs_proxy.log) == [4 * MIB] + [8 * MIB] * 12
    assert gcs_proxy.proxy.most_in_flight == 8


def test_scattered_rows_cost_less_than_twice_their_bytes(gcs_proxy: FaultyBucket) -> None:
    data = random.Random(0).randbytes(2 * MIB)
    gcs_proxy.put("root/a", data)
    rows = random.Random(1).sample(range(len(data) // 256), 100)
    buffers = [bytearray(256) for _ in rows]
    requests = [RangeRead(256 * row, memoryview(buffer)) for row, buffer in zip(rows, buffers, strict=True)]
    open_store(gcs_proxy.uri("root")).read_ranges("a", requests)
    assert [bytes(buffer) for buffer in buffers] == [data[256 * row : 256 * row + 256] for row in rows]
    assert sum(request.num_sent for request in gcs_proxy.log) < 2 * 100 * 256


def test_a_large_object_is_written_in_chunks_and_shown_at_the_end(gcs_proxy: FaultyBucket) -> None:
    store = open_store(gcs_proxy.uri("root"))
    data = random.Random(0).randbytes(2 * CHUNK_BYTES + 5)
    with store.writer("a") as writer:
        for start in range(0, len(data), 3 * MIB + 1):
            writer.write(data[start : start + 3 * MIB + 1])
        assert gcs_proxy.names() == []
    assert gcs_proxy.get("root/a") == data
    sizes = [request.num_uploaded for request in gcs_proxy.log if request.method == "PUT"]
    assert sizes == [CHUNK_BYTES, CHUNK_BYTES, 5]


def test_a_large_object_does_not_overwrite(gcs: Bucket) -> None:
    store = open_store(gcs.uri("root"))
    writer = store.writer("a")
    writer.write(bytes(CHUNK_BYTES + 1))
    store.create("a", b"early")
    with pytest.raises(RefusedError):
        writer.close()
    assert gcs.get("root/a") == b"early"


def test_markers_of_directories_are_no_objects(gcs: Bucket) -> None:
    for name in ("root/", "root/d/", "root/d/a"):
        gcs.put(name, b"")
    store = open_store(gcs.uri("root"))
    assert [found.location for found in store.list()] == ["d/a"]
    assert store.children() == ("d/",)
    assert store.children("d") == ("a",)


def test_a_long_listing_comes_in_pages(gcs_proxy: FaultyBucket) -> None:
    for number in range(1003):
        gcs_proxy.put(f"root/{number:04}", b"")
    assert [found.location for found in open_store(gcs_proxy.uri("root")).list()] == [f"{n:04}" for n in range(1003)]
    assert len(gcs_proxy.log) == 2


def test_what_the_server_knows_of_an_object(gcs: Bucket) -> None:
    store = open_store(gcs.uri("root"))
    before = time.time()
    made = store.create("a", b"123456789")
    assert made.crc32c == 0xE3069283  # the check value of CRC-32C
    assert made.modified == pytest.approx(before, abs=60)
    for found in (store.stat("a"), *store.list()):
        assert found is not None
        assert (found, found.crc32c, found.modified) == (made, made.crc32c, made.modified)


def test_a_compressed_object_is_refused(gcs: Bucket) -> None:
    boundary, body = "b", gzip.compress(b"text" * 100)
    meta = json.dumps({"name": "root/a", "contentEncoding": "gzip"}).encode()
    parts = [b"--b\r\nContent-Type: application/json\r\n\r\n", meta, b"\r\n--b\r\n\r\n", body, b"\r\n--b--\r\n"]
    url = f"{gcs.server}/upload/storage/v1/b/{gcs.name}/o?uploadType=multipart"
    headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
    urllib.request.urlopen(urllib.request.Request(url, b"".join(parts), headers), timeout=60).close()
    with pytest.raises(StorageError, match="Content-Encoding gzip") as caught:
        open_store(gcs.uri("root")).read("a", limit=10_000)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED


def test_a_flipped_bit_in_all_of_an_object_read_by_ranges_is_found(gcs_proxy: FaultyBucket) -> None:
    data = random.Random(0).randbytes(1000)
    gcs_proxy.put("root/a", data)
    store = open_store(gcs_proxy.uri("root"))
    halves = [bytearray(500), bytearray(500)]
    requests = [RangeRead(500 * index, memoryview(half)) for index, half in enumerate(halves)]
    gcs_proxy.add(Fault(faults.flipped(), method="GET"))
    store.read_ranges("a", requests)
    assert b"".join(halves) == data
    gcs_proxy.add(Fault(faults.flipped(), method="GET", times=None))
    with pytest.raises(StorageError) as caught:
        store.read_ranges("a", requests)
    assert caught.value.kind is ErrorKind.CORRUPT_TRANSFER


@pytest.mark.parametrize("prefix", ["http://", ""])
def test_endpoints_come_from_the_environment_or_an_option(
    gcs: Bucket, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    gcs.put("a", b"x")
    endpoint = gcs.server.replace("http://", prefix)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
    assert open_store(gcs.uri()).read("a", limit=1) == b"x"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert open_store(gcs.uri(), {"endpoint_url": endpoint, "token": "anon"}).read("a", limit=1) == b"x"


def test_a_snapshot_is_opened_with_two_requests(gcs_proxy: FaultyBucket, tmp_path: Path) -> None:
    builder = SnapshotBuilder(world_size=2)
    builder.sharded("model/t.embedding_bags.user.weight", np.ones((6, 4), np.float32), row_shards((6, 4), 2))
    uri = gcs_proxy.upload(builder.write(tmp_path / "snapshot"), "snapshot")
    assert open_snapshot(uri).uri == uri
    (first, metadata), (second, sidecar) = _requests(gcs_proxy)
    assert (first, metadata, second) == ("GET", "snapshot/.snapshot_metadata", "GET")
    assert sidecar.startswith("snapshot/.embsnap/")


_FORKING = """
import os, sys, warnings
warnings.simplefilter("ignore")
from embsnap.storage.uri import open_store
store = open_store(sys.argv[1])
assert store.read("a", limit=9) == b"parent"
pid = os.fork()
if pid == 0:
    store.create("b", b"child")
    os._exit(0 if store.read("a", limit=9) == b"parent" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert store.read("b", limit=9) == b"child"
"""


def test_a_store_works_in_a_forked_process(gcs: Bucket) -> None:
    gcs.put("root/a", b"parent")
    environ = {**os.environ, **gcs.environ}
    done = subprocess.run(
        [sys.executable, "-c", _FORKING, gcs.uri("root")], env=environ, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupted_read_leaves_its_buffer_alone(gcs_proxy: FaultyBucket) -> None:
    gcs_proxy.put("root/a", bytes([1]) * MIB)
    store = open_store(gcs_proxy.uri("root"))
    store.stat("a")
    gcs_proxy.add(Fault(faults.throttled(200_000), method="GET", times=None))
    buffer = bytearray(MIB)
    timer = threading.Timer(1.0, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        store.read_ranges("a", [RangeRead(0, memoryview(buffer))])
    timer.join()
    arrived = bytes(buffer)
    time.sleep(1.0)
    assert bytes(buffer) == arrived != bytes([1]) * MIB
