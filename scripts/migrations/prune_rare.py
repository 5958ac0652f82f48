"""Drop entities that were seen fewer than five times, and move the remaining rows together.

embsnap migrate scripts/migrations/prune_rare.py runs/day1/7 --out runs/pruned --vocab-out vocab/pruned
"""

from __future__ import annotations

import sys

import embsnap


def migrate(migration, table="user", least=5):
    """The vocabulary must have a column of counts; the new one is written beside the snapshot."""
    return migration.prune(table, min_count=least)


if __name__ == "__main__":
    print(migrate(embsnap.migration(sys.argv[1])).write(sys.argv[2]).destination)
