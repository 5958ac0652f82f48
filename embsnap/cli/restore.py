"""`embsnap restore`."""

from __future__ import annotations

from typing import Any

import click

from embsnap.cli.warmstart import Run, run_options

__all__ = ["command"]


@click.command("restore")
@run_options
def command(**typed: Any) -> None:
    """Write a model's tables with every row as it was: `warmstart`, where nothing may change.

    A table with `pretrained` is restored if both vocabularies hold the same entities in the same rows, or if its
    config says `pretrained.by_position: true`, or if neither side has a vocabulary. Anything else is refused.

    \b
    Examples:
      embsnap restore same_day.yaml --dry-run
      embsnap restore same_day.yaml --out runs/copy --no-model

    \b
    Exit codes:
      0  written (or planned)
      2  usage, or a wrong config
      3  no such config, snapshot, table or vocabulary
      4  not a committed, readable snapshot
      5  shapes, dtypes or vocabularies differ
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    Run(**typed)("restore", identical=True)
