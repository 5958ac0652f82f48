"""A small world for every command, and one use of each: on local files and in a bucket it must do the same.

run/7, run/8                committed snapshots of the tables user and post, with optimizer state
run/9                       what a writer left that died
monday/user, tuesday/user   vocabularies of the table user; monday.csv
vectors.txt                 of word2vec's form
events/*.parquet            user, at, discrete_features
config.yaml                 tuesday's tables, from run/7; its URIs begin with ${WORLD}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary, parquet_bytes

__all__ = ["USES", "Use", "make_world"]

NUM_ROWS, DIM = 40, 8
_UNCHECKED = ("num_unchecked_rows",)
"""Whole blocks are read only where they are mapped."""
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"


@dataclass(frozen=True)
class Use:
    """A command line; `{}` stands for the world's root."""

    arguments: str
    writes: tuple[str, ...] = ()
    """Under the root: files, or directories with something in them."""
    deletes: tuple[str, ...] = ()
    exit_code: int = 0
    varies: tuple[str, ...] = ()
    """Fields of the result that depend on the storage."""

    def command_line(self, root: str) -> list[str]:
        """For one root."""
        return [word.replace("{}", root) for word in self.arguments.split()]


USES = {
    "config validate": Use("config validate {}/config.yaml"),
    "copy": Use(
        "copy {}/run@latest {}/copied", writes=("copied/.snapshot_metadata", "copied/.embsnap"), varies=("checked",)
    ),
    "diff": Use(
        "diff {}/run/7 {}/run/8 --vocab-a user={}/monday/user --vocab-b user={}/tuesday/user",
        exit_code=1,
        varies=("num_unchecked_rows",),
    ),
    "export": Use(
        "export {}/run/8 --vocab user={}/tuesday/user --table user --where count>5 --format npy --out {}/exported",
        writes=("exported/user.npy", "exported/export.json"),
        varies=("num_bytes_to_write", "num_unchecked_rows"),  # the snapshot's URI stands in export.json
    ),
    "gc": Use("gc {}/run --older-than 0 --apply", deletes=("run/9",)),
    "history": Use("history {}/run --out {}/history.parquet", writes=("history.parquet",)),
    "import": Use(
        "import user={}/vectors.txt --id-type int64 --vocab-out {}/vocabularies --out {}/imported",
        writes=("imported/.snapshot_metadata", "vocabularies/user.parquet"),
    ),
    "inspect": Use("inspect {}/run@latest"),
    "lookup": Use(
        "lookup {}/run/8 --table user --vocab {}/tuesday/user --id 107 --id 108 --neighbors 3",
        varies=("num_unchecked_rows",),
    ),
    "migrate": Use(
        "migrate {}/plan.yaml {}/run@7 --out {}/migrated",
        writes=("migrated/.snapshot_metadata",),
        varies=("num_unchecked_rows",),
    ),
    "pool": Use(
        "pool {}/run/8 {}/events --vocab user={}/tuesday/user --keep at --stratum us=0:1 --device cpu --out {}/pooled",
        writes=("pooled",),
    ),
    "projector": Use("projector {}/run/8 --vocab user={}/tuesday/user --table user --out {}/projector", ("projector",)),
    "report": Use(
        "report {}/run --vocab user={}/tuesday/user --by-position --out {}/report.html",
        ("report.html",),
        varies=_UNCHECKED,
    ),
    "restore": Use("restore {}/restore.yaml --out {}/restored --no-model", writes=("restored/.snapshot_metadata",)),
    "stats": Use(
        "stats {}/run/8 --vocab user={}/tuesday/user --out {}/stats.json",
        writes=("stats.json",),
        varies=("num_unchecked_rows",),
    ),
    "verify": Use("verify {}/run/8 --vocab user={}/tuesday/user"),
    "vocab align": Use("vocab align {}/monday/user {}/tuesday/user --out {}/map.parquet", writes=("map.parquet",)),
    "vocab build": Use("vocab build {}/events --id-column user --time-column at --out {}/built", writes=("built",)),
    "vocab convert": Use("vocab convert {}/monday.csv --out {}/converted.parquet", writes=("converted.parquet",)),
    "vocab coverage": Use("vocab coverage {}/tuesday/user {}/events --id-column user --stratum us:0:1"),
    "vocab diff": Use("vocab diff {}/monday/user {}/tuesday/user", exit_code=1),
    "vocab extend": Use(
        "vocab extend {}/monday/user {}/events --id-column user --out {}/extended", writes=("extended",)
    ),
    "vocab inspect": Use("vocab inspect {}/monday/user"),
    "vocab lookup": Use("vocab lookup {}/tuesday/user --id 107 --row 0"),
    "vocab validate": Use("vocab validate {}/tuesday/user --num-embeddings 40"),
    "warmstart": Use(
        "warmstart {}/config.yaml --out {}/warm",
        writes=("warm/.snapshot_metadata", "warm/.embsnap"),
        varies=_UNCHECKED,
    ),
}
"""By command, those of groups included."""

_CONFIG = """\
tables:
- name: user
  num_embeddings: 40
  embedding_dim: 8
  optimizer: {rowwise_adagrad: {lr: 0.1}}
  vocab: ${WORLD}/tuesday/user
  pretrained:
    emb_name: user
    embedding_snapshot_uri: ${WORLD}/run/7
    vocab: ${WORLD}/monday/user
"""
_RESTORE = """\
tables:
- name: user
  num_embeddings: 40
  embedding_dim: 8
  pretrained: {emb_name: user, embedding_snapshot_uri: "${WORLD}/run/7", by_position: true}
"""
_PLAN = """\
steps:
- vocab: {table: user, vocab: "${WORLD}/monday/user"}
- revocab: {table: user, vocab: "${WORLD}/tuesday/user"}
- rename: {tables: {post: story}}
"""


def make_world(root: Path) -> None:
    """Write all of it into a directory."""
    rng = np.random.default_rng(0)
    for step in (7, 8):
        weights = {name: rng.standard_normal((NUM_ROWS, DIM)).astype(np.float32) for name in ("user", "post")}
        write_arrays(f"{root}/run/{step}", weights, {STATE: rng.random(NUM_ROWS).astype(np.float32)})
    leftover = root / "run" / "9" / "embsnap" / "abababababab-0"
    leftover.mkdir(parents=True)
    (leftover / "run.json").write_bytes(b"{}")
    (leftover / "00000").write_bytes(bytes(100))
    monday, tuesday = list(range(100, 130)), list(range(139, 104, -1))
    write_vocabulary(make_vocabulary(monday, counts=list(range(1, 31))), f"{root}/monday/user")
    write_vocabulary(make_vocabulary(tuesday, counts=list(range(1, 36))), f"{root}/tuesday/user")
    (root / "monday.csv").write_text("id,row\n" + "".join(f"{entity},{row}\n" for row, entity in enumerate(monday)))
    (root / "vectors.txt").write_text("3 2\n7 1 2\n8 -0.5 1e-3\n9 3 4\n")
    (root / "events").mkdir()
    for part in range(2):
        users = rng.integers(100, 145, 200)
        features = pa.array([[int(user) % 2] for user in users], pa.list_(pa.int64()))
        columns = {"user": users, "at": np.arange(200) + 200 * part, "discrete_features": features}
        (root / "events" / f"{part}.parquet").write_bytes(parquet_bytes(columns))
    (root / "config.yaml").write_text(_CONFIG)
    (root / "plan.yaml").write_text(_PLAN)
    (root / "restore.yaml").write_text(_RESTORE)
