"""Two days of one table: entities that stay, move, come and go."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.diff.snapshots import diff_snapshots
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary


@dataclass
class Days:
    """Where both days are, and what they hold."""

    root: str
    a_VD: np.ndarray
    b_VD: np.ndarray
    ids_a: np.ndarray
    """Entity of each row."""
    ids_b: np.ndarray

    def options(self, **more):
        vocabularies = {"vocab_a": {"user": f"{self.root}/va.parquet"}, "vocab_b": {"user": f"{self.root}/vb.parquet"}}
        return DiffOptions(**{**vocabularies, "neighbors": 0, **more})

    def diff(self, **more):
        return diff_snapshots(f"{self.root}/a", f"{self.root}/b", self.options(**more))

    @property
    def shared(self):
        """Rows of A and rows of B of the shared entities, in B's order."""
        row_a = {int(entity): row for row, entity in enumerate(self.ids_a)}
        pairs = [(row_a[int(entity)], row) for row, entity in enumerate(self.ids_b) if int(entity) in row_a]
        return np.array(pairs).T


def _write(root, a_VD, b_VD, ids_a, ids_b, *, counts_b=None):
    write_arrays(f"{root}/a", {"user": a_VD})
    write_arrays(f"{root}/b", {"user": b_VD})
    write_vocabulary(make_vocabulary(ids_a.tolist()), f"{root}/va.parquet")
    write_vocabulary(make_vocabulary(ids_b.tolist(), counts=counts_b), f"{root}/vb.parquet")
    return Days(str(root), a_VD, b_VD, ids_a, ids_b)


@pytest.fixture
def write_days(tmp_path):
    """Writes both snapshots and their vocabularies, in a directory of its own."""
    numbers = count()

    def write(*arrays, **options):
        return _write(tmp_path / str(next(numbers)), *arrays, **options)

    return write


@pytest.fixture
def days(write_days):
    rng = np.random.default_rng(0)
    ids = rng.permutation(10_000)[:620] + 7
    ids_a, ids_b = ids[:600], rng.permutation(ids[50:])
    vectors = {int(entity): rng.standard_normal(12) for entity in ids}
    a_VD = np.array([vectors[int(entity)] for entity in ids_a], np.float32)
    b_VD = np.array([vectors[int(entity)] for entity in ids_b]) + 0.2 * rng.standard_normal((len(ids_b), 12))
    return write_days(a_VD, b_VD.astype(np.float32), ids_a, ids_b, counts_b=list(range(len(ids_b))))
