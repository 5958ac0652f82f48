"""`embsnap vocab`: the group of commands on vocabularies, each imported when it is asked for."""

from __future__ import annotations

import click

from embsnap.cli.group import Entry, LazyGroup

__all__ = ["VOCAB_COMMANDS", "command"]

_SUMMARIES = {
    "align": "Write the row map from an OLD vocabulary to a NEW one as parquet.",
    "build": "Count the entities in event logs, and give each of them a row.",
    "convert": "Turn a vocabulary of another make into parquet, or parquet into one of another make.",
    "coverage": "Measure how much of what happens in EVENTS a vocabulary knows.",
    "diff": "Compare vocabularies A and B: shared entities, moved rows, changed counts.",
    "extend": "Bring a vocabulary up to date: whoever stays keeps the row, newcomers get free ones.",
    "inspect": "Show what is in the vocabulary at URI: its size, types, rows, counts and a sample.",
    "lookup": "Find the rows of entity ids, and the entity ids of rows.",
    "validate": "Check a vocabulary: every defect is listed, with how many there are and examples.",
}

VOCAB_COMMANDS = {name: Entry(f"embsnap.cli.vocab_{name}", summary) for name, summary in _SUMMARIES.items()}
"""By name."""


@click.group("vocab", cls=LazyGroup, entries=VOCAB_COMMANDS)
def command() -> None:
    """Build, look at, check and compare vocabularies: which row belongs to which entity.

    \b
    Examples:
      embsnap vocab inspect /data/user
      embsnap vocab validate /data/user --num-embeddings 8000000
      embsnap vocab diff /data/monday/user /data/tuesday/user

    \b
    Exit codes:
      0  done, and the answer is yes
      1  done, and the answer is no
      2  usage
      3  not found
      4  not a readable file
      5  not a vocabulary, or two that do not fit
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
