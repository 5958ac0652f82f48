"""Uses every kernel in ways that only a process of its own can show; run by `test_processes.py`.

python kernels_in_processes.py threads|fork|loader-fork|loader-spawn
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np

from embsnap.kernels.gather import gather_rows, split_by_band
from embsnap.kernels.hashing import fingerprint, id_keys
from embsnap.kernels.initialize import Normal, fill
from embsnap.kernels.join import join
from embsnap.kernels.reduce import RowMoments, row_norms
from embsnap.kernels.rows import check_rows
from embsnap.model.vocabulary import IdType

SIZE = 50_000


def everything(threads: int) -> str:
    """One number for what all kernels say about one small pair of vocabularies."""
    rng = np.random.default_rng(0)
    old, new = rng.permutation(2 * SIZE)[:SIZE], rng.permutation(2 * SIZE)[:SIZE]
    joined = join(old, np.arange(SIZE), new, np.arange(SIZE), SIZE, threads=threads)
    assert check_rows(joined.row_V, SIZE).num_duplicates == 0
    rows_ND = np.zeros((SIZE, 4), np.float32)
    fill(rows_ND, id_keys(old, threads=threads), table_key=1, seed=2, spec=Normal(0.0, 1.0))
    positions, local_rows, _ = split_by_band(joined.row_V, np.array([0]))
    out = np.zeros((SIZE, 16), np.uint8)
    gather_rows(rows_ND.view(np.uint8), local_rows, positions, out)
    moments = RowMoments(SIZE, 4, covariance=True)
    moments.add(0, out.view(np.float32))
    total = float(moments.result().covariance_DD.sum() + row_norms(out.view(np.float32)).sum())
    return f"{fingerprint(IdType.INT64, new, np.arange(SIZE), threads=threads)} {joined.num_carried} {total!r}"


def in_threads() -> list[str]:
    """The first calls of this process come from three threads at once."""
    meeting, answers = threading.Barrier(3), []

    def work(threads: int) -> None:
        meeting.wait()
        answers.append(everything(threads))

    workers = [threading.Thread(target=work, args=(1 + number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return answers


def after_fork() -> list[str]:
    """A child of a process that has used kernels on several threads uses them too."""
    answer = everything(3)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, everything(3).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return [answer, os.read(reader, 1000).decode()]


class Answers:
    """A data set of four answers, each computed in the worker that fetches it."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> str:
        if index >= 4:
            raise IndexError(index)
        return everything(1 + index % 2)


def in_loader(context: str) -> list[str]:
    """Two workers of a DataLoader, after the main process has used the kernels."""
    from torch.utils.data import DataLoader

    loader = DataLoader(Answers(), batch_size=None, num_workers=2, multiprocessing_context=context)
    return [everything(2), *loader]


def main(case: str) -> None:
    answers = {
        "threads": in_threads,
        "fork": after_fork,
        "loader-fork": lambda: in_loader("fork"),
        "loader-spawn": lambda: in_loader("spawn"),
    }[case]()
    print(*answers, sep="\n")
    layers = [name for name in sys.modules if name.startswith("numba.np.ufunc.") and name.endswith("pool")]
    maps = Path("/proc/self/maps")
    layers += [line for line in maps.read_text().splitlines() if "omppool" in line] if maps.exists() else []
    assert not layers, f"numba's threading layers are loaded: {layers}"


if __name__ == "__main__":
    main(sys.argv[1])
