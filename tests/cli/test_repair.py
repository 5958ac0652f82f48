"""`embsnap verify --repair`: bit for bit what was written, at a new place, or nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from embsnap.testing.corruptors import edit_entry, flip_bit, object_of, truncate
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import write_arrays

PATH = "model/ebc.embedding_bags.user.weight"
ROWS = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A snapshot of embsnap's own, with checksums."""
    write_arrays(f"{tmp_path}/sound", {"user": ROWS, "post": ROWS[:20]})
    return tmp_path / "sound"


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A copy of it with one flipped bit."""
    root = shutil.copytree(sound, tmp_path / "damaged")
    flip_bit(object_of(root, f"0/{PATH}"), 100)
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_is_repaired_is_what_was_written(embsnap, sound, damaged, tmp_path) -> None:
    before, out = (tree(sound), tree(damaged)), tmp_path / "out"
    dry = embsnap("verify", damaged, "--repair", "--from", sound, "--out", out, "--dry-run")
    assert (dry.exit_code, out.exists()) == (0, False)
    run = embsnap("verify", damaged, "--repair", "--from", sound, "--out", out, "--json")
    assert run.exit_code == 0, run.stderr
    found = json.loads(run.stdout)
    (mended,) = found["mended"]
    assert mended["location"] == str(object_of(sound, f"0/{PATH}").relative_to(sound))
    assert mended["source"] == f"{sound}/{mended['location']}"
    assert "has the crc32c" in mended["problem"]
    assert tree(out) == tree(sound)
    assert (tree(sound), tree(damaged)) == before
    assert embsnap("verify", out, "--level", "values").exit_code == 0


@pytest.mark.parametrize("harm", ["truncated", "missing", "sidecar"])
def test_other_damage(embsnap, sound, tmp_path, harm) -> None:
    root, out = shutil.copytree(sound, tmp_path / "damaged"), tmp_path / "out"
    if harm == "sidecar":
        (sidecar,) = (root / ".embsnap").iterdir()
        sidecar.write_text("{")
    elif harm == "missing":
        object_of(root, f"0/{PATH}").unlink()
    else:
        truncate(object_of(root, f"0/{PATH}"), 3)
    run = embsnap("verify", root, "--repair", "--from", sound, "--out", out)
    assert run.exit_code == 0, run.stderr
    assert tree(out) == tree(sound)


def test_a_snapshot_without_checksums_takes_objects_of_the_same_snapshot_only(embsnap, tmp_path) -> None:
    for name, factor in (("sound", 1), ("other", 2)):
        builder = SnapshotBuilder(batched=False)
        builder.tensor(PATH, ROWS * factor)
        builder.value("extra_state/step", factor)
        builder.write(tmp_path / name)
    damaged = shutil.copytree(tmp_path / "sound", tmp_path / "damaged")
    object_of(damaged, f"0/{PATH}").unlink()
    out = tmp_path / "out"
    refused = embsnap("verify", damaged, "--repair", "--from", tmp_path / "other", "--out", out)
    assert (refused.exit_code, out.exists()) == (4, False)
    run = embsnap("verify", damaged, "--repair", "--from", tmp_path / "sound", "--out", out)
    assert run.exit_code == 0, run.stderr
    assert tree(out) == tree(tmp_path / "sound")


def test_a_donor_of_another_day_is_refused_and_the_damage_is_listed(embsnap, damaged, tmp_path) -> None:
    write_arrays(f"{tmp_path}/tuesday", {"user": ROWS + 1, "post": ROWS[:20]})
    for donor in ([], ["--from", tmp_path / "tuesday"]):
        run = embsnap("verify", damaged, "--repair", "--out", tmp_path / "out", "--json", *donor)
        error = json.loads(run.stderr)
        assert (run.exit_code, error["kind"]) == (4, "unrepairable")
        assert str(object_of(damaged, f"0/{PATH}").relative_to(damaged)) in error["found"]
    assert not (tmp_path / "out").exists()


def test_a_wrong_manifest_is_not_repaired(embsnap, sound, damaged, tmp_path) -> None:
    edit_entry(damaged, f"0/{PATH}", lambda entry: entry["shards"][0].update(offsets=[5, 0]))
    run = embsnap("verify", damaged, "--repair", "--from", sound, "--out", tmp_path / "out")
    assert (run.exit_code, (tmp_path / "out").exists()) == (4, False)
    assert "cannot be repaired" in run.stderr


def test_it_never_writes_to_what_is_there(embsnap, sound, damaged) -> None:
    before = tree(damaged)
    for out in (damaged, sound):
        assert embsnap("verify", damaged, "--repair", "--from", sound, "--out", out).exit_code in (2, 7)
    assert embsnap("verify", damaged, "--repair", "--from", sound).exit_code == 2
    assert embsnap("verify", damaged, "--out", "x").exit_code == 2
    assert embsnap("verify", damaged, "--repair", "--out", "x", "--level", "bytes").exit_code == 2
    assert embsnap("verify", sound, "--repair", "--from", sound, "--out", "x").exit_code == 2
    assert tree(damaged) == before


def test_in_a_bucket(embsnap, sound, damaged, gcs) -> None:
    uri, donor = gcs.upload(damaged, "damaged"), gcs.upload(sound, "sound")
    run = embsnap("verify", uri, "--repair", "--from", donor, "--out", gcs.uri("out"))
    assert run.exit_code == 0, run.stderr
    assert [gcs.get(f"out/{name}") for name in tree(sound)] == list(tree(sound).values())
