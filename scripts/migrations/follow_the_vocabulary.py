"""Move every row to where its entity is in tomorrow's vocabulary, and draw the rows of new entities.

DAY1=day1/user DAY2=day2/user embsnap migrate scripts/migrations/follow_the_vocabulary.py runs/1 --out runs/2
"""

from __future__ import annotations

import os
import sys

import embsnap


def migrate(migration):
    """The old vocabulary is needed only where the snapshot does not record it itself."""
    old, new = os.environ.get("DAY1", "day1/user"), os.environ.get("DAY2", "day2/user")
    return migration.vocab("user", old).revocab("user", new, initializer={"normal": {"std": 0.01}})


if __name__ == "__main__":
    print(migrate(embsnap.migration(sys.argv[1])).write(sys.argv[2]).destination)
