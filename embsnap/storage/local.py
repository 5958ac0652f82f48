"""Objects as files under a local directory."""

from __future__ import annotations

import mmap
import os
import stat as modes
from collections.abc import Iterator, Sequence
from io import FileIO
from typing import BinaryIO

from embsnap.errors import ErrorKind, SnapshotError, StorageError
from embsnap.storage.base import Buffer, ObjectInfo, RangeRead, Store, Writer, check_location
from embsnap.storage.local_errors import ABSENT, no_such_object, storage_errors_at
from embsnap.storage.local_writer import LocalWriter, generation, is_unfinished

__all__ = ["LocalStore"]

_PART_BYTES = 2 << 20
"""Read by one call: whoever looks at it as it arrives finds it in a cache."""


class LocalStore(Store):
    """A directory, which need not exist before the first write.

    It holds no open file and no lock between calls, so that threads and forked processes may share it.
    Symbolic links are followed while they stay under the root and refused where they leave it.
    """

    def __init__(self, root: str) -> None:
        """Address the directory `root`, absolute or relative to the working directory; nothing is read."""
        self.uri = os.path.abspath(root)
        self._root = os.path.realpath(self.uri)
        self._inside = self._root.rstrip("/") + "/"
        self._made: set[str] = set()
        """Of the root and what is above it, the directories that were made here."""

    def stat(self, location: str) -> ObjectInfo | None:
        """Size and generation of a file, or None."""
        path = self._path(location)
        with storage_errors_at(path):
            try:
                status = os.stat(path)
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                return None
        return _info(location, status) if modes.S_ISREG(status.st_mode) else None

    def read(self, location: str, *, limit: int) -> bytes:
        """A small file whole."""
        with self._open(location) as file, storage_errors_at(self._join(location)):
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                problem, hint = "is larger than embsnap reads in one piece", "check what wrote it"
                where, most = self._join(location), f"at most {limit} bytes"
                raise StorageError(
                    ErrorKind.OBJECT_TOO_LARGE, problem, where=where, expected=most, found=f"{size} bytes", hint=hint
                )
            return file.readall()[:size]

    def read_ranges(self, location: str, requests: Sequence[RangeRead]) -> None:
        """Fill every buffer straight from the file, without a copy."""
        with self._open(location) as file, storage_errors_at(self._join(location)):
            for request in requests:
                if _fill(file, request) < len(request.buffer):
                    raise self._short(location, request, os.fstat(file.fileno()).st_size)

    def map(self, location: str) -> memoryview:
        """The file mapped read-only. It must not be truncated as long as the view is used."""
        with self._open(location) as file, storage_errors_at(self._join(location)):
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def open(self, location: str) -> BinaryIO:
        """A buffered, seekable file."""
        with self._open(location) as file:
            return os.fdopen(os.dup(file.fileno()), "rb")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All files but the unfinished, sorted; a link to a directory, or to nothing, is listed as a file."""
        return (found for found in self._walk(prefix) if not is_unfinished(_name(found.location)))

    def unfinished(self) -> Iterator[ObjectInfo]:
        """Temporary files of writers that are at work, or died."""
        return (found for found in self._walk("") if is_unfinished(_name(found.location)))

    def children(self, prefix: str = "") -> tuple[str, ...]:
        """Names directly under a directory."""
        directory = prefix.rstrip("/")
        names = (name for name, _ in _scan(self._path(directory) if directory else self._root))
        return tuple(name for name in names if not is_unfinished(name))

    def create(self, location: str, data: Buffer) -> ObjectInfo:
        """Write a small file in one go, create-only."""
        writer = self.writer(location)
        try:
            writer.write(data)
            return writer.close()
        finally:
            writer.abort()

    def writer(self, location: str) -> Writer:
        """Start a file of any size."""
        writer = LocalWriter(self._path(location), location)
        self._made.update(directory for directory in writer.made if not directory.startswith(self._inside))
        return writer

    def delete(self, location: str) -> None:
        """Remove a file, and the directories that this leaves empty: those under the root, and those made here."""
        path = self._path(location)
        with storage_errors_at(path):
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
        self._prune(os.path.dirname(path))

    def _prune(self, directory: str) -> None:
        while directory.startswith(self._inside) or directory in self._made:
            try:
                os.rmdir(directory)
            except OSError:
                return
            directory = os.path.dirname(directory)

    def _walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every file whose location starts with `prefix`, sorted; directories are entered, links are not."""
        directory = prefix[: prefix.rfind("/") + 1]
        for name, entry in _scan(self._path(directory[:-1]) if directory else self._root):
            location = directory + name
            if not location.startswith(prefix) and not prefix.startswith(location):
                continue
            if name.endswith("/"):
                yield from self._walk(location if len(location) > len(prefix) else prefix)
            else:
                with storage_errors_at(entry.path):
                    try:
                        info = _info(location, entry.stat(follow_symlinks=entry.is_file()))
                    except FileNotFoundError:
                        continue  # a writer's temporary file that got its name, or was dropped, meanwhile
                yield info

    def _join(self, location: str) -> str:
        return os.path.join(self._root, location)

    def _path(self, location: str) -> str:
        """Absolute path of a location, after proof that it lies under the root."""
        path = self._join(check_location(location, where=self.uri))
        real = os.path.realpath(path)
        if real != path and not real.startswith(self._inside):
            raise SnapshotError(
                ErrorKind.UNSAFE_LOCATION,
                "is a symbolic link that leaves the root",
                where=path,
                expected=f"a path under {self._root}",
                found=real,
                hint="copy what it points to, or open the root that holds it",
            )
        return path

    def _open(self, location: str) -> FileIO:
        """Open a regular file, unbuffered; anything else is no object (a FIFO would block for ever)."""
        path = self._path(location)
        with storage_errors_at(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            if not modes.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise no_such_object(path)
            return FileIO(fd, "rb")

    def _short(self, location: str, request: RangeRead, size: int) -> StorageError:
        return StorageError(
            ErrorKind.SHORT_READ,
            "ends before the bytes that were asked for",
            where=self._join(location),
            expected=f"bytes [{request.start}, {request.start + len(request.buffer)})",
            found=f"an object of {size} bytes",
            hint="the object was cut off: fetch it again, or take another snapshot",
        )


def _fill(file: FileIO, request: RangeRead) -> int:
    """Read until the buffer is full or the file ends; returns how many bytes there were."""
    done = 0
    if request.buffer:
        file.seek(request.start)
    while done < len(request.buffer):
        num_bytes = file.readinto(request.buffer[done : done + _PART_BYTES])
        if not num_bytes:
            break
        request.note_arrival(request.start + done, request.start + done + num_bytes)
        done += num_bytes
    return done


def _scan(path: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Name and entry of everything directly under a directory, sorted; the names of directories end in `/`."""
    with storage_errors_at(path):
        try:
            with os.scandir(path) as entries:
                named = [(entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(named, key=lambda pair: pair[0])


def _info(location: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(location, status.st_size, generation(status), status.st_mtime)


def _name(location: str) -> str:
    return location.rsplit("/", 1)[-1]
