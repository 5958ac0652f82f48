from __future__ import annotations

import hashlib
import json

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.formats.sidecar import Sidecar, TableVocabulary, parse_sidecar, sidecar_location
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.testing.corruptors import edit_entry, edit_metadata, flip_bit, object_of, truncate
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import write_arrays

PATH = "model/ebc.embedding_bags.user.weight"
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
LEVELS = ["committed", "structure", "geometry", "bytes", "checksums", "values", "vocab"]


def write_vocabulary(uri, ids, rows):
    pq.write_table(pa.table({"id": ids, "row": rows}), uri)


@pytest.fixture
def root(tmp_path):
    """A foreign snapshot: a row-wise table with state, a list, a pickle; no sidecar."""
    builder = SnapshotBuilder(world_size=2)
    table = np.arange(1, 401, dtype=np.float32).reshape(100, 4)
    builder.sharded(PATH, table, row_shards(table.shape, 2))
    builder.sharded(STATE, table[:, 0].copy(), row_shards((100,), 2))
    builder.tensor("model/dense.bias", np.zeros(3, np.float32))
    builder.opaque("optimizer/betas", b"pickle")
    builder.value("extra_state/step", 12)
    return builder.write(tmp_path / "snapshot")


@pytest.fixture
def ours(tmp_path):
    """A snapshot that embsnap wrote, with its sidecar."""
    root = tmp_path / "ours"
    write_arrays(str(root), {"user": np.arange(1, 4001, dtype=np.float32).reshape(1000, 4)})
    return root


@pytest.fixture
def verified(embsnap):
    """Runs the command with `--json`."""

    def run(root, *arguments):
        done = embsnap("verify", root, "--json", *arguments)
        found = json.loads(done.stdout)
        kinds = {
            each["level"]: sorted({f["kind"] for f in each["findings"] if f["severity"] != "note"})
            for each in found["levels"]
        }
        outcomes = {each["level"]: each["outcome"] for each in found["levels"]}
        assert found["ok"] == (done.exit_code == 0) == ("failed" not in outcomes.values())
        return done.exit_code, outcomes, {level: names for level, names in kinds.items() if names}, found

    return run


def test_a_sound_snapshot(embsnap, root):
    run = embsnap("verify", root)
    lines = run.stdout.splitlines()
    assert run.exit_code == 0
    assert lines[:8] == [
        f"snapshot: {root}",
        "  committed  passed: 1 metadata file",
        "  structure  passed: 16 entries",
        "  geometry   passed: 3 arrays",
        "  bytes      passed: 2 objects",
        "  checksums  skipped: neither a sidecar nor the storage has sums to compare with; "
        "--write-checksums adds a sidecar",
        "  values     passed: 503 values",
        "  vocab      skipped: no vocabulary was given; --vocab TABLE=URI names one",
    ]
    assert lines[-1].startswith("sound: 0 errors, 0 warnings, 1 note; 2.0 KiB read in ")


def test_what_embsnap_wrote_passes_checksums_too(verified, ours):
    exit_code, outcomes, kinds, found = verified(ours)
    assert (exit_code, kinds) == (0, {})
    assert outcomes == {**dict.fromkeys(LEVELS, "passed"), "vocab": "skipped"}
    assert found["num_bytes_read"] == 16_000


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_includes_those_before_it(verified, root, level):
    exit_code, outcomes, _, found = verified(root, "--level", level)
    assert list(outcomes) == LEVELS[: LEVELS.index(level) + 1]
    assert found["demanded"] == level
    assert exit_code == (1 if level in ("checksums", "vocab") else 0)


def test_levels_before_bytes_touch_no_object(verified, root):
    object_of(root, f"0/{PATH}").unlink()
    assert verified(root, "--level", "geometry")[0] == 0
    assert verified(root, "--level", "bytes")[0] == 1


def drop_key(root, container, key):
    edit_entry(root, container, lambda entry: entry["keys"].remove(key))


def point_elsewhere(root, path, **changes):
    edit_entry(root, path, lambda entry: entry.update(changes))


