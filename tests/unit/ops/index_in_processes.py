"""Looks ids up where only a process of its own can show it; run by `test_vocab_index_in_processes.py`.

python index_in_processes.py fork|spawn|loader-fork|loader-spawn INDEX
"""

from __future__ import annotations

import multiprocessing
import sys

import numpy as np

from embsnap.ops.vocab_index import VocabIndex

SIZE = 20_000


def batch(number: int) -> np.ndarray:
    """Ids of one batch, half of them unknown."""
    return np.random.default_rng(number).integers(0, 2 * SIZE, 1000)


def in_process(index: VocabIndex, number: int) -> int:
    """One number for what an index says about a batch."""
    return int((index.lookup(batch(number), "row", threads=1 + number % 2) * np.arange(1000)).sum())


class Bags:
    """A data set of four batches as KeyedJaggedTensors, each looked up in the worker that fetches it."""

    def __init__(self, index: VocabIndex) -> None:
        self.index = index

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int):
        if number >= 4:
            raise IndexError(number)
        from embsnap.live.kjt import keyed_jagged

        lengths = np.full(100, 10)
        return keyed_jagged({"user": (batch(number), lengths)}, {"user": self.index}, oov="row")


def in_loader(index: VocabIndex, context: str) -> list[int]:
    from torch.utils.data import DataLoader

    loader = DataLoader(Bags(index), batch_size=None, num_workers=2, multiprocessing_context=context)
    return [int((bags["user"].values().numpy() * np.arange(1000)).sum()) for bags in loader]


def main(case: str, uri: str) -> None:
    index = VocabIndex.open(uri)
    expected = [in_process(index, number) for number in range(4)]
    if case.startswith("loader-"):
        answers = in_loader(index, case.removeprefix("loader-"))
    else:
        with multiprocessing.get_context(case).Pool(2) as pool:
            answers = pool.starmap(in_process, [(index, number) for number in range(4)])
    assert answers == expected, (answers, expected)
    print("same")


if __name__ == "__main__":
    main(*sys.argv[1:])
