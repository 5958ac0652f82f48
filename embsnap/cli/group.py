"""The group of commands: each is imported when it is asked for, so that each pays for itself alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from embsnap import __version__

__all__ = ["COMMANDS", "Entry", "LazyGroup", "group"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and what the list of commands says of it."""

    module: str
    """Its module, whose `command` it is."""
    summary: str
    """The first line of its help."""


_SUMMARIES = {
    "config": "Check configuration files, and describe what may stand in them.",
    "copy": "Copy a snapshot or a vocabulary, verified and resumable, between any two stores.",
    "demo": "Try a warm start on two days of a made-up interaction graph.",
    "diff": "Compare two snapshots: structure, and how far each entity's row went.",
    "doctor": "Check that what is installed fits together and loads.",
    "export": "Write tables as files for serving stores and notebooks: id, row and vector of each entity.",
    "gc": "Remove what runs and copies left under URI that did not come to their end.",
    "history": "Show the statistics of every step of a run as series.",
    "import": "Make a snapshot of files with vectors: parquet, arrow, npy, safetensors, csv, word2vec, GloVe.",
    "inspect": "Show what is in the snapshot at URI: tables, optimizer state, other entries, origin, findings.",
    "lookup": "Show entities' rows: values, norm, optimizer state, nearest neighbours, in one snapshot or two.",
    "pool": "Pool real examples through vocabularies and tables: vectors, throughput, unknown ids, access skew.",
    "projector": "Write a sample of tables as files for TensorBoard's Embedding Projector.",
    "migrate": "Change tables of a snapshot by a plan: rename, move, resize, cast, merge, split, prune, repair.",
    "report": "Write a page that shows what a snapshot or a run is like: one file that a team opens.",
    "restore": "Write a model's tables with every row as it was: `warmstart`, where nothing may change.",
    "verify": "Check a snapshot level by level, from its metadata to its last byte, and list all that is wrong.",
    "stats": "Show what the rows of a snapshot's tables are like: norms, dead rows, duplicates, spectrum.",
    "vocab": "Build, look at, check and compare vocabularies: which row belongs to which entity.",
    "warmstart": "Write a new model's tables, each row following its entity from an old snapshot.",
}

_AFTER = {"import": "_"}
"""Of module names that Python keeps for itself."""

COMMANDS = {name: Entry(f"embsnap.cli.{name}{_AFTER.get(name, '')}", summary) for name, summary in _SUMMARIES.items()}
"""By name."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **settings: Any) -> None:
        """A group of the commands `entries`, by name; the rest is click's."""
        super().__init__(*args, **settings)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in self.entries:
            return None
        command: click.Command = import_module(self.entries[cmd_name].module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with.

        Raises:
            click.UsageError: There is none of that name; names that come near are given.
        """
        close = [] if args[0] in self.entries else get_close_matches(args[0], self.entries)
        if close and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command '{args[0]}': did you mean {' or '.join(close)}?", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands into the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.entries[name].summary) for name in self.list_commands(ctx)])


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=LazyGroup, entries=COMMANDS, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="embsnap")
@click.option("--traceback", is_flag=True, help="Print the Python traceback of any error.")
def group(traceback: bool) -> None:
    """Embedding tables between two trainings: the rows follow their entities.

    \b
    Examples:
      embsnap inspect /data/run7@latest
      embsnap warmstart tomorrow.yaml --out /data/run8/warm

    \b
    Shell completion, for one session (zsh and fish likewise):
      eval "$(_EMBSNAP_COMPLETE=bash_source embsnap)"

    \b
    Exit codes:
      0  done, and the answer is yes
      1  done, and the answer is no
      2  usage
      3  not found, or ambiguous
      4  not a committed, readable snapshot
      5  incompatible: shape, dtype, vocabulary
      6  storage, permission, disk full
      7  refused: the destination is taken
      70 a bug in embsnap; 130 interrupted; 143 terminated; 141 closed pipe
    """