def overlap(root):
    edit_entry(root, f"1/{PATH}", lambda entry: entry["shards"][0]["tensor"].update(byte_range=[10, 810]))


DAMAGES = {
    "an entry its container does not name": (
        lambda root: drop_key(root, "0/model", "dense.bias"),
        ("structure", "unlisted-entry"),
    ),
    "an entry without its container": (
        lambda root: edit_metadata(root, lambda fields: fields["manifest"].pop("0/optimizer/state")),
        ("structure", "missing-entry", "unlisted-entry"),
    ),
    "a name without its entry": (
        lambda root: edit_metadata(root, lambda fields: fields["manifest"].pop("0/extra_state/step")),
        ("structure", "missing-entry"),
    ),
    "an unknown type": (
        lambda root: point_elsewhere(root, "0/extra_state/step", type="Hologram"),
        ("structure", "unknown-entry"),
    ),
    "keys that collide": (
        lambda root: edit_entry(root, "0/extra_state", lambda entry: entry.update(keys=["step", 1, "1"])),
        ("structure", "colliding-keys", "missing-entry"),
    ),
    "a gap": (
        lambda root: edit_entry(root, f"1/{PATH}", lambda entry: entry["shards"][0].update(offsets=[51, 0])),
        ("geometry", "bad-cover"),
    ),
    "an overlap of an array that is no table": (
        lambda root: point_elsewhere(root, "0/model/dense.bias", shape=[4]),
        ("geometry", "bad-entry"),
    ),
    "an object outside": (
        lambda root: point_elsewhere(root, "0/model/dense.bias", location="../secret"),
        ("geometry", "unsafe-location"),
    ),
    "a missing object": (lambda root: object_of(root, f"0/{PATH}").unlink(), ("bytes", "missing-object")),
    "a missing pickle": (lambda root: (root / "0/optimizer/betas").unlink(), ("bytes", "missing-object")),
    "an empty pickle": (lambda root: (root / "0/optimizer/betas").write_bytes(b""), ("bytes", "short-object")),
    "a truncated object": (lambda root: truncate(object_of(root, f"0/{PATH}"), 1), ("bytes", "short-object")),
    "ranges that overlap": (overlap, ("bytes", "overlapping-bytes")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_is_found_at_its_level(verified, root, damage):
    harm, (level, *expected) = DAMAGES[damage]
    harm(root)
    exit_code, outcomes, kinds, _ = verified(root)
    assert exit_code == 1
    assert outcomes[level] == "failed"
    assert kinds[level] == expected


def test_a_list_with_a_hole(verified, tmp_path):
    builder = SnapshotBuilder()
    for index in (0, 2):
        builder.value(f"extra_state/steps/{index}", index)
    root = builder.write(tmp_path / "snapshot")
    edit_metadata(root, lambda fields: fields["manifest"].update({"0/extra_state/steps": {"type": "list"}}))
    assert verified(root)[2] == {"structure": ["missing-entry"]}


def test_an_odd_number_of_bfloat16_values(verified, tmp_path):
    """torchsnapshot writes two bytes too few."""
    builder = SnapshotBuilder(batched=False)
    builder.tensor(PATH, np.ones((3, 1), ml_dtypes.bfloat16))
    root = builder.write(tmp_path / "snapshot")
    truncate(object_of(root, f"0/{PATH}"), 2)
    exit_code, _, kinds, found = verified(root)
    assert (exit_code, kinds) == (1, {"bytes": ["short-object"]})
    assert "bfloat16" in found["levels"][3]["findings"][0]["remedy"]


def test_two_entries_that_are_the_same_object(verified, tmp_path):
    """Chunk 0 of `w` and the tensor `w_0` get one name from torchsnapshot: one overwrites the other."""
    builder = SnapshotBuilder(batched=False)
    builder.chunked("model/w", np.ones((4, 1), np.float32), num_rows=4)
    builder.tensor("model/w_0_0", np.full((4, 1), 2, np.float32))
    assert verified(builder.write(tmp_path / "snapshot"))[2] == {"bytes": ["shared-bytes"]}


@pytest.mark.parametrize("place", [0, 15_999])
def test_a_flipped_bit(verified, ours, place):
    flip_bit(object_of(ours, f"0/{PATH}"), place)
    exit_code, _, kinds, found = verified(ours)
    assert (exit_code, kinds) == (1, {"checksums": ["checksum-mismatch"]})
    (finding,) = found["levels"][4]["findings"]
    assert finding["place"] == str(object_of(ours, f"0/{PATH}"))
    assert "1 of 1 blocks changed; the first has the bytes [0, 16000)" in finding["message"]
    assert repr(PATH) in finding["message"]


def test_an_object_that_has_grown(verified, ours):
    file = object_of(ours, f"0/{PATH}")
    file.write_bytes(file.read_bytes() + b"x")
    assert verified(ours)[2] == {"checksums": ["checksum-mismatch"]}


def test_an_object_that_the_sidecar_does_not_know(verified, ours):
    file = ours / sidecar_location((ours / ".snapshot_metadata").read_bytes())
    fields = json.loads(file.read_text())
    fields["objects"] = {"other": next(iter(fields["objects"].values()))}
    file.write_text(json.dumps(fields))
    assert verified(ours)[2] == {"checksums": ["no-checksum"]}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(verified, tmp_path, dtype, value):
    table = np.ones((100, 3), dtype)
    table[70, 2] = table[99, 0] = value
    builder = SnapshotBuilder(world_size=2)
    builder.value("extra_state/x", b"\0")
    builder.tensor("model/odd", np.zeros(3, np.int8))
    builder.sharded(PATH, table, row_shards(table.shape, 2))
    exit_code, _, kinds, found = verified(builder.write(tmp_path / "snapshot"))
    assert (exit_code, kinds) == (1, {"values": ["non-finite"]})
    (finding,) = found["levels"][5]["findings"]
    assert (finding["count"], finding["place"], finding["examples"]) == (2, PATH, ["element [70, 2]"])
    assert finding["message"] == "2 of 300 values are infinite or not a number"


def test_the_largest_finite_values_are_numbers(verified, tmp_path):
    builder = SnapshotBuilder()
    for dtype in ("float16", "float32", "float64", ml_dtypes.bfloat16):
        limits = ml_dtypes.finfo(dtype)
        builder.tensor(f"model/{np.dtype(dtype)}", np.array([limits.max, limits.min, limits.smallest_subnormal], dtype))
    assert verified(builder.write(tmp_path / "snapshot"))[0] == 0


def test_a_table_of_zeros(verified, tmp_path):
    builder = SnapshotBuilder()
    builder.tensor(PATH, np.full((5, 2), -0.0, np.float32))
    builder.tensor("model/ebc.embedding_bags.post.weight", np.array([[0, 0], [0, 1e-45]], np.float32))
    exit_code, _, kinds, found = verified(builder.write(tmp_path / "snapshot"))
    assert (exit_code, kinds) == (1, {"values": ["all-zero"]})
    assert [finding["place"] for finding in found["levels"][5]["findings"]] == [f"0/{PATH}"]


def test_a_sample_of_the_values(embsnap, verified, tmp_path):
    rows = np.ones((6 << 20, 1), np.float32)
    rows[-1] = np.nan
    write_arrays(str(tmp_path / "snapshot"), {"user": rows})
    (sidecar,) = (tmp_path / "snapshot" / ".embsnap").iterdir()
    sidecar.unlink()
    assert verified(tmp_path / "snapshot")[2] == {"values": ["non-finite"]}
    exit_code, _, _, found = verified(tmp_path / "snapshot", "--sample", "0.5")
    assert exit_code == 0
    assert (found["levels"][5]["num_checked"], found["num_bytes_read"]) == (3 << 20, 12 << 20)
    assert found["levels"][5]["reason"] == "a sample of 50 % of the blocks"
    assert embsnap("verify", tmp_path / "snapshot", "--sample", "0").exit_code == 2


def test_an_empty_manifest_is_a_failure(verified, tmp_path):
    exit_code, outcomes, kinds, _ = verified(SnapshotBuilder().write(tmp_path / "snapshot"))
    assert (exit_code, kinds) == (1, {"structure": ["empty-manifest", "silent-rank"]})
    assert outcomes["values"] == "skipped"


def test_a_demanded_level_with_nothing_to_check_is_a_failure(verified, tmp_path):
    builder = SnapshotBuilder()
    builder.value("extra_state/step", 3)
    root = builder.write(tmp_path / "snapshot")
    assert verified(root)[0] == 0
    exit_code, outcomes, _, found = verified(root, "--level", "values")
    assert (exit_code, outcomes["values"]) == (1, "failed")
    assert found["levels"][5]["reason"] == "there are no values to check"


def test_checksums_for_a_foreign_snapshot(embsnap, verified, root):
    before = (root / ".snapshot_metadata").read_bytes()
    run = embsnap("verify", root, "--write-checksums")
    file = root / sidecar_location(before)
    assert run.exit_code == 0
    assert f"checksums written: {file}" in run.stdout
    assert (root / ".snapshot_metadata").read_bytes() == before
    assert parse_sidecar(file.read_bytes()).objects.keys() == {
        "0/optimizer/betas",
        "batched/" + object_of(root, f"0/{PATH}").name,
    }
    assert verified(root)[1]["checksums"] == "passed"
    flip_bit(object_of(root, f"0/{PATH}"), 5)
    assert verified(root)[2] == {"checksums": ["checksum-mismatch"]}
    assert embsnap("verify", root, "--write-checksums").exit_code == 7


def test_no_checksums_for_what_is_damaged(embsnap, root):
    truncate(object_of(root, f"0/{PATH}"), 1)
    assert embsnap("verify", root, "--write-checksums").exit_code == 1
    assert not (root / ".embsnap").exists()


def test_a_sidecar_of_other_metadata(verified, ours):
    metadata = (ours / ".snapshot_metadata").read_bytes()
    (file,) = (ours / ".embsnap").iterdir()
    changed = metadata.replace(b'"world_size": 1', b'"world_size":  1')
    (ours / ".snapshot_metadata").write_bytes(changed)
    file.rename(ours / sidecar_location(changed))
    exit_code, outcomes, kinds, _ = verified(ours)
    assert (exit_code, kinds) == (1, {"committed": ["sidecar-ignored"]})
    assert outcomes["checksums"] == "skipped"


@pytest.fixture
def vocabulary(tmp_path):
    uri = str(tmp_path / "user.parquet")
    write_vocabulary(uri, np.arange(100) * 7, np.arange(100))
    return uri


def record(root, uri):
    metadata = (root / ".snapshot_metadata").read_bytes()
    tables = {"user": TableVocabulary(uri, fingerprint_of(read_vocabulary(uri)))}
    objects = {}
    sidecar = Sidecar(hashlib.sha256(metadata).hexdigest(), "test", "2024-01-01T00:00:00+00:00", objects, tables)
    file = root / sidecar_location(metadata)
    file.parent.mkdir()
    file.write_bytes(sidecar.to_bytes())


def test_a_vocabulary(verified, root, vocabulary):
    exit_code, outcomes, kinds, found = verified(root, "--vocab", f"user={vocabulary}")
    assert (exit_code, outcomes["vocab"], kinds) == (0, "passed", {})
    assert found["levels"][6]["num_checked"] == 100
    record(root, vocabulary)
    assert verified(root, "--level", "vocab")[3]["levels"][6]["reason"].endswith(f"--vocab user={vocabulary}")
    assert verified(root, "--vocab", f"user={vocabulary}")[0] == 0


@pytest.mark.parametrize(
    ("ids", "rows", "kind"),
    [
        ([1, 2, 2], [0, 1, 2], "duplicate-ids"),
        ([1, 2, 3], [0, 1, 1], "duplicate-rows"),
        ([1, 2, 3], [0, 1, 100], "row-out-of-range"),
    ],
)
def test_a_vocabulary_that_does_not_fit(verified, root, tmp_path, ids, rows, kind):
    write_vocabulary(str(tmp_path / "bad"), np.array(ids), np.array(rows))
    exit_code, _, kinds, _ = verified(root, "--vocab", f"user={tmp_path / 'bad'}")
    assert (exit_code, kinds) == (1, {"vocab": [kind]})


def test_rows_without_an_entity_are_no_reason_to_fail(verified, root, tmp_path):
    write_vocabulary(str(tmp_path / "gaps"), np.array([5, 6]), np.array([0, 50]))
    assert verified(root, "--vocab", f"user={tmp_path / 'gaps'}")[0] == 0


def test_another_vocabulary_than_the_recorded_one(verified, root, vocabulary, tmp_path):
    record(root, vocabulary)
    write_vocabulary(str(tmp_path / "other"), np.arange(100) * 8, np.arange(100))
    assert verified(root, "--vocab", f"user={tmp_path / 'other'}")[2]["vocab"] == ["vocabulary-mismatch"]


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--level", "geometry", "--vocab", "user=/nowhere"], 2),
        (["--level", "bytes", "--write-checksums"], 2),
        (["--level", "everything"], 2),
        (["--vocab", "nobody=/nowhere"], 3),
        (["--vocab", "user=/nowhere"], 3),
    ],
)
def test_what_cannot_be_asked(embsnap, root, arguments, exit_code):
    assert embsnap("verify", root, *arguments).exit_code == exit_code


