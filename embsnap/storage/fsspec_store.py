"""Objects in whatever else fsspec has a file system for: Azure (`az://`, `abfs://`), HTTP, SFTP and so on.

Everything goes through the public methods of fsspec, so that this store can do only what they can: an object is
looked at before each of its ranges is read, writing is create-only as far as the file system's own exclusive mode is,
and what is written stands in a temporary file until it is complete.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from embsnap.storage.base import Buffer, ObjectInfo, Writer
from embsnap.storage.client_options import client_settings, file_system_class, timeout_of
from embsnap.storage.event_loop import in_thread
from embsnap.storage.fsspec_objects import failure_of, info_of_entry
from embsnap.storage.local_errors import storage_errors_at
from embsnap.storage.ranges import PART_BYTES
from embsnap.storage.remote import Begin, RemoteStore
from embsnap.storage.remote_errors import destination_taken, no_such_object
from embsnap.storage.retries import TransientError, persist

__all__ = ["FsspecStore"]


class FsspecStore(RemoteStore):
    """The files under one directory of a file system of fsspec."""

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        """Address the files under `uri`; nothing is read.

        Raises:
            UsageError: fsspec does not know the scheme or a setting, or its package is not installed.
        """
        super().__init__(uri, timeout_of(options))
        self._class = file_system_class(self.uri.partition("://")[0])
        named = self._class._get_kwargs_from_urls(self.uri)
        self._settings = {"use_listings_cache": False, **named, **client_settings(options, self._class)}
        self._root = str(self._class._strip_protocol(self.uri)).rstrip("/")
        self._filesystem: Any = None
        self._pid = -1

    async def look(self, location: str, silence_s: float) -> ObjectInfo | None:
        """Ask once what a file is."""
        entry = await self._call("_info", location)
        return info_of_entry(entry, location) if entry is not None and entry["type"] == "file" else None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All files under the prefix, sorted."""
        directory = prefix[: prefix.rfind("/") + 1].rstrip("/")
        entries = self.wait(persist(partial(self._files, directory), timeout_s=self.timeout_s, where=self.uri))
        found = (info_of_entry(entry, self._location(entry["name"])) for entry in entries)
        yield from sorted((info for info in found if info.location.startswith(prefix)), key=lambda info: info.location)

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Names directly under a directory."""
        directory = prefix.rstrip("/")
        attempt = partial(self._names, directory)
        return self.wait(persist(attempt, timeout_s=self.timeout_s, where=self.uri))

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Write a small file in one go."""
        writer = self.writer(location)
        try:
            writer.write(data)
            return writer.close()
        finally:
            writer.abort()

    def writer(self, location: str) -> Writer:
        """Start a file of any size."""
        return _SpoolingWriter(self, location)

    def delete(self, location: str) -> None:
        """Remove a file."""
        where = self.where(location)
        self.forget(location)

        async def attempt(silence_s: float) -> None:
            if await self.look(location, silence_s) is not None:
                await self._call("_rm_file", location)

        self.wait(persist(attempt, timeout_s=self.timeout_s, where=where))

    async def receive(self, location: str, start: int, end: int | None, begin: Begin, silence_s: float) -> None:
        """Ask once for bytes of a file, after a look at it."""
        info = await self.look(location, silence_s)
        if info is None:
            raise no_such_object(self.where(location))
        filler = begin(info)
        data = await self._call("_cat_file", location, **({} if end is None else {"start": start, "end": end}))
        if data is None:
            raise no_such_object(self.where(location))
        filler.feed(data)

    async def upload(self, location: str, path: str, silence_s: float) -> ObjectInfo:
        """One attempt to make a file of a local one, if there is none.

        Raises:
            RefusedError: There is one.
        """
        if await self.look(location, silence_s) is not None:
            raise destination_taken(self.where(location))
        size = os.path.getsize(path)
        await self._call("_put_file", location, path, mode="create")
        info = await self.look(location, silence_s)
        if info is None or info.size != size:
            raise TransientError(f"{size} bytes were sent, and {info.size if info else 'none'} arrived")
        return info

    async def _files(self, directory: str, silence_s: float) -> Sequence[dict[str, Any]]:
        found = await self._call("_find", directory, detail=True)
        return [entry for entry in (found or {}).values() if entry["type"] == "file"]

    async def _names(self, directory: str, silence_s: float) -> tuple[str, ...]:
        entries = await self._call("_ls", directory, detail=True)
        names = {
            self._location(entry["name"]).rpartition("/")[2] + "/" * (entry["type"] == "directory")
            for entry in entries or ()
        }
        return tuple(sorted(names))

    async def _call(self, method: str, location: str, *before: Any, **parameters: Any) -> Any:
        """The answer to a method of the file system, None for what is not there; `before` precedes the path."""
        try:
            filesystem = await self._connected()
            return await getattr(filesystem, method)(*before, self._path(location), **parameters)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise failure_of(error, f"{self.uri}/{location}") from error

    async def _connected(self) -> Any:
        """fsspec's object, asynchronous; another one after a fork. Some connect when they are made."""
        if self._pid != os.getpid():
            found = await in_thread(partial(self._class, **self._settings))
            self._filesystem = found if found.async_impl else AsyncFileSystemWrapper(found, asynchronous=False)
            self._pid = os.getpid()
        return self._filesystem

    def _path(self, location: str) -> str:
        return f"{self._root}/{location}".rstrip("/")

    def _location(self, name: str) -> str:
        return name.rstrip("/").removeprefix(f"{self._root}/")


class _SpoolingWriter(Writer):
    """Collects the bytes in a temporary file under TMPDIR, and uploads it at the end."""

    def __init__(self, store: FsspecStore, location: str) -> None:
        self._store = store
        self._location = location
        self._where = store.where(location)
        store.forget(location)
        with storage_errors_at(tempfile.gettempdir()):
            self._file = tempfile.NamedTemporaryFile(prefix="embsnap-")  # noqa: SIM115

    def write(self, data: Buffer) -> None:
        with storage_errors_at(self._file.name):
            self._file.write(data)

    def close(self) -> ObjectInfo:
        try:
            with storage_errors_at(self._file.name):
                self._file.flush()
                num_parts = 1 + os.path.getsize(self._file.name) // PART_BYTES
            attempt = partial(self._store.upload, self._location, self._file.name)
            timeout_s = self._store.timeout_s * num_parts
            return self._store.wait(persist(attempt, timeout_s=timeout_s, where=self._where))
        finally:
            self.abort()

    def abort(self) -> None:
        self._file.close()
