"""What the pages under test show: a run of three steps, vocabularies with counts, coverage, a warm start.

run/10, run/20, run/30   tables of four ranks: user (row-wise, with state), post (column-wise), tag (data-parallel), one
                         of a hostile name; 30 is spoiled: dead, exploded, non-finite and equal rows
run/40                   torn
monday, tuesday          vocabularies of the table user, with ids beyond 2**53; one of them is hostile text in `named`
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.vocabularies import make_vocabulary, parquet_bytes

__all__ = ["BIG", "HOSTILE", "HOSTILE_ID", "make_world"]

HOSTILE = "\"'><svg><script>owned()<!--\u202e\x1b[2J"
"""A table's name: no point, no slash, and no equals sign, so that it can be typed."""
HOSTILE_ID = f"</script><img src=x onerror=owned()></title></style>{HOSTILE}"
"""An entity's."""
BIG = 2**60
"""Added to entity ids: no number of JavaScript holds all of the sums."""
_NUM_ROWS, _DIM, _RANKS = 600, 16, 4
_HOSTILE_ROWS = 40


def make_world(root: Path) -> None:
    """Write all of it into a directory."""
    rng = np.random.default_rng(0)
    user = _popular(rng)
    post, tag, hostile = (rng.standard_normal(shape).astype(np.float32) for shape in ((300, 8), (50, 4), (40, 4)))
    hostile[0] *= 50  # so that its entity is among those that went furthest
    order = rng.permutation(_NUM_ROWS)
    for step in (10, 20, 30):
        noise = (step / 200) * rng.standard_normal(user.shape).astype(np.float32)
        rows = user * (1 + step / 100) + noise
        if step == 30:
            rows = _spoiled(rows[order])
        _write(
            root / "run" / str(step),
            step,
            {"user": rows, "post": post + step / 100, "tag": tag, HOSTILE: hostile * (1 + step / 100)},
        )
    (root / "run" / "40").mkdir()
    (root / "run" / "40" / "half").write_bytes(b"half")
    ids = [BIG + 3 * i for i in range(_NUM_ROWS)]
    counts = [max(1, 100_000 // (i + 1)) for i in range(_NUM_ROWS)]
    write_vocabulary(make_vocabulary(ids, counts=counts), f"{root}/monday")
    tuesday = [ids[old] + (1 if place >= _NUM_ROWS - 20 else 0) for place, old in enumerate(order.tolist())]
    write_vocabulary(make_vocabulary(tuesday, counts=[counts[old] for old in order.tolist()]), f"{root}/tuesday")
    named = [HOSTILE_ID, *(f"entity {i}" for i in range(_HOSTILE_ROWS - 1))]
    write_vocabulary(make_vocabulary(named, counts=list(range(_HOSTILE_ROWS, 0, -1))), f"{root}/named")
    events = {"user": rng.choice(np.array([*ids, *range(50)]), 2000), "other": rng.choice(np.array(ids), 2000)}
    (root / "events.parquet").write_bytes(parquet_bytes(events))


def _popular(rng: np.random.Generator) -> NDArray[np.float32]:
    """Rows whose norm falls with popularity, in few directions."""
    basis = rng.standard_normal((_DIM, _DIM)) * np.geomspace(1, 0.02, _DIM)[:, None]
    rows = rng.standard_normal((_NUM_ROWS, _DIM)) @ basis
    return (rows * np.geomspace(3, 0.2, _NUM_ROWS)[:, None]).astype(np.float32)


def _spoiled(rows_VD: NDArray[np.float32]) -> NDArray[np.float32]:
    rows_VD = rows_VD.copy()
    rows_VD[:7] = 0
    rows_VD[7] = 60
    rows_VD[8, 3] = np.nan
    rows_VD[20:25] = rows_VD[19]
    return rows_VD


def _write(root: Path, step: int, tables: dict[str, NDArray[np.float32]]) -> None:
    builder = SnapshotBuilder(world_size=_RANKS)
    key = "model/ebc.embedding_bags.{}.weight"
    columns = {rank: [((0, 2 * rank), (300, 2))] for rank in range(_RANKS)}
    builder.sharded(key.format("user"), tables["user"], row_shards((_NUM_ROWS, _DIM), _RANKS))
    builder.sharded(key.format("post"), tables["post"], columns)
    for rank in range(_RANKS):
        builder.tensor(key.format("tag"), tables["tag"], rank=rank)
    boxes = {rank: [((0, 0), (40, 4))] if rank == 2 else [] for rank in range(_RANKS)}
    builder.sharded(key.format(HOSTILE), tables[HOSTILE], boxes)
    state = np.ones(_NUM_ROWS, np.float32)
    state[:60] = 0
    path = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
    builder.sharded(path, state, row_shards((_NUM_ROWS,), _RANKS))
    builder.value("extra_state/step", step)
    builder.value("extra_state/walltime", 12.5 * step)
    builder.write(root)
