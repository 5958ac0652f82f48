"""Saving live modules: each rank writes its own shards, and rank 0 commits once all of them have.

embsnap.save(model, "gs://bucket/run7/12000")
pending = embsnap.async_save({"model": model, "optimizer": optimizer}, "gs://bucket/run7/12000")
...                                      training goes on; what is written is what was there at the call
pending.wait()
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.sidecar import Lineage, TableVocabulary
from embsnap.formats.torchsnapshot.commit import TOOL, commit, withdraw
from embsnap.formats.torchsnapshot.destination import check_destination, claim_run, object_location
from embsnap.formats.torchsnapshot.encoding import encode_metadata
from embsnap.formats.torchsnapshot.object_writer import write_objects
from embsnap.formats.torchsnapshot.writer import WrittenSnapshot
from embsnap.live.arguments import check_argument
from embsnap.live.half_filled import check_filled
from embsnap.live.ranks import Ranks
from embsnap.live.save_entries import Contribution, RankManifest, StateForm, contribution
from embsnap.live.save_manifest import merge
from embsnap.live.save_share import Description, describe, share
from embsnap.live.save_vocabularies import saved_vocabularies
from embsnap.live.state_tree import StateTree, state_tree
from embsnap.model.findings import Finding
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.memory import available_memory
from embsnap.ops.warmstart.sources import Sources
from embsnap.storage.base import Store
from embsnap.storage.uri import Uri, is_remote, open_store

__all__ = ["PendingSave", "SaveOptions", "async_save", "save"]

_REMOTE_THREADS = 4
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How a model is saved. Every rank gives the same."""

    config: LargeEmbeddingsConfig | None = None
    """Whose tables' vocabularies the snapshot is to name, so that the next warm start finds them; all are saved."""
    optimizer_state: StateForm = "tensor"
    """Of sharded tensors outside of modules: `tensor` writes each as one tensor, beside which torchsnapshot 0.1.0 can
    restore the model; `sharded` as it lies, which only torchsnapshot's main branch can read."""
    threads: int = 2
    """On each rank."""
    storage_options: Mapping[str, str] = field(default_factory=dict)


_DEFAULT = SaveOptions()


def save(
    model: nn.Module | Mapping[str, Any], uri: Uri, *, options: SaveOptions = _DEFAULT, progress: Progress = SILENT
) -> WrittenSnapshot:
    """Write the state of a model, or of several things, as a snapshot; every rank of the job calls it.

    Tensors are read block by block where they are, on any device, and nothing may change them meanwhile. What all ranks
    hold alike is written once. A rank that fails ends the save on all ranks, and nothing is left of it.

    Args:
        model: A module, which becomes `model`; or app key → module, optimizer, or nested dicts and lists.
        uri: Of the new snapshot, in any storage.
        options: How.
        progress: Is told of the bytes that this rank writes.

    Returns:
        The snapshot, on every rank.

    Raises:
        UsageError, IncompatibleError: Something in the state cannot be saved; nothing was written.
        NotFoundError, IncompatibleError: A table of the config is not saved, or its vocabulary is of another table.
        RefusedError: `destination-taken`, or `half-filled`: a fill of the model failed.
        StorageError: The storage failed on a rank; nothing reads as a snapshot at `uri`.
    """
    saving = _Saving(model, uri, options, progress)
    try:
        saving.prepare()
        return saving.write()
    finally:
        saving.ranks.leave()


def async_save(
    model: nn.Module | Mapping[str, Any], uri: Uri, *, options: SaveOptions = _DEFAULT, progress: Progress = SILENT
) -> PendingSave:
    """Like `save`, but the bytes are written while the caller goes on; every rank of the job calls it.

    What this rank writes is copied into host memory before this returns, so that the snapshot is what the model was at
    the call. What can be refused is refused here.

    Raises:
        UsageError, NotFoundError, IncompatibleError, RefusedError, StorageError: As `save`; `bad-option` also where
            the host has no memory for the copy.
    """
    saving = _Saving(model, uri, options, progress)
    try:
        saving.prepare(copy=True)
    except BaseException:
        saving.ranks.leave()
        raise
    return PendingSave(saving)


class PendingSave:
    """A snapshot that is being written. The process may end only when it is done."""

    def __init__(self, saving: _Saving) -> None:
        """Begin to write, in a thread of its own."""
        self._future: Future[WrittenSnapshot] = Future()
        self._thread = threading.Thread(target=self._run, args=(saving,), name="embsnap-save")
        self._thread.start()

    def done(self) -> bool:
        """Whether `wait` would return or raise at once."""
        return self._future.done()

    def wait(self, timeout_s: float | None = None) -> WrittenSnapshot:
        """The snapshot, once it is committed.

        Raises:
            TimeoutError: It takes longer than `timeout_s` seconds; it goes on.
            EmbsnapError: As `save`.
        """
        return self._future.result(timeout_s)

    def _run(self, saving: _Saving) -> None:
        try:
            written = saving.write()
        except BaseException as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(written)
        finally:
            with contextlib.suppress(RuntimeError, ValueError):  # a rank that died, or the job, has ended the group
                saving.ranks.leave()


def _app_state(model: nn.Module | Mapping[str, Any], uri: Uri, options: SaveOptions) -> Mapping[str, Any]:
    check_argument(isinstance(uri, str | os.PathLike), "uri", uri, expected="a URI or a path", hint="save(model, uri)")
    check_argument(
        isinstance(model, nn.Module | Mapping),
        "model",
        model,
        expected="a torch.nn.Module, or a dict of modules, optimizers and plain values",
        hint='save({"model": model, "optimizer": optimizer}, uri)',
    )
    check_argument(
        isinstance(options.config, LargeEmbeddingsConfig | None),
        "options.config",
        options.config,
        expected="a LargeEmbeddingsConfig",
        hint="LargeEmbeddingsConfig.model_validate makes one of plain data",
    )
    return {"model": model} if isinstance(model, nn.Module) else model


