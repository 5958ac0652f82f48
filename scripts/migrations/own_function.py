"""A step of your own: scale the rows of popular items down, by a function on blocks of rows.

embsnap migrate scripts/migrations/own_function.py runs/day1/7 --out runs/damped
"""

from __future__ import annotations

import sys

import numpy as np

import embsnap


def damp(rows_N, rows_ND):
    """Rows `[N, D]` with numbers `rows_N`; what it returns for a row depends on that row alone."""
    norms_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return (rows_ND / np.maximum(1.0, np.sqrt(norms_N1))).astype(rows_ND.dtype)


def migrate(migration, table="item"):
    """As many columns, of the same type: nothing more to declare."""
    return migration.map_rows(table, damp)


if __name__ == "__main__":
    print(migrate(embsnap.migration(sys.argv[1])).write(sys.argv[2]).destination)
