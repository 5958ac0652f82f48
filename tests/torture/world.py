"""Sources for every operation that writes, the operations, and what a destination holds.

old/              a snapshot of the tables user and post, with optimizer state and a sidecar
monday, tuesday   vocabularies of the table user
events/           parquet
config.yaml, plan.yaml   their URIs begin with ${WORLD}
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from embsnap.errors import NotFoundError, SnapshotError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import listed, make_vocabulary, parquet_bytes
from tests.torture.children import Ran, run_command, run_here

__all__ = ["OPERATIONS", "Operation", "digest", "make_world", "run", "warm_up"]

STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
DIM = 16


@dataclass(frozen=True)
class Operation:
    """A command that writes, or `save`; `{}` stands for the world, `{out}` for the destination."""

    arguments: str
    is_snapshot: bool
    again: tuple[int, ...] = (7,)
    """Exit codes of doing it again over a destination that it finished."""

    def content(self, uri: str) -> str | None:
        """A digest of what the destination holds, or None if nothing is committed there.

        Raises:
            EmbsnapError: Something is there that cannot be read.
        """
        return _snapshot_content(uri) if self.is_snapshot else _vocabulary_content(uri)


OPERATIONS: Mapping[str, Operation] = {
    "warmstart": Operation("warmstart {}/config.yaml --out {out} --no-model --memory-budget 2MiB", True),
    "migrate": Operation("migrate {}/plan.yaml {}/old --out {out} --memory-budget 64MiB", True),
    "copy": Operation("copy {}/old {out} --threads 1", True, (0, 7)),
    "vocab extend": Operation("vocab extend {}/monday {}/events --id-column user --out {out}", False),
    "vocab build": Operation("vocab build {}/events --id-column user --out {out}", False),
    "save": Operation("save {out}", True),
}
_SAVE_TIMEOUT_S = "20"

_CONFIG = """\
tables:
- name: user
  num_embeddings: {num_rows}
  embedding_dim: {dim}
  optimizer: {{rowwise_adagrad: {{lr: 0.1}}}}
  vocab: ${{WORLD}}/tuesday
  pretrained: {{emb_name: user, embedding_snapshot_uri: "${{WORLD}}/old", vocab: "${{WORLD}}/monday"}}
"""
_PLAN = """\
steps:
- vocab: {table: user, vocab: "${WORLD}/monday"}
- revocab: {table: user, vocab: "${WORLD}/tuesday"}
- rename: {tables: {post: story}}
"""


def make_world(root: Path, num_rows: int) -> Path:
    """Write the sources into a new directory."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((num_rows, DIM)).astype(np.float32) for name in ("user", "post")}
    write_arrays(f"{root}/old", weights, {STATE: rng.random(num_rows).astype(np.float32)})
    monday = np.arange(num_rows)
    tuesday = rng.permutation(np.arange(num_rows // 10, num_rows + num_rows // 20))
    write_vocabulary(make_vocabulary(monday.tolist(), counts=(monday + 1).tolist()), f"{root}/monday")
    write_vocabulary(make_vocabulary(tuesday.tolist()), f"{root}/tuesday")
    (root / "events").mkdir()
    for part in range(2):
        users = rng.integers(0, num_rows + num_rows // 10, num_rows)
        (root / "events" / f"{part}.parquet").write_bytes(parquet_bytes({"user": users}))
    (root / "config.yaml").write_text(_CONFIG.format(num_rows=num_rows + num_rows // 20, dim=DIM))
    (root / "plan.yaml").write_text(_PLAN)
    return root


def run(operation: Operation, world: str, out: str, *more: str) -> Ran:
    """Do it in this process."""
    os.environ["WORLD"] = world
    words = [word.replace("{out}", out).replace("{}", world) for word in operation.arguments.split()]
    if words[0] == "save":
        return run_here(partial(_save, *words[1:], *more[1:]))
    return run_command([*words, "--quiet", *more])


def warm_up(root: Path) -> Mapping[str, str]:
    """Do every operation once in this process, so that its children have loaded what they need; what each makes."""
    contents = {}
    out = root.parent / "warm"
    for name, operation in OPERATIONS.items():
        ran, content = run(operation, str(root), str(out)), operation.content(str(out))
        if ran.exit_code != 0 or content is None:
            raise RuntimeError(f"{operation.arguments} does not run: {ran.stderr}")
        contents[name] = content
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    return contents


def _save(uri: str, timeout_s: str = _SAVE_TIMEOUT_S) -> int:
    """Torch is loaded only where something is saved."""
    return import_module("tests.torture.saving").save(uri, timeout_s)  # type: ignore[no-any-return]


def digest(root: Path) -> str:
    """Of all files under a directory, their names included."""
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _snapshot_content(uri: str) -> str | None:
    try:
        snapshot = open_snapshot(uri)
    except NotFoundError:
        return None
    except SnapshotError as error:
        if error.kind.value in ("not-a-snapshot", "torn-snapshot", "unfinished-copy"):
            return None
        raise
    found = hashlib.sha256()
    for path, ranked in sorted(snapshot.listing.by_path.items()):
        entry = ranked[min(ranked)]
        found.update(f"{path}\0{entry.type}".encode())
        if entry.type in ("Tensor", "ChunkedTensor", "ShardedTensor"):
            found.update(read_array(snapshot, snapshot.array(path)).tobytes())
    return found.hexdigest()


def _vocabulary_content(uri: str) -> str | None:
    try:
        found = read_vocabulary(uri)
    except NotFoundError:
        return None
    return hashlib.sha256(json.dumps([listed(found.ids), found.rows_N.tolist()], default=str).encode()).hexdigest()
