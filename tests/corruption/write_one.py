"""Run by the crash tests: writes one snapshot of eight objects, and meets with an accident.

    write_one.py DESTINATION ACCIDENT [NUMBER]

Says `writing` when half of it is there, or `ready` before the commit; exits 0, or with the exit code of the error.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.cli.failures import Terminated
from embsnap.errors import EmbsnapError
from embsnap.formats.torchsnapshot import layout
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.storage.uri import open_store
from embsnap.testing.faults import Fault, FaultStore

NUM_ROWS, DIM = 1000, 16
HALF = NUM_ROWS // 2


def rows(number: int, start: int = 0, end: int = NUM_ROWS) -> NDArray[np.float32]:
    """The rows `[start, end)` of the table with that number."""
    return np.arange(start * DIM, end * DIM, dtype=np.float32).reshape(-1, DIM) + number


class Rows:
    """The table as a source; `pause_s` after each block of the second half."""

    num_rows, dim, dtype = NUM_ROWS, DIM, np.dtype(np.float32)

    def __init__(self, number: int, pause_s: float) -> None:
        self.number = number
        self.pause_s = pause_s

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        if self.pause_s and start <= HALF < end:
            print("writing", flush=True)
        if start > HALF:
            time.sleep(self.pause_s)
        out_ND[...] = rows(self.number, start, end)


def die(location: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_a_line(location: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def terminate(signum: int, frame: object) -> None:
    raise Terminated


FAULTS = {
    "none": (),
    "slow": (),
    "wait": (Fault("create", wait_for_a_line, match=".snapshot_metadata"),),
    "die-after-claim": (Fault("create", die, match="*/run.json", when="after"),),
    "die-in-first-object": (Fault("write", die, match="*/00000", after_bytes=700),),
    "die-in-last-object": (Fault("write", die, match="*/00007", after_bytes=7000),),
    "die-after-objects": (Fault("create", die, match=".embsnap/*"),),
    "die-after-sidecar": (Fault("create", die, match=".embsnap/*", when="after"),),
    "die-after-commit": (Fault("create", die, match=".snapshot_metadata", when="after"),),
    "die-before-link": (),
    "die-after-link": (),
}


def die_at_link(accident: str) -> None:
    """Die just before, or just after, the metadata gets its name."""
    link = os.link

    def patched(source: str, target: str) -> None:
        if target.endswith(".snapshot_metadata") and accident == "die-before-link":
            die(target)
        link(source, target)
        if target.endswith(".snapshot_metadata"):
            die(target)

    os.link = patched  # type: ignore[assignment]


def main(destination: str, accident: str, number: str = "0") -> int:
    layout.PIECE_BYTES = layout.OBJECT_BYTES = 8000
    signal.signal(signal.SIGTERM, terminate)
    if accident.endswith("-link"):
        die_at_link(accident)
    source = Rows(int(number), pause_s=0.02 if accident == "slow" else 0)
    array = ArrayToWrite("model/ebc.embedding_bags.user.weight", DTYPES["float32"], (NUM_ROWS, DIM), source)
    store = FaultStore(open_store(destination), *FAULTS[accident])
    try:
        write_snapshot(store, [array], plan_digest="ab" * 32, block_bytes=640, threads=2)
    except EmbsnapError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Terminated:
        return 143
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
