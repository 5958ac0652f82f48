"""Damage to every region of a snapshot and of its vocabulary, and whether it is found."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from embsnap.errors import EmbsnapError
from tests.torture.children import Ran, in_child, run_command
from tests.torture.tally import LossError, Tally
from tests.torture.world import OPERATIONS, make_world, run

__all__ = ["corrupt"]

_Damage = Callable[[bytearray, random.Random], None]
_SNAPSHOT = OPERATIONS["warmstart"]


def _flip(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _zero(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    data[start : start + 512] = bytes(len(data[start : start + 512]))


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def _extend(data: bytearray, draw: random.Random) -> None:
    data += draw.randbytes(draw.randrange(1, 100))


def _shift(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    del data[start]
    data.append(0)


_DAMAGES: Mapping[str, _Damage] = {
    "one flipped bit": _flip,
    "512 bytes of zeros": _zero,
    "a cut": _cut,
    "bytes appended": _extend,
    "bytes shifted by one": _shift,
}


def corrupt(directory: Path, share: float, seed: int) -> list[Tally]:
    """200 damages of each kind at a share of one; the regions take turns."""
    world = directory / "corruptions"
    world.mkdir()
    make_world(world, 3000)
    # A snapshot of embsnap's own, which knows its vocabulary. All is done here, so that the children have it loaded.
    run(_SNAPSHOT, str(world), str(world / "new"))
    _verify(world)
    content = _SNAPSHOT.content(str(world / "new"))
    vocabulary = OPERATIONS["vocab build"].content(str(world / "tuesday"))
    tallies = []
    for kind, damage in _DAMAGES.items():
        tally = Tally(f"{kind}, in objects, metadata, sidecar or vocabulary")
        for number in range(max(1, round(200 * share))):
            draw = random.Random(f"{seed} {kind} {number}")
            copy = directory / "damaged"
            shutil.copytree(world, copy)
            target = _target(copy, number + seed)
            data = bytearray(target.read_bytes())
            damage(data, draw)
            if data != target.read_bytes():
                target.write_bytes(data)
                try:
                    tally.outcomes[in_child(partial(_found, copy, content, vocabulary))] += 1
                except Exception as error:
                    tally.losses.append(f"{number} in {target.relative_to(copy)}: {error}")
            shutil.rmtree(copy)
        tallies.append(tally)
    return tallies


def _target(root: Path, number: int) -> Path:
    """The file to damage: every region in turn."""
    objects = sorted(path for path in (root / "new" / "embsnap").rglob("*") if path.name != "run.json")
    objects = [path for path in objects if path.is_file() and path.stat().st_size]
    vocabulary = root / "tuesday"
    files = sorted(vocabulary.rglob("*.parquet")) if vocabulary.is_dir() else [vocabulary]
    regions = [*objects, root / "new" / ".snapshot_metadata", *(root / "new" / ".embsnap").iterdir(), *files]
    return regions[number % len(regions)]


def _found(root: Path, content: str | None, vocabulary: str | None) -> str:
    """What says that something is wrong: verify, and reading all of it."""
    verified = _verify(root)
    if verified.exit_code == 70:
        raise LossError(f"verify ends with 70: {verified.stderr}")
    try:
        is_same = _SNAPSHOT.content(f"{root}/new") == content
        is_same &= OPERATIONS["vocab build"].content(f"{root}/tuesday") == vocabulary
        read = "read as it was" if is_same else "read otherwise"
    except EmbsnapError:
        read = "refused by its reader"
    if verified.exit_code == 0 and read == "refused by its reader":
        raise LossError("verify calls sound what its reader refuses")
    if verified.exit_code == 0 and read == "read otherwise":
        raise LossError("neither verify nor its reader finds it")
    return f"found by verify and {read}" if verified.exit_code else "harmless: everything reads as it was"


def _verify(root: Path) -> Ran:
    return run_command(["verify", f"{root}/new", "--vocab", f"user={root}/tuesday", "--quiet"])
