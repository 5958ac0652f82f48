"""Bytes in a temporary file, mapped."""

from __future__ import annotations

import errno

import pytest

from embsnap.errors import StorageError
from embsnap.storage import spool as module
from embsnap.storage.spool import Spool


def test_what_was_written_is_mapped_and_outlives_the_spool(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Spool() as spool:
        spool.write(b"abc")
        spool.write(memoryview(bytearray(b"defg"))[1:])
        view = spool.view()
    assert (bytes(view), spool.num_bytes, view.readonly) == (b"abcefg", 6, True)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_an_empty_view():
    with Spool() as spool:
        assert bytes(spool.view()) == b""


def test_a_full_disk(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(module.tempfile, "TemporaryFile", lambda **_: Full())
    with Spool() as spool, pytest.raises(StorageError) as caught:
        spool.write(b"a")
    assert caught.value.kind == "disk-full"


def test_no_directory_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(Exception, match="missing"):
        Spool()