def test_what_is_no_snapshot(embsnap, root, tmp_path):
    assert embsnap("verify", tmp_path / "nothing").exit_code == 3
    (root / ".snapshot_metadata").unlink()
    assert embsnap("verify", root).exit_code == 4


def test_pickles_are_never_opened(embsnap, root, tmp_path):
    """A pickle that would leave a file behind."""
    canary = tmp_path / "canary"
    code = f"cos\nsystem\n(S'touch {canary}'\ntR."
    (root / "0/optimizer/betas").write_bytes(code.encode())
    assert embsnap("verify", root).exit_code == 0
    assert embsnap("inspect", root).exit_code == 0
    assert not canary.exists()


def test_more_findings_than_anyone_reads(verified, tmp_path):
    builder = SnapshotBuilder(batched=False)
    for number in range(60):
        builder.tensor(f"model/t{number:02}", np.ones(3, np.float32))
    root = builder.write(tmp_path / "snapshot")
    for file in (root / "0" / "model").iterdir():
        file.unlink()
    (*first, last) = verified(root)[3]["levels"][3]["findings"]
    assert len(first) == 20
    assert (last["message"], last["count"]) == ("40 more of this kind", 40)


def test_the_same_without_mapped_objects(monkeypatch, ours):
    """Storage that cannot map is read by ranges: the same is found, each byte once."""
    from embsnap.ops.verify import verify as module
    from embsnap.storage.local import LocalStore
    from embsnap.storage.wrappers import CountingStore

    store = CountingStore(LocalStore(str(ours)), maps=False)

    def opened(uri, **settings):
        snapshot = open_snapshot(uri, **settings)
        snapshot.store = store
        return snapshot

    monkeypatch.setattr(module, "open_snapshot", opened)
    assert module.verify(str(ours)).ok
    assert sum(count for name, count in store.bytes_read.items() if "embsnap/" in name) == 16_000


def test_metadata_that_changed_lose_their_sidecar_which_is_noticed(verified, ours):
    """A sidecar is found by the digest of the metadata; here one digit of a number changes."""
    metadata = ours / ".snapshot_metadata"
    metadata.write_bytes(metadata.read_bytes().replace(b'"version": "0.1.0"', b'"version": "0.1.1"'))
    exit_code, outcomes, kinds, _ = verified(ours)
    assert (exit_code, kinds) == (1, {"committed": ["sidecar-ignored"]})
    assert outcomes["checksums"] == "skipped"
