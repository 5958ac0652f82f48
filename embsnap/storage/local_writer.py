"""Writing one local object: a hidden temporary file that gets its name when all of it is on the disk.

A large object goes past the page cache (`O_DIRECT`), which spares the processor a copy of every byte and the cache
what nobody may read again: several times as fast on a fast disk. Such writes need aligned memory, offsets and lengths,
so the bytes are collected in a staging buffer unless they come aligned already. Where the file system has no direct
writing, and for small objects, the kernel's cache is used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from fcntl import F_GETFL, F_SETFL, fcntl
from mmap import mmap

from embsnap.errors import ErrorKind, RefusedError, StorageError
from embsnap.storage.base import Buffer, ObjectInfo, Writer
from embsnap.storage.local_errors import storage_errors_at

__all__ = ["LocalWriter", "generation", "is_unfinished"]

_UNFINISHED = re.compile(r"\.embsnap-[0-9a-f]{16}\.tmp")
_STAGING_BYTES = 4 << 20
_ALIGNMENT = 4096
_WRITE_BACK_BYTES = 8 << 20
_DIRECT = getattr(os, "O_DIRECT", 0)
_ATTEMPTS = 16
_LINKLESS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


def is_unfinished(name: str) -> bool:
    """Whether a file of this name is one that a writer works on, or left when its process died."""
    return _UNFINISHED.fullmatch(name) is not None


def generation(status: os.stat_result) -> str:
    """Changes whenever the file is replaced or written."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


class LocalWriter(Writer):
    """Writes to `.embsnap-<16 hex>.tmp` beside the target; `close` makes it durable and links it, create-only.

    What is written through the cache is handed to the disk while more comes, so that the `fsync` at the end has little
    left to wait for.
    """

    def __init__(self, path: str, location: str) -> None:
        """Start an object.

        Args:
            path: Absolute path it is to have; missing directories are made.
            location: The same relative to the store's root, for `ObjectInfo`.

        Raises:
            RefusedError: `destination-taken`: a file stands where a directory is needed.
            StorageError: The directory cannot be made or written.
        """
        self._path = path
        self._location = location
        self._size = 0
        self._written_back = 0
        self._staging = mmap(-1, _STAGING_BYTES)
        self._num_staged = 0
        self._is_direct = False
        self._takes_unstaged = False
        self._directory = os.path.dirname(path)
        self.made: list[str] = []
        """Directories that were missing and were made for it."""
        with storage_errors_at(path):
            self._fd, self._temporary = _start(self._directory, self.made)

    def write(self, data: Buffer) -> None:
        """Append `data`."""
        with memoryview(data) as view, view.cast("B") as rest, storage_errors_at(self._path):
            done = 0
            if self._takes_unstaged and self._num_staged == 0:
                done = self._write_unstaged(rest)
            while done < len(rest):
                num_bytes = min(len(rest) - done, _STAGING_BYTES - self._num_staged)
                self._staging[self._num_staged : self._num_staged + num_bytes] = rest[done : done + num_bytes]
                self._num_staged += num_bytes
                done += num_bytes
                if self._num_staged == _STAGING_BYTES:
                    self._flush()

    def _write_unstaged(self, data: memoryview) -> int:
        """Write what can be written of `data` as it lies in memory; the number of bytes."""
        num_bytes = len(data) // _ALIGNMENT * _ALIGNMENT if self._is_direct else len(data)
        done = self._write_out(data[:num_bytes])
        self._takes_unstaged = done == num_bytes
        return done

    def _flush(self) -> None:
        """Write what is staged: past the cache once there is much of it, through it at the odd end of the object."""
        num_bytes, self._num_staged = self._num_staged, 0
        self._is_direct = _set_direct(self._fd, num_bytes == _STAGING_BYTES)
        with memoryview(self._staging) as staged:
            done = self._write_out(staged[:num_bytes])
            if done < num_bytes:
                self._is_direct = _set_direct(self._fd, False)
                self._write_out(staged[done:num_bytes])
        self._takes_unstaged = True

    def _write_out(self, data: memoryview) -> int:
        """Write `data` to the file: all of it, or what the kernel took before it refused to go past its cache."""
        done = 0
        try:
            while done < len(data):
                num_bytes = os.write(self._fd, data[done:])
                done += num_bytes
                self._size += num_bytes
        except OSError as error:
            if not self._is_direct or error.errno != errno.EINVAL:
                raise
        if not self._is_direct:
            self._write_back()
        return done

    def _write_back(self) -> None:
        """Have the kernel begin to write the pages that are complete; it does not wait for the disk."""
        num_bytes = self._size - self._written_back
        if num_bytes >= _WRITE_BACK_BYTES and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, self._written_back, num_bytes, os.POSIX_FADV_DONTNEED)
            self._written_back = self._size

    def close(self) -> ObjectInfo:
        """Flush to the disk, then link to the final name if that is free."""
        with storage_errors_at(self._path):
            try:
                self._flush()
                os.fsync(self._fd)
                status = os.fstat(self._fd)
                self._link()
            finally:
                self.abort()
            _sync(self._directory)
        return ObjectInfo(self._location, self._size, generation(status), status.st_mtime)

    def _link(self) -> None:
        try:
            os.link(self._temporary, self._path)
        except OSError as error:
            if error.errno not in _LINKLESS:
                raise
            problem = f"the file system makes no hard links, which create-only writing needs: {error.strerror}"
            hint = "write to another file system"
            raise StorageError(ErrorKind.STORAGE_FAILED, problem, where=self._path, hint=hint) from error

    def abort(self) -> None:
        """Remove the temporary file."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        with storage_errors_at(self._temporary), contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)


def _start(directory: str, made: list[str]) -> tuple[int, str]:
    """Make the directory and a temporary file in it; another process may remove the directory in between.

    Every directory that is made is added to `made`.

    Raises:
        RefusedError: `destination-taken`: a file stands where a directory is needed.
        StorageError: The file system makes no directories there.
        OSError: Whatever else the operating system says.
    """
    for attempt in range(_ATTEMPTS):
        temporary = os.path.join(directory, f".embsnap-{secrets.token_hex(8)}.tmp")
        try:
            _make_directories(directory, made)
            return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), temporary
        except FileNotFoundError as error:
            if attempt == _ATTEMPTS - 1:
                problem, hint = "the directory cannot be made", "write to another file system"
                raise StorageError(ErrorKind.STORAGE_FAILED, problem, where=directory, hint=hint) from error
    raise AssertionError("the loop returns or raises")


def _set_direct(fd: int, wanted: bool) -> bool:
    """Turn writing past the cache on or off; whether it is on."""
    flags = fcntl(fd, F_GETFL)
    try:
        fcntl(fd, F_SETFL, flags | _DIRECT if wanted else flags & ~_DIRECT)
    except OSError:  # the file system has no such thing
        return False
    return wanted and bool(_DIRECT)


def _make_directories(path: str, made: list[str]) -> None:
    """Make `path` and what is missing above it, each durable in its parent, and add it to `made`."""
    missing = []
    while not os.path.isdir(path):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise RefusedError(
                ErrorKind.DESTINATION_TAKEN,
                "is a file, and a directory is needed in its place",
                where=path,
                hint="write to another destination; embsnap overwrites nothing",
            )
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory)
            made.append(directory)
        _sync(os.path.dirname(directory))


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
