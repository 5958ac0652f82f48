"""Metadata files that are hostile, huge, broken, or no metadata at all."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError
from embsnap.formats.torchsnapshot import metadata, yaml_metadata
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.testing.snapshots import SnapshotBuilder

HEAD = '"version": "0.1.0", "world_size": 1'


def put(root, data):
    (root / ".snapshot_metadata").write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(root)


def refused(root, data):
    started = time.monotonic()
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(put(root, data))
    error = caught.value
    assert time.monotonic() - started < 5
    assert str(root) in str(error)
    return error


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"  \n ",
        b"\xff\xfe{}",
        b"\x00" * 100,
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"just words",
        f"{{{HEAD}}}",
        f'{{{HEAD}, "manifest": []}}',
        f'{{{HEAD}, "manifest": {{"model": {{}}}}}}',
        f'{{{HEAD}, "manifest": {{"-1/model": {{}}}}}}',
        f'{{{HEAD}, "manifest": {{"1/model": {{}}}}}}',
        f'{{{HEAD}, "manifest": {{"0/model": 3}}}}',
        f'{{{HEAD}, "manifest": {{"0/a": {{}}, "0/a": {{}}}}}}',
        f'{{{HEAD}, "manifest": {{"0/a": {{"type": "int", "type": "str"}}}}}}',
        f'{{{HEAD}, "manifest": {{"0/a": {{"x": NaN}}}}}}',
        '{"version": 1, "world_size": 1, "manifest": {}}',
        '{"world_size": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_metadata(tmp_path, data):
    assert refused(tmp_path, data).kind is ErrorKind.BAD_METADATA


@pytest.mark.parametrize("opening", ['{"a": ', "[", "{", "- ", "a: ["])
def test_200_kb_of_nesting(tmp_path, opening):
    assert refused(tmp_path, opening * (200_000 // len(opening))).kind is ErrorKind.BAD_METADATA


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: &x 1",
        "a: !!python/object/apply:os.system ['true']",
        "a: !!binary AAAA",
        "a: 1\na: 2",
        "a: {<<: {b: 1}}",
        "? [a]\n: 1",
        "--- 1\n--- 2",
        "a: 'x",
        "\t- 1",
    ],
)
def test_yaml_beyond_plain_values(tmp_path, text):
    error = refused(tmp_path, text)
    assert (error.kind, error.problem) == (ErrorKind.BAD_METADATA, "is neither JSON nor plain YAML")


def test_a_yaml_bomb(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join(['*' + last] * 9)}]" for last, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    assert refused(tmp_path, "\n".join(lines)).kind is ErrorKind.BAD_METADATA


def test_metadata_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("embsnap.formats.torchsnapshot.snapshot.MAX_METADATA_BYTES", 100)
    error = refused(tmp_path, b" " * 101)
    assert (error.kind, error.found) == (ErrorKind.METADATA_TOO_LARGE, "101 bytes")
    assert metadata.MAX_METADATA_BYTES == 1 << 30


def test_yaml_beyond_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(yaml_metadata, "MAX_YAML_BYTES", 100)
    assert refused(tmp_path, "a" * 101).kind is ErrorKind.METADATA_TOO_LARGE


def test_100_000_entries(tmp_path):
    entries = {
        f"0/extra_state/{i}": {"type": "int", "serialized_value": "1", "replicated": False} for i in range(100_000)
    }
    entries["0/extra_state"] = {"type": "dict", "keys": [str(i) for i in range(100_000)]}
    started = time.monotonic()
    root = put(tmp_path, json.dumps({"version": "0.1.0", "world_size": 1, "manifest": entries}))
    snapshot = open_snapshot(root)
    assert (len(snapshot.manifest.entries), snapshot.findings) == (100_001, ())
    assert time.monotonic() - started < 20


def test_a_table_of_20_000_shards(tmp_path):
    path = "model/ebc.embedding_bags.user.weight"
    tensor = {"type": "Tensor", "location": "batched/0", "serializer": "buffer_protocol", "dtype": "torch.float32"}
    shards = [
        {
            "offsets": [row, column],
            "sizes": [1, 2],
            "tensor": {**tensor, "shape": [1, 2], "replicated": False, "byte_range": [at, at + 8]},
        }
        for at, (row, column) in zip(range(0, 160_000, 8), np.ndindex(100, 200), strict=True)
    ]
    for shard in shards:
        shard["offsets"][1] *= 2
    started = time.monotonic()
    manifest = {f"0/{path}": {"type": "ShardedTensor", "shards": shards}}
    snapshot = open_snapshot(put(tmp_path, json.dumps({"version": "0.1.0", "world_size": 1, "manifest": manifest})))
    assert snapshot.table("user").weight.shape == (100, 400)
    assert time.monotonic() - started < 10


def test_an_emoji_in_a_key(tmp_path):
    """torchsnapshot cannot read what it wrote here; a JSON parser can."""
    builder = SnapshotBuilder()
    builder.tensor("model/ebc.embedding_bags.user😀.weight", np.ones((2, 3), np.float32))
    builder.value("extra_state/🚀", "💥")
    snapshot = open_snapshot(str(builder.write(tmp_path)))
    assert snapshot.table("user😀").num_embeddings == 2
    assert snapshot.value("extra_state/🚀") == "💥"
    assert snapshot.findings == ()


def test_a_table_that_is_missing(tmp_path):
    builder = SnapshotBuilder()
    for name in ("user", "user_v2", "post"):
        builder.tensor(f"model/ebc.embedding_bags.{name}.weight", np.ones((2, 3), np.float32))
    snapshot = open_snapshot(str(builder.write(tmp_path)))
    with pytest.raises(NotFoundError) as caught:
        snapshot.table("usr")
    error = caught.value
    assert (error.kind, error.expected) == (ErrorKind.NO_SUCH_TABLE, "one of post, user, user_v2")
    assert error.hint == "did you mean user or user_v2?"


def test_a_table_that_is_ambiguous(tmp_path):
    builder = SnapshotBuilder()
    for tower in ("query", "item"):
        builder.tensor(f"model/{tower}.embedding_bags.user.weight", np.ones((2, 3), np.float32))
    snapshot = open_snapshot(str(builder.write(tmp_path)))
    with pytest.raises(NotFoundError) as caught:
        snapshot.table("user")
    error = caught.value
    assert error.kind is ErrorKind.AMBIGUOUS_TABLE
    assert error.found == "model/query.embedding_bags.user.weight, model/item.embedding_bags.user.weight"
    assert snapshot.table("item.embedding_bags.user.weight").weight.path == "model/item.embedding_bags.user.weight"
