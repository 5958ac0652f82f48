"""Make one table of two regions' tables. An entity of both gets the mean of its rows, weighted by its counts.

embsnap migrate scripts/migrations/merge_regions.py runs/day1/7 --out runs/merged
"""

from __future__ import annotations

import sys

import embsnap


def migrate(migration, tables=("user_eu", "user_us"), into="user"):
    """Both tables need vocabularies with counts, and rows of one width and type."""
    return migration.merge(tables, into, conflict="count")


if __name__ == "__main__":
    print(migrate(embsnap.migration(sys.argv[1])).write(sys.argv[2]).destination)
