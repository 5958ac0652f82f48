"""`embsnap verify` in a bucket: the server's own checksums stand in where a snapshot has no sidecar."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import write_arrays
from tests.servers import faults
from tests.servers.fault_proxy import Fault
from tests.servers.gcs import FaultyBucket

PATH = "model/ebc.embedding_bags.user.weight"
ROWS = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A snapshot as torchsnapshot writes it: without a checksum."""
    builder = SnapshotBuilder(world_size=2, batched=False)
    builder.sharded(PATH, ROWS, row_shards(ROWS.shape, 2))
    return builder.write(tmp_path / "foreign")


def verified(embsnap: Callable[..., Any], uri: str, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and the levels by name."""
    run = embsnap("verify", uri, "--json", *more)
    return run.exit_code, {level["level"]: level for level in json.loads(run.stdout)["levels"]}


def test_a_foreign_snapshot_is_compared_with_the_server_s_sums(embsnap, foreign, gcs) -> None:
    assert verified(embsnap, str(foreign))[1]["checksums"]["outcome"] == "skipped"
    exit_code, levels = verified(embsnap, gcs.upload(foreign, "run"), "--level", "checksums")
    assert (exit_code, levels["checksums"]["outcome"]) == (0, "passed")
    assert levels["checksums"]["num_checked"] == 2


def test_bytes_that_change_on_their_way_are_never_taken_for_those_of_the_snapshot(
    embsnap, foreign, gcs_proxy: FaultyBucket
) -> None:
    uri = gcs_proxy.upload(foreign, "run")
    name = f"run/sharded/{PATH}_100_0"
    gcs_proxy.add(Fault(faults.flipped(), method="GET", path=re.escape(name) + r".*alt=media", times=None))
    run = embsnap("verify", uri, "--json")
    error = json.loads(run.stderr)
    assert (run.exit_code, run.stdout) == (6, "")
    assert (error["kind"], error["where"]) == ("corrupt-transfer", gcs_proxy.uri(name))


def test_a_sidecar_is_written_beside_it_and_only_once(embsnap, foreign, gcs) -> None:
    uri = gcs.upload(foreign, "run")
    assert embsnap("verify", uri, "--write-checksums").exit_code == 0
    (sidecar,) = gcs.names("run/.embsnap/")
    damaged = bytearray(gcs.get(f"run/sharded/{PATH}_0_0"))
    damaged[7] ^= 1
    gcs.put(f"run/sharded/{PATH}_0_0", bytes(damaged))  # the server's sum is that of the damaged bytes
    exit_code, levels = verified(embsnap, uri)
    assert exit_code == 1
    assert [finding["kind"] for finding in levels["checksums"]["findings"]] == ["checksum-mismatch"]
    assert embsnap("verify", uri, "--write-checksums").exit_code == 7
    assert gcs.names("run/.embsnap/") == [sidecar]


def test_a_missing_and_a_short_object(embsnap, tmp_path: Path, gcs) -> None:
    write_arrays(f"{tmp_path}/new", {"user": ROWS, "post": ROWS})
    uri = gcs.upload(tmp_path / "new", "run")
    (name,) = [each for each in gcs.names("run/embsnap/") if not each.endswith("run.json")]
    gcs.put(name, gcs.get(name)[:-1])
    exit_code, levels = verified(embsnap, uri)
    assert (exit_code, levels["bytes"]["outcome"]) == (1, "failed")
    gcs.delete(name)
    exit_code, levels = verified(embsnap, uri)
    assert exit_code == 1
    assert [finding["kind"] for finding in levels["bytes"]["findings"]] == ["missing-object"]
