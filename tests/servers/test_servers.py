"""The servers that tests run against, and the proxy that does harm between them and a client."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.servers import faults
from tests.servers.fault_proxy import Fault
from tests.servers.gcs import Bucket, FaultyBucket
from tests.servers.s3 import S3Bucket

DATA = bytes(range(256)) * 40


def fetch(bucket: Bucket, name: str = "a", ranged: str = "") -> tuple[int, bytes]:
    """Status and body of one GET through the endpoint that clients are sent to."""
    url = f"{bucket.endpoint}/storage/v1/b/{bucket.name}/o/{name}?alt=media"
    request = urllib.request.Request(url, headers={"Range": ranged} if ranged else {})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.status, reply.read()


@pytest.fixture
def stored(gcs_proxy: FaultyBucket) -> FaultyBucket:
    """A bucket behind the proxy, with one object."""
    gcs_proxy.put("a", DATA)
    return gcs_proxy


@pytest.mark.parametrize("server", ["gcs", "s3"])
def test_the_back_door(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bucket: Bucket | S3Bucket = request.getfixturevalue(server)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "é b&c").write_bytes(b"1")
    assert bucket.upload(tmp_path, "x") == bucket.uri("x")
    bucket.put("y", b"2")
    assert bucket.names() == ["x/d/é b&c", "y"]
    assert bucket.names("x/") == ["x/d/é b&c"]
    assert bucket.get("x/d/é b&c") == b"1"
    bucket.delete("y")
    assert bucket.names() == ["x/d/é b&c"]


def test_a_bucket_is_empty_at_first(gcs: Bucket, s3: S3Bucket) -> None:
    assert (gcs.names(), s3.names()) == ([], [])


def test_without_faults_it_only_logs(stored: FaultyBucket) -> None:
    assert fetch(stored, ranged="bytes=10-19") == (206, DATA[10:20])
    (request,) = stored.log
    assert (request.method, request.range, request.status, request.num_sent) == ("GET", "bytes=10-19", 206, 10)
    assert request.path == f"/storage/v1/b/{stored.name}/o/a?alt=media"
    assert not request.harmed


def test_an_upload_session_stays_with_the_proxy(stored: FaultyBucket) -> None:
    url = f"{stored.endpoint}/upload/storage/v1/b/{stored.name}/o?uploadType=resumable&name=b"
    with urllib.request.urlopen(urllib.request.Request(url, data=b"", method="POST"), timeout=60) as reply:
        session = reply.headers["Location"]
    assert session.startswith(stored.endpoint)
    urllib.request.urlopen(urllib.request.Request(session, data=b"xyz", method="PUT"), timeout=60).close()
    assert stored.get("b") == b"xyz"
    assert stored.log[-1].num_uploaded == 3


def test_status_with_skip_and_times(stored: FaultyBucket) -> None:
    stored.add(Fault(faults.status(503), method="GET", path="/o/a", skip=1, times=1))
    assert fetch(stored) == (200, DATA)
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(stored)
    caught.value.close()
    assert fetch(stored) == (200, DATA)
    assert [(request.status, request.harmed) for request in stored.log] == [(200, False), (503, True), (200, False)]


@pytest.mark.parametrize(
    "fault",
    [Fault(faults.reset(), method="PUT"), Fault(faults.reset(), path="/o/b"), Fault(faults.reset(), range="=5-")],
)
def test_other_requests_pass(stored: FaultyBucket, fault: Fault) -> None:
    stored.add(fault)
    assert fetch(stored, ranged="bytes=0-9") == (206, DATA[:10])


def test_the_body_of_an_upload_selects(stored: FaultyBucket) -> None:
    stored.add(Fault(faults.status(500), body=b"wanted"))
    for data, status in ((b"other", 200), (b"the wanted one", 500)):
        connection = http.client.HTTPConnection(stored.endpoint.removeprefix("http://"), timeout=60)
        connection.request("POST", f"/upload/storage/v1/b/{stored.name}/o?uploadType=media&name=c", data)
        assert connection.getresponse().status == status
        connection.close()


def test_reset_and_lost_reply_differ_in_what_was_done(stored: FaultyBucket) -> None:
    for action, left in ((faults.reset(), ["a"]), (faults.lost_reply(), [])):
        stored.add(Fault(action, method="DELETE"))
        url = f"{stored.endpoint}/storage/v1/b/{stored.name}/o/a"
        with pytest.raises(ConnectionResetError):
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60)
        assert stored.names() == left


def test_truncated_is_less_than_the_header_says(stored: FaultyBucket) -> None:
    stored.add(Fault(faults.truncated(100)))
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(stored)
    assert len(caught.value.partial) == 100


def test_short_agrees_with_its_header(stored: FaultyBucket) -> None:
    stored.add(Fault(faults.short(100)))
    assert fetch(stored) == (200, DATA[:100])


def test_flipped_differs_in_one_bit(stored: FaultyBucket) -> None:
    stored.add(Fault(faults.flipped()))
    _, body = fetch(stored)
    different = [(a, b) for a, b in zip(body, DATA, strict=True) if a != b]
    assert len(different) == 1
    assert different[0][0] ^ different[0][1] == 1


def test_the_whole_object_or_another_range(stored: FaultyBucket) -> None:
    stored.add(Fault(faults.whole_object()))
    stored.add(Fault(faults.other_range(7, 17)))
    assert fetch(stored, ranged="bytes=0-9") == (200, DATA)
    assert fetch(stored, ranged="bytes=0-9") == (206, DATA[7:17])


def test_stalls_before_the_answer_and_within(stored: FaultyBucket) -> None:
    url = f"{stored.endpoint}/storage/v1/b/{stored.name}/o/a?alt=media"
    stored.add(Fault(faults.stalled()))
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(url, timeout=0.5)
    stored.add(Fault(faults.stalled(num_bytes=100)))
    with urllib.request.urlopen(url, timeout=2) as reply:
        assert reply.read(100) == DATA[:100]
        with pytest.raises(TimeoutError):
            reply.read()


def test_slow_answers_are_right(stored: FaultyBucket) -> None:
    for action in (faults.delayed(0.3), faults.throttled(len(DATA) / 0.3)):
        stored.add(Fault(action))
        start = time.monotonic()
        assert fetch(stored) == (200, DATA)
        assert time.monotonic() - start >= 0.3
