"""Where statistics go, besides the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from embsnap.errors import ErrorKind, RefusedError, UsageError
from embsnap.formats.stats_history import StatsHistory
from embsnap.formats.stats_text import csv_text, openmetrics_text
from embsnap.formats.stats_trackers import log_to_tensorboard, log_to_wandb, require_tensorboard, require_wandb
from embsnap.model.table_stats import SnapshotStats
from embsnap.storage.uri import open_store, split_uri

__all__ = ["Outputs"]

_SUFFIXES = (".parquet", ".json", ".csv", ".prom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What is to be written, checked when it is made.

    Raises:
        UsageError: `bad-option` for a name with another ending, or a directory for TensorBoard that is not local;
            `missing-package`.
        RefusedError: `destination-taken`: a file is there, or what is there is no history.
        StorageError: The storage failed.
    """

    files: Sequence[str] = ()
    """URIs that end in `.parquet` (a history, appended to), `.json`, `.csv` or `.prom`."""
    tensorboard: str | None = None
    """A local log directory."""
    wandb_project: str | None = None
    wandb_mode: str | None = None
    """`online` or `offline`; None leaves it to wandb's settings."""
    storage_options: Mapping[str, str]

    def __post_init__(self) -> None:
        for uri in self.files:
            _check_file(uri, self.storage_options)
        if self.tensorboard is not None:
            if "://" in self.tensorboard:
                expected = "a local directory"
                raise UsageError(ErrorKind.BAD_OPTION, "is not local", where="--tensorboard", expected=expected)
            require_tensorboard()
        if self.wandb_project is not None:
            require_wandb()

    @property
    def described(self) -> tuple[str, ...]:
        """Each output in a few words."""
        found = list(self.files)
        found += [] if self.tensorboard is None else [f"TensorBoard in {self.tensorboard}"]
        found += [] if self.wandb_project is None else [f"Weights & Biases, project {self.wandb_project}"]
        return tuple(found)

    def write(
        self, stats: SnapshotStats, options_digest: str, to_json: Callable[[SnapshotStats], str]
    ) -> SnapshotStats:
        """Write all of them.

        Args:
            stats: Of one snapshot.
            options_digest: Of what was computed, for histories.
            to_json: What makes JSON of a result.

        Returns:
            The statistics, which say where they were written.

        Raises:
            RefusedError: `destination-taken`: a file has appeared since.
            StorageError: The disk is full, or the storage failed.
        """
        stats = replace(stats, written=self.described)
        for uri in self.files:
            self._write_file(uri, stats, options_digest, to_json)
        if self.tensorboard is not None:
            log_to_tensorboard(stats, self.tensorboard)
        if self.wandb_project is not None:
            log_to_wandb(stats, self.wandb_project, mode=self.wandb_mode)
        return stats

    def _write_file(
        self, uri: str, stats: SnapshotStats, options_digest: str, to_json: Callable[[SnapshotStats], str]
    ) -> None:
        if uri.endswith(".parquet"):
            StatsHistory(uri, self.storage_options).append(stats, options_digest)
            return
        if uri.endswith(".json"):
            text = to_json(stats) + "\n"
        else:
            text = csv_text(stats) if uri.endswith(".csv") else openmetrics_text(stats)
        root, name = split_uri(uri)
        open_store(root, self.storage_options).create(name, text.encode("utf-8", "surrogatepass"))


def _check_file(uri: str, storage_options: Mapping[str, str]) -> None:
    if not uri.endswith(_SUFFIXES):
        expected = f"a name that ends in {', '.join(_SUFFIXES)}"
        raise UsageError(ErrorKind.BAD_OPTION, "is of no known kind", where="--out", expected=expected, found=uri)
    if uri.endswith(".parquet"):
        StatsHistory(uri, storage_options)
        return
    root, name = split_uri(uri)
    if open_store(root, storage_options).stat(name) is not None:
        raise RefusedError(
            ErrorKind.DESTINATION_TAKEN,
            "is there already",
            where=uri,
            expected="a file that does not exist",
            found="one that does",
            hint="write to another name, and move it over the old file: readers then never see half of it",
        )
