"""Locations that no file system takes are findings of their own object, and end nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embsnap.testing.corruptors import edit_entry
from embsnap.testing.snapshots import SnapshotBuilder

PATH = "model/ebc.embedding_bags.user.weight"


@pytest.mark.parametrize("location", ["x" * 300, "x/" * 4000 + "y", "größe" * 60], ids=["name", "path", "utf-8"])
def test_a_name_too_long_is_a_missing_object(embsnap, tmp_path, location) -> None:
    builder = SnapshotBuilder()
    builder.tensor(PATH, np.ones((3, 2), np.float32))
    builder.tensor("model/bias", np.ones(3, np.float32))
    root = builder.write(tmp_path)
    edit_entry(root, "0/model/bias", lambda entry: entry.update(location=location))
    run = embsnap("verify", root, "--json")
    assert run.exit_code == 1
    found = {level["level"]: level for level in json.loads(run.stdout)["levels"]}
    assert [finding["kind"] for finding in found["bytes"]["findings"]] == ["missing-object"]
    assert found["values"]["num_checked"] == 6
    assert embsnap("verify", root, "--level", "geometry").exit_code == 0
