"""What only a local directory does: links, special files, permissions, full disks, forks."""

from __future__ import annotations

import errno
import mmap
import os
import random
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, RefusedError, SnapshotError, StorageError
from embsnap.storage import local_writer
from embsnap.storage.base import RangeRead
from embsnap.storage.local import LocalStore

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(str(root))


@pytest.fixture
def as_nobody(root: Path) -> Iterator[None]:
    """Run without root's freedom to pass by permissions."""
    for parent in (root, *root.parents):
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        yield
        os.seteuid(0)
    else:
        yield


def test_the_uri_is_absolute_and_without_trailing_slash(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.chdir(root)
    assert LocalStore("x/").uri == f"{root}/x"
    assert LocalStore(".").uri == str(root)


def test_a_root_that_is_a_link_is_followed(store: LocalStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(root)
    linked = LocalStore(str(tmp_path / "latest"))
    linked.create("a/b", b"x")
    assert linked.uri == str(tmp_path / "latest")
    assert store.read("a/b", limit=1) == b"x"
    assert [found.location for found in linked.list()] == ["a/b"]


@pytest.mark.parametrize("target", ["../secret", "/etc/hostname", "up/secret"])
def test_links_that_leave_the_root_are_refused(store: LocalStore, root: Path, target: str) -> None:
    (root.parent / "secret").write_bytes(b"secret")
    (root / "up").symlink_to("..")
    (root / "link").symlink_to(target)
    for call in (store.stat, store.map, store.open, lambda location: store.read(location, limit=9)):
        for location in ("link", "up/secret"):
            with pytest.raises(SnapshotError, match="leaves the root") as caught:
                call(location)
            assert caught.value.kind == ErrorKind.UNSAFE_LOCATION
    with pytest.raises(SnapshotError, match="leaves the root"):
        store.create("up/other", b"x")
    assert not (root.parent / "other").exists()


def test_links_inside_the_root_are_followed(store: LocalStore, root: Path) -> None:
    store.create("data/a", b"x")
    (root / "link").symlink_to("data/a")
    (root / "alias").symlink_to("data")
    assert store.read("link", limit=1) == store.read("alias/a", limit=1) == b"x"


def test_every_link_is_listed_so_that_a_destination_with_one_is_not_empty(store: LocalStore, root: Path) -> None:
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to(".")
    (root / "outside").symlink_to("/")
    assert [found.location for found in store.list()] == ["dangling", "loop", "outside"]


def test_a_pipe_is_no_object_and_does_not_block(store: LocalStore, root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert store.stat("pipe") is None
    with pytest.raises(NotFoundError):
        store.read("pipe", limit=1)


def test_an_object_above_the_limit_is_not_read(store: LocalStore, root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StorageError, match=r"at most 4 bytes.*1099511627776 bytes") as caught:
        store.read("sparse", limit=4)
    assert caught.value.kind == ErrorKind.OBJECT_TOO_LARGE


def test_a_map_outlives_its_file(store: LocalStore) -> None:
    store.create("a", b"x" * 10_000)
    mapped = store.map("a")
    store.delete("a")
    assert bytes(mapped) == b"x" * 10_000


def test_a_read_only_directory_is_permission_denied(store: LocalStore, root: Path, as_nobody: None) -> None:
    with pytest.raises(StorageError, match="not permitted") as caught:
        store.create("x", b"")
    assert caught.value.kind == ErrorKind.PERMISSION_DENIED
    assert str(root / "x") in str(caught.value)


def test_an_unreadable_file_is_permission_denied(store: LocalStore, root: Path, request: pytest.FixtureRequest) -> None:
    store.create("a", b"x")
    (root / "a").chmod(0)
    request.getfixturevalue("as_nobody")
    with pytest.raises(StorageError, match="not permitted") as caught:
        store.read("a", limit=1)
    assert caught.value.kind == ErrorKind.PERMISSION_DENIED


def test_a_file_size_limit_is_a_full_disk_and_leaves_nothing(store: LocalStore, root: Path) -> None:
    def write() -> None:
        with store.writer("d/a") as writer:
            for _ in range(5):
                writer.write(b"x" * 3_000)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(StorageError, match="no room to write") as caught:
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.kind == ErrorKind.DISK_FULL
    assert str(root / "d/a") in str(caught.value)
    assert (list(store.list()), list(store.unfinished())) == ([], [])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, ErrorKind.DISK_FULL),
        (errno.EDQUOT, ErrorKind.DISK_FULL),
        (errno.EROFS, ErrorKind.PERMISSION_DENIED),
        (errno.EIO, ErrorKind.STORAGE_FAILED),
    ],
)
def test_an_error_at_fsync_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, store: LocalStore, code: int, kind: ErrorKind
) -> None:
    writer = store.writer("a")
    writer.write(b"x")

    def fails(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(StorageError, match=os.strerror(code)) as caught:
            writer.close()
    assert caught.value.kind == kind
    assert (list(store.list()), list(store.unfinished())) == ([], [])


def test_a_file_system_without_hard_links_is_named(monkeypatch: pytest.MonkeyPatch, store: LocalStore) -> None:
    def fails(source: str, target: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(StorageError, match="hard links"):
        store.create("a", b"x")
    assert (list(store.list()), list(store.unfinished())) == ([], [])


def test_a_file_where_a_directory_is_needed_is_taken(store: LocalStore, root: Path) -> None:
    store.create("a", b"x")
    with pytest.raises(RefusedError, match="is a file, and a directory is needed"):
        store.create("a/b/c", b"y")
    with pytest.raises(RefusedError, match="is a file, and a directory is needed"):
        LocalStore(str(root / "a")).create("x", b"y")
    assert list(LocalStore(str(root / "a")).list()) == []


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a file system that makes no directories")
def test_where_no_directory_can_be_made(root: Path) -> None:
    with pytest.raises(StorageError, match="the directory cannot be made"):
        LocalStore("/proc/none").create("a", b"")


def test_a_name_too_long_is_an_error_of_ours(store: LocalStore) -> None:
    for call in (store.open, store.map, lambda location: store.create(location, b"")):
        with pytest.raises(EmbsnapError, match="too long"):
            call("n" * 300)
    assert list(store.unfinished()) == []
    assert (store.stat("n" * 300), store.stat("n/" * 5000 + "n")) == (None, None)
    store.create("n" * 255, b"the longest name works")


def test_delete_removes_the_directories_that_were_made_here(root: Path) -> None:
    (root / "there").mkdir()
    for place in ("there", "made/a/b"):
        store = LocalStore(str(root / place))
        store.create("c/d", b"1")
        store.delete("c/d")
    assert os.listdir(root) == ["there"]
    store = LocalStore(str(root / "made"))
    store.create("a", b"1")
    (root / "made" / "b").write_bytes(b"of somebody else")
    store.delete("a")
    assert os.listdir(root / "made") == ["b"]


def test_delete_removes_empty_directories_but_not_the_root(store: LocalStore, root: Path) -> None:
    store.create("a/b/c", b"")
    store.create("a/d", b"")
    store.delete("a/b/c")
    assert not (root / "a/b").exists()
    store.delete("a/d")
    assert list(root.iterdir()) == []


def test_a_killed_writer_shows_as_unfinished_only(store: LocalStore, root: Path) -> None:
    pid = os.fork()
    if pid == 0:
        store.writer("run/a").write(bytes(local_writer._STAGING_BYTES + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert list(store.list()) == []
    assert [found.size for found in store.unfinished()] == [local_writer._STAGING_BYTES]
    assert store.children("run") == ()
    for found in store.unfinished():
        store.delete(found.location)
    assert list(root.iterdir()) == []


def test_a_store_works_on_both_sides_of_a_fork(store: LocalStore) -> None:
    store.create("a", b"12345")
    pid = os.fork()
    if pid == 0:
        buffer = bytearray(2)
        store.read_ranges("a", [RangeRead(1, memoryview(buffer))])
        store.create("child", buffer)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert store.read("child", limit=2) == b"23"


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct", "cached"])
@pytest.mark.parametrize("sizes", [[8192] * 4, [8192, 8192, 1], [5000] * 9, [1, 20_000, 0, 12_288, 7], [100_000]])
@pytest.mark.parametrize("offset", [0, 1])
def test_an_object_of_any_pieces_is_written_whole(
    monkeypatch: pytest.MonkeyPatch, store: LocalStore, sizes: list[int], offset: int, is_direct: bool
) -> None:
    monkeypatch.setattr(local_writer, "_STAGING_BYTES", 8192)
    if not is_direct:
        monkeypatch.setattr(local_writer, "_DIRECT", 0)
    expected = b""
    with store.writer("a") as writer:
        for seed, size in enumerate(sizes):
            memory = mmap.mmap(-1, size + offset + 1)
            memory[offset : offset + size] = random.Random(seed).randbytes(size)
            piece = memoryview(memory)[offset : offset + size]
            writer.write(piece)
            expected += piece
            assert writer._is_direct <= is_direct  # type: ignore[attr-defined]
    found = store.stat("a")
    assert found is not None
    assert found.size == len(expected)
    assert store.read("a", limit=len(expected)) == expected


def test_much_goes_past_the_cache_where_the_file_system_can(root: Path, store: LocalStore) -> None:
    probe = os.open(root / "probe", os.O_WRONLY | os.O_CREAT)
    can = local_writer._set_direct(probe, True)
    os.close(probe)
    writer = store.writer("a")
    writer.write(bytes(local_writer._STAGING_BYTES - 1))
    assert not writer._is_direct  # type: ignore[attr-defined]
    writer.write(b"x")
    assert writer._is_direct == can  # type: ignore[attr-defined]
    writer.close()


def test_large_objects_are_handed_to_the_disk_early(monkeypatch: pytest.MonkeyPatch, store: LocalStore) -> None:
    monkeypatch.setattr(local_writer, "_DIRECT", 0)
    monkeypatch.setattr(local_writer, "_STAGING_BYTES", 400)
    monkeypatch.setattr(local_writer, "_WRITE_BACK_BYTES", 1000)
    ranges = []
    advise = os.posix_fadvise

    def spy(fd: int, start: int, size: int, advice: int) -> None:
        ranges.append((start, size))
        advise(fd, start, size, advice)

    monkeypatch.setattr(os, "posix_fadvise", spy)
    with store.writer("a") as writer:
        for _ in range(7):
            writer.write(b"x" * 400)
    assert ranges == [(0, 1200), (1200, 1200)]
    assert store.read("a", limit=2800) == b"x" * 2800


def test_the_data_is_on_the_disk_before_the_name_and_the_name_before_close_returns(
    monkeypatch: pytest.MonkeyPatch, store: LocalStore, root: Path
) -> None:
    order = []
    sync, link = os.fsync, os.link

    def spy_sync(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        order.append("data" if local_writer.is_unfinished(os.path.basename(path)) else os.path.relpath(path, root))
        sync(fd)

    def spy_link(source: str, target: str) -> None:
        order.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", spy_sync)
    monkeypatch.setattr(os, "link", spy_link)
    store.create("new/directory/a", b"x")
    assert order == [".", "new", "data", "name", "new/directory"]


def test_a_buffer_of_any_item_size_is_written_as_bytes(store: LocalStore) -> None:
    with store.writer("a") as writer:
        writer.write(memoryview(bytearray(16)).cast("d"))
    assert store.stat("a") is not None
    assert store.read("a", limit=16) == bytes(16)


def test_no_descriptor_is_left_open(store: LocalStore) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store.create("a", b"12345")
    for _ in range(3):
        store.read("a", limit=5)
        store.read_ranges("a", [RangeRead(0, memoryview(bytearray(2)))])
        store.map("a").release()
        store.open("a").close()
        with pytest.raises(RefusedError):
            store.create("a", b"")
        store.writer("b").abort()
    assert len(os.listdir("/proc/self/fd")) == before


def test_importing_it_brings_nothing_heavy() -> None:
    code = "import embsnap.storage.uri, sys; print({'numpy', 'asyncio', 'fsspec', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
