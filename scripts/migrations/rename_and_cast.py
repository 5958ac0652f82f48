"""Rename a table and store it in half precision, in one pass over its rows.

embsnap migrate scripts/migrations/rename_and_cast.py runs/day1/7 --out runs/half
python scripts/migrations/rename_and_cast.py runs/day1/7 runs/half
"""

from __future__ import annotations

import sys

import embsnap


def migrate(migration):
    """`user` becomes `member`, in fp16; a value that changes by more than 0.001 stops everything."""
    return migration.rename({"user": "member"}).cast("member", "fp16", max_error=1e-3)


if __name__ == "__main__":
    print(migrate(embsnap.migration(sys.argv[1])).write(sys.argv[2]).destination)
