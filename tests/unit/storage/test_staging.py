from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from embsnap.errors import ErrorKind, NotFoundError, StorageError
from embsnap.storage.memory import MemoryStore
from embsnap.storage.staging import make_stage, stage_object


@pytest.fixture
def directory(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_an_object_is_there_without_a_file_to_be_seen(directory):
    store = MemoryStore("memory://staged")
    store.clear()
    store.create("a", b"0123456789")
    view = stage_object(store, "a", 10)
    assert (bytes(view), view.readonly) == (b"0123456789", True)
    assert list(directory.iterdir()) == []
    assert bytes(stage_object(store, "a", 0)) == b""


def test_only_what_is_reserved_takes_space(directory):
    """A file of a terabyte, on whatever disk this is."""
    view = make_stage(1 << 40, [(0, 4096), ((1 << 40) - 4096, 1 << 40)])
    view[:3], view[-3:] = b"abc", b"xyz"
    assert (bytes(view[:3]), bytes(view[-3:])) == (b"abc", b"xyz")


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(directory):
    with pytest.raises(StorageError) as raised:
        make_stage(1 << 60, [(0, 1 << 60)])
    assert raised.value.kind is ErrorKind.DISK_FULL
    assert f"{1 << 60:,} bytes" in str(raised.value)
    assert str(directory) in str(raised.value)
    assert "TMPDIR" in str(raised.value)


def test_no_directory_for_temporary_files(directory):
    directory.rmdir()
    with pytest.raises(NotFoundError, match=str(directory)):
        make_stage(10, [(0, 10)])


def test_a_limit_on_the_size_of_files():
    code = (
        "import resource\n"
        "from embsnap.errors import StorageError\n"
        "from embsnap.storage.staging import make_stage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "try:\n"
        "    make_stage(1 << 20, [(0, 1 << 20)])\n"
        "except StorageError as error:\n"
        "    print(error.kind.value)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "disk-full"
