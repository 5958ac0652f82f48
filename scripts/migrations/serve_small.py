"""A snapshot for serving: one table, unit norms, half the width by PCA, 8-bit rows, no optimizer state.

embsnap migrate scripts/migrations/serve_small.py runs/day1/7 --out runs/serving
"""

from __future__ import annotations

import sys

import embsnap


def migrate(migration, table="user", dim=2):
    """All of it is one pass over the rows, after the one that the PCA needs."""
    kept = migration.keep(table).optimizer_state("drop")
    return kept.dim(table, dim, by="pca").normalize(table, norm=1.0).cast(table, "int8")


if __name__ == "__main__":
    print(migrate(embsnap.migration(sys.argv[1])).write(sys.argv[2]).destination)
