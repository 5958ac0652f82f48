"""Where things lie under the demo's directory, which may be in an object store.

demo.json               what the demo was made with; it marks the directory as one that may be replaced
day1/events/            parquet: user_id, relation, post_id
day1/vocab/user, post   parquet: id, row, count
day1/snapshot/<step>/   written by torchsnapshot
day2/events/, vocab/    likewise, of the next day
day2/warmstart.yaml     day two's tables, and where their rows come from
day2/warm/              where `embsnap warmstart` is to write
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

from embsnap.ops.copy import CopyOptions, plan_copy, write_copy
from embsnap.storage.base import Store
from embsnap.storage.local import LocalStore
from embsnap.storage.uri import join_uri, open_store

__all__ = ["CONFIG", "MARKER", "DemoPlaces", "local_copy", "local_original"]


MARKER = "demo.json"
CONFIG = "day2/warmstart.yaml"


@dataclass(frozen=True, slots=True)
class DemoPlaces:
    """Of one demo."""

    directory: str
    """An absolute path or a URI."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of its store."""

    @staticmethod
    def at(uri: str, options: Mapping[str, str] | None = None) -> DemoPlaces:
        """The places under a URI, or under a path relative to the working directory."""
        return DemoPlaces(open_store(uri, options).uri, options or {})

    @property
    def store(self) -> Store:
        """The directory's objects."""
        return open_store(self.directory, self.options)

    @property
    def config(self) -> str:
        """Day two's configuration."""
        return join_uri(self.directory, CONFIG)

    @property
    def warm(self) -> str:
        """The warm start."""
        return join_uri(self.directory, "day2", "warm")

    def events(self, day: int) -> str:
        """Directory of a day's events."""
        return join_uri(self.directory, f"day{day}", "events")

    def vocabulary(self, day: int, table: str) -> str:
        """Directory of a vocabulary."""
        return join_uri(self.directory, f"day{day}", "vocab", table)

    def snapshot(self, step: int) -> str:
        """Day one's snapshot."""
        return join_uri(self.directory, "day1", "snapshot", str(step))


@contextmanager
def local_original(uri: str, options: Mapping[str, str]) -> Iterator[str]:
    """A path at which torchsnapshot can write what is to be the snapshot `uri` when the block ends.

    torchsnapshot itself reaches neither an emulator nor an anonymous bucket, and checks nothing that it uploads.
    """
    store = open_store(uri, options)
    if isinstance(store, LocalStore):
        yield store.uri
        return
    with TemporaryDirectory(prefix="embsnap-demo-") as directory:
        path = os.path.join(directory, "snapshot")
        yield path
        write_copy(plan_copy(path, uri, CopyOptions(storage_options=options)))


@contextmanager
def local_copy(uri: str, options: Mapping[str, str]) -> Iterator[str]:
    """A path at which torchsnapshot can read the snapshot `uri` until the block ends."""
    store = open_store(uri, options)
    if isinstance(store, LocalStore):
        yield store.uri
        return
    with TemporaryDirectory(prefix="embsnap-demo-") as directory:
        path = os.path.join(directory, "snapshot")
        write_copy(plan_copy(uri, path, CopyOptions(storage_options=options)))
        yield path