@dataclass(frozen=True, slots=True)
class _Run:
    """The run that all ranks write for."""

    run_id: str
    plan_digest: str
    notes: tuple[Finding, ...]
    vocabularies: Mapping[str, TableVocabulary]


class _Saving:
    """One save, on one rank."""

    def __init__(
        self, model: nn.Module | Mapping[str, Any], uri: Uri, options: SaveOptions, progress: Progress
    ) -> None:
        self.ranks = Ranks()
        self._model: Any = model
        self._uri, self._options, self._progress = uri, options, progress
        self._started = time.perf_counter()
        self._store: Store
        self._tree: StateTree
        self._own: Contribution
        self._run: _Run
        self._locations: list[list[str]]
        self._metadata: bytes | None = None

    def prepare(self, *, copy: bool = False) -> None:
        """Look at the state, check all of it, and claim the destination; with `copy` take the state's bytes too."""
        descriptions = self.ranks.agree(self._look)
        counts = self.ranks.agree(lambda: self._lay_out(descriptions, copy))
        self._run = self.ranks.agree(lambda: self._claim(descriptions))[0]
        starts = [sum(counts[:rank]) for rank in range(len(counts))]
        self._locations = [
            [object_location(self._run.run_id, start + number) for number in range(count)]
            for start, count in zip(starts, counts, strict=True)
        ]
        # Other threads read what this one may still be computing.
        for device in {portion.tensor.device for portion in self._own.portions if portion.tensor.is_cuda}:
            torch.cuda.current_stream(device).synchronize()

    def write(self) -> WrittenSnapshot:
        """Write this rank's objects; when all ranks have, commit."""
        try:
            manifests = self.ranks.agree(self._write)
            return self.ranks.agree(lambda: self._commit(manifests))[0]
        except BaseException:
            if self.ranks.rank == 0:
                everything = (location for locations in self._locations for location in locations)
                withdraw(self._store, self._run.run_id, everything, self._metadata)
            raise

    def _look(self) -> Mapping[str, Description]:
        app_state = _app_state(self._model, self._uri, self._options)
        for part in app_state.values():
            if isinstance(part, nn.Module):
                check_filled(part)
        self._store = open_store(os.fspath(self._uri), self._options.storage_options)
        self._tree = state_tree(app_state)
        self._model = None
        return describe(self._tree, alone=self.ranks.size == 1)

    def _lay_out(self, descriptions: list[Mapping[str, Description]], copy: bool) -> int:
        shares = share(descriptions, self.ranks.rank)
        self._own = contribution(self.ranks.rank, self._tree, shares, self._options.optimizer_state)
        self._own.check()
        if not any(descriptions):
            raise UsageError(ErrorKind.NOTHING_TO_DO, "a snapshot of nothing", hint="give a model that has tensors")
        if copy:
            self._own = _copied(self._own)
        return len(self._own.layouts)

    def _claim(self, descriptions: list[Mapping[str, Description]]) -> _Run:
        if self.ranks.rank != 0:
            return _Run("", "", (), {})
        notes = check_destination(self._store)
        sources = Sources(options=self._options.storage_options, threads=self._options.threads, progress=SILENT)
        config = self._options.config
        vocabularies = {} if config is None else saved_vocabularies(config, self._tree, sources)
        # Locations begin with the digest. Its token lets metadata differ, by which snapshots are told apart.
        digest = hashlib.sha256(repr((secrets.token_hex(), descriptions)).encode()).hexdigest()
        return _Run(claim_run(self._store, digest, TOOL), digest, notes, vocabularies)

    def _write(self) -> RankManifest:
        locations = self._locations[self.ranks.rank]
        remote = is_remote(os.fspath(self._uri))
        sums = write_objects(
            self._store,
            [portion.array for portion in self._own.portions],
            list(zip(locations, self._own.layouts, strict=True)),
            threads=max(self._options.threads, _REMOTE_THREADS) if remote else self._options.threads,
            block_bytes=_BLOCK_BYTES,
            progress=self._progress,
        )
        return self._own.manifest(locations, sums)

    def _commit(self, manifests: list[RankManifest]) -> WrittenSnapshot:
        run = self._run
        sums = {location: found for manifest in manifests for location, found in manifest.sums.items()}
        metadata_sha256 = ""
        if self.ranks.rank == 0:
            self._metadata = encode_metadata(merge(manifests))
            lineage = Lineage((), "save", run.plan_digest)
            metadata_sha256 = commit(self._store, self._metadata, sums, run.vocabularies, lineage)
        num_bytes = sum(found.size for found in sums.values())
        seconds = time.perf_counter() - self._started
        return WrittenSnapshot(self._store.uri, run.run_id, metadata_sha256, num_bytes, seconds, run.notes)


def _copied(own: Contribution) -> Contribution:
    """The same with every tensor copied into host memory of its own."""
    available = available_memory()
    if own.num_bytes > available:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "there is no memory for a copy of what this rank saves",
            where=f"rank {own.rank}",
            expected=f"{own.num_bytes} bytes",
            found=f"{available} bytes",
            hint="use save, which copies block by block",
        )
    portions = (replace(portion, tensor=portion.tensor.to("cpu", copy=True)) for portion in own.portions)
    return replace(own, portions=tuple(portions))
