"""What copies left that were given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from embsnap.formats.copy_claim import CLAIM_LOCATION, CopyClaim
from embsnap.model.collection import LeftoverKind
from embsnap.ops.copy import CopyOptions, plan_copy, write_copy
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import write_arrays
from tests.unit.ops.collecting.leftovers import DAY_S, ROWS, Stop, age, collect, names, put


@pytest.fixture
def given_up(tmp_path: Path) -> Path:
    """A copy of a snapshot that torchsnapshot wrote, stopped two days ago, with one object there."""
    builder = SnapshotBuilder(batched=False)
    builder.tensor("model/a", ROWS)
    builder.tensor("model/b", ROWS)
    source = builder.write(tmp_path / "source")
    with pytest.raises(KeyboardInterrupt):
        write_copy(plan_copy(str(source), str(tmp_path / "copy"), CopyOptions()), progress=Stop())
    target = tmp_path / "copy" / "0" / "model" / "a"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(ROWS.tobytes())
    age(tmp_path / "copy", 2 * DAY_S)
    return tmp_path / "copy"


def test_a_copy_that_was_given_up_goes(given_up) -> None:
    put(given_up, ["0/model/c"])
    result = collect(given_up)
    assert [(each.kind, each.num_objects) for each in result.leftovers] == [(LeftoverKind.COPY, 2)]
    assert names(given_up) == {"0/model/c"}


def test_a_copy_that_goes_on_is_kept(given_up) -> None:
    put(given_up, ["0/model/b"], age_s=60)
    (given_up / "0" / "model" / "b").write_bytes(ROWS.tobytes())
    before = names(given_up)
    assert [each.collected for each in collect(given_up).leftovers] == [False]
    assert names(given_up) == before


def test_objects_of_another_size_than_the_copy_wrote_are_kept(given_up) -> None:
    (given_up / "0" / "model" / "a").write_bytes(b"somebody else's by now")
    age(given_up, 2 * DAY_S)
    collect(given_up)
    assert names(given_up) == {"0/model/a"}


def test_the_claim_of_a_copy_that_was_committed_goes_alone(tmp_path) -> None:
    """Its process was killed between the commit and the end."""
    write_arrays(str(tmp_path / "source"), {"user": ROWS})
    plan = plan_copy(str(tmp_path / "source"), str(tmp_path / "copy"))
    write_copy(plan)
    claim = {each.target: each.info.size for each in plan.objects}
    (tmp_path / "copy" / CLAIM_LOCATION).write_bytes(CopyClaim(plan.source.digest, claim).to_bytes())
    age(tmp_path / "copy", 2 * DAY_S)
    result = collect(tmp_path / "copy")
    assert [(each.kind, each.num_objects) for each in result.leftovers] == [(LeftoverKind.COPY, 1)]
    assert names(tmp_path / "copy") == names(tmp_path / "source")
